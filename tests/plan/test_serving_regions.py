from __future__ import annotations

from collections.abc import Collection

import pytest

from support.plan_builders import IOWA, IRELAND, OREGON
from xr_locality.config import MissingEndpoint
from xr_locality.errors import EndpointError
from xr_locality.placement.costs import CostModel
from xr_locality.plan.serving_regions import host_regions
from xr_locality.regions.region import LOCAL, Region

VIRGINIA = Region.parse("aws:us-east-1")
AMERICA = Region.parse("gcp:us")


def hosts_of(
    located: Collection[Region], usable: Collection[Region], missing: MissingEndpoint = "error"
) -> tuple[dict[Region, Region], list[Exception]]:
    """Find hosts; every region has one source."""
    return host_regions(
        located,
        usable=usable,
        missing=missing,
        costs=CostModel(),
        sources_in=dict.fromkeys(located, 1),
    )


@pytest.mark.parametrize(
    ("located", "usable", "missing", "host"),
    [
        pytest.param(OREGON, [OREGON, IOWA], "error", OREGON, id="its own endpoint"),
        pytest.param(AMERICA, [OREGON, IOWA], "error", IOWA, id="an endpoint inside"),
        pytest.param(IOWA, [AMERICA, OREGON], "error", AMERICA, id="an endpoint around"),
        pytest.param(VIRGINIA, [OREGON, IOWA], "nearest", OREGON, id="the cheapest to reach"),
        pytest.param(VIRGINIA, [IRELAND, OREGON], "nearest", OREGON, id="the fastest to reach"),
        pytest.param(VIRGINIA, [OREGON], "local", LOCAL, id="this machine, by policy"),
        pytest.param(LOCAL, [OREGON], "error", LOCAL, id="this machine, for its own files"),
        pytest.param(VIRGINIA, [], "error", LOCAL, id="this machine, with no endpoint at all"),
    ],
)
def test_data_are_served_by(
    located: Region, usable: list[Region], missing: MissingEndpoint, host: Region
) -> None:
    """Every region of data has a host, chosen by what is there and by policy."""
    assert hosts_of([located], usable, missing) == ({located: host}, [])


def test_regions_without_an_endpoint_are_all_reported() -> None:
    """Each missing endpoint is an error of its own, that names what there is."""
    hosts, problems = hosts_of([VIRGINIA, IRELAND, OREGON], [OREGON, IOWA])
    assert hosts == {OREGON: OREGON}
    assert [type(problem) for problem in problems] == [EndpointError] * 2
    assert [problem.region for problem in problems] == [str(IRELAND), str(VIRGINIA)]  # type: ignore[attr-defined]
    assert "needed by 1 source." in str(problems[0])
    assert "there are: aws:us-west-2, gcp:us-central1" in str(problems[0])


def test_other_regions_of_the_same_provider_do_not_serve() -> None:
    """Data are never moved to another region without being told to."""
    assert hosts_of([VIRGINIA], [OREGON])[0] == {}
