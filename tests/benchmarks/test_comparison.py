from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import xarray as xr

from benchmarks.harness import measure
from benchmarks.harness.comparison import WAYS, SizedWorkload
from benchmarks.harness.workloads import WORKLOADS
from xr_locality.errors import ExecutionError
from xr_locality.regions.region import Region
from xr_locality.testing.network import EmulatedNetwork

pytestmark = [
    pytest.mark.root,
    pytest.mark.gateway,
    pytest.mark.skipif(bool(EmulatedNetwork.missing()), reason=EmulatedNetwork.missing() or "-"),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Any]:
    """Start three regions over an emulated WAN, warmed up."""
    with measure._regions() as place:
        yield place


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name",
    ["small mask broadcast to a large dataset", "chunkwise difference at unequal resolution"],
)
def test_plan_moves_what_it_says_and_the_least(place: Any, name: str) -> None:
    """Every way gives one answer; the network counts the plan's optimum, and less than others."""
    work = SizedWorkload(workload=WORKLOADS[name], opener=place.opener, shrink=2)
    compared = place.runner.compare(work)
    assert compared.plan.gap == 0
    planned = sum(compared.runs["plan"].moved.get(pair, 0) for pair in compared.plan.moved)
    # What comes on top are frames' headers, and questions whether values are ready.
    assert compared.plan.nbytes_moved <= planned < compared.plan.nbytes_moved * 1.05 + 60_000
    for way in ("local", "split by hand"):
        assert compared.runs["plan"].nbytes < compared.runs[way].nbytes
    assert set(compared.runs) == set(WAYS)


def test_ways_that_differ_are_an_error(place: Any) -> None:
    """A split by hand that gives something else is not compared."""

    class Wrong:
        def lazy(self) -> Any:
            return SizedWorkload(
                workload=WORKLOADS["difference of two reductions"],
                opener=place.opener,
                shrink=30,
            ).lazy()

        def by_hand(self, compute: Callable[[Mapping[Region, Any]], Mapping[Region, Any]]) -> Any:
            return xr.zeros_like(self.lazy()).compute()

    with pytest.raises(ExecutionError, match="does not give what"):
        place.runner.compare(Wrong(), ways=("split by hand", "local"))
