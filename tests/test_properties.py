"""Random xarray programs over two regions: the same answer, whatever the plan."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xr_locality as xl
from support.answers import assert_same, compute_plainly
from support.clusters import REGIONS, two_clusters
from support.inprocess import run_here
from support.invariants import check_plan
from support.programs import Program
from support.strategies import programs
from xr_locality.session import Session

pytestmark = [
    pytest.mark.slow,
    # Means of nothing, and what xarray says of chunks that it makes.
    pytest.mark.filterwarnings("ignore"),
]

#: Policies under which a plan may look very different.
policies = st.fixed_dictionaries(
    {
        "objective": st.sampled_from(["bytes", "usd", "seconds"]),
        # Without remote reads, more has to be split.
        "remote_read": st.sampled_from(["never", "allowed"]),
        "client_region": st.sampled_from(["local", *REGIONS]),
    }
)

# Fixtures that an example cannot change are the same for all.
unhurried = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module", params=[True, False], ids=["direct", "relayed"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """Make a session over two clusters that reach each other, or that do not."""
    with (
        two_clusters(processes=request.param) as clusters,
        Session(clusters, objective="bytes", remote_read="never") as made,
    ):
        yield made


@given(program=programs(), policy=policies)
@settings(unhurried, max_examples=150)
def test_any_plan_gives_the_plain_answer(
    sources: tuple[xr.Dataset, xr.Dataset], program: Program, policy: dict[str, Any]
) -> None:
    """However a program is split, its parts together give what dask alone gives, bit by bit."""
    lazy = program.build(*sources)
    plan = xl.plan(lazy, endpoints=dict.fromkeys(REGIONS), **policy)
    check_plan(plan)
    assert_same(run_here(plan), compute_plainly(lazy))


@given(program=programs(most_steps=8), policy=policies)
@settings(unhurried, max_examples=150)
def test_any_plan_keeps_the_invariants(
    sources: tuple[xr.Dataset, xr.Dataset], program: Program, policy: dict[str, Any]
) -> None:
    """What holds for every plan holds, and planning again gives the same plan."""
    lazy = program.build(*sources)
    plan = xl.plan(lazy, endpoints=dict.fromkeys(REGIONS), **policy)
    check_plan(plan)
    again = xl.plan(lazy, endpoints=dict.fromkeys(REGIONS), **policy)
    assert again.to_dict() == plan.to_dict()


@given(program=programs())
@settings(unhurried, max_examples=50)
def test_any_run_gives_the_plain_answer(
    session: Session, sources: tuple[xr.Dataset, xr.Dataset], program: Program
) -> None:
    """Two clusters that exchange values give what dask alone gives, bit by bit."""
    lazy = program.build(*sources)
    (expected,) = compute_plainly(lazy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (got,) = session.compute(lazy)
    assert_same(got, expected)
    (report,) = session.reports[-1:]
    assert report.retries == 0
    # What is predicted of a pair of regions crosses, and nothing else does.
    assert set(report.moved) <= {*report.plan.moved, *_relayed(report.plan)}


def _relayed(plan: xl.Plan) -> set[tuple[xl.Region, xl.Region]]:
    """List the pairs that values cross when they go by way of the client."""
    pairs = {(boundary.source, plan.client) for boundary in plan.boundaries}
    return pairs | {
        (plan.client, target) for boundary in plan.boundaries for target in boundary.targets
    }
