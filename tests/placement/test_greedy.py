from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xr_locality.placement.costs import CostModel
from xr_locality.placement.greedy import place_greedily, place_together
from xr_locality.placement.problem import Cost, Placement, PlacementProblem, total_cost
from xr_locality.regions.model import LOCAL, Region
from xr_locality.testing.strategies import placement_problems

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")

COSTS: dict[str, Cost] = {
    "usd": CostModel().usd,
    "bytes": CostModel().nbytes,
    "seconds": CostModel().seconds,
}

any_cost = st.sampled_from(sorted(COSTS)).map(COSTS.__getitem__)


def allowed(problem: PlacementProblem, placed: tuple[Region, ...]) -> bool:
    """Whether a placement respects pins and units."""
    return all(placed[task] == region for task, region in problem.pins.items()) and all(
        len({placed[task] for task in unit}) == 1 for unit in problem.units
    )


def cheapest(problem: PlacementProblem, cost: Cost) -> float:
    """Try every placement."""
    return min(
        total_cost(problem, placed, cost)
        for placed in product(problem.regions, repeat=len(problem.nbytes))
        if allowed(problem, placed)
    )


@given(problem=placement_problems(most_tasks=5), cost=any_cost)
@settings(max_examples=60, deadline=None)
def test_placements_are_legal_and_priced_right(problem: PlacementProblem, cost: Cost) -> None:
    """No placement beats brute force, breaks a pin or a unit, or misstates its cost or bound."""
    optimum = cheapest(problem, cost)
    found: list[Placement] = [place_greedily(problem, cost)]
    found += [place_together(problem, region, cost) for region in problem.regions]
    for placement in found:
        assert allowed(problem, placement.regions)
        assert placement.cost == total_cost(problem, placement.regions, cost)
        assert placement.cost >= optimum or placement.cost == pytest.approx(optimum)
        assert placement.lower_bound <= optimum or placement.lower_bound == pytest.approx(optimum)


@given(problem=placement_problems())
@settings(max_examples=50, deadline=None)
def test_greedy_placement_is_deterministic(problem: PlacementProblem) -> None:
    """The same problem gives the same placement."""
    assert place_greedily(problem, COSTS["usd"]) == place_greedily(problem, COSTS["usd"])


def test_join_of_reductions_runs_beside_the_larger() -> None:
    """What joins two regions runs where most of what it takes already is."""
    problem = PlacementProblem(
        regions=(OREGON, IOWA),
        nbytes=[10, 1000, 5],
        inputs=[(), (), (0, 1)],
        pins={0: OREGON, 1: IOWA},
        units=[],
        results=frozenset({2}),
        client=LOCAL,
    )
    placement = place_greedily(problem, COSTS["bytes"])
    assert placement.regions == (OREGON, IOWA, IOWA)
    assert placement.cost == 10 + 5


def test_task_without_located_inputs_runs_where_most_want_it() -> None:
    """What takes nothing goes to the region that takes most from it."""
    problem = PlacementProblem(
        regions=(OREGON, IOWA),
        nbytes=[10, 1, 1, 1],
        inputs=[(), (0,), (0,), (0,)],
        pins={1: OREGON, 2: IOWA, 3: IOWA},
        units=[],
        results=frozenset(),
        client=LOCAL,
    )
    assert place_greedily(problem, COSTS["bytes"]).regions[0] == IOWA


def test_tasks_that_nothing_places_run_beside_the_client() -> None:
    """Without data and without takers, the client's region decides, if tasks may run there."""
    problem = PlacementProblem(
        regions=(OREGON, IOWA),
        nbytes=[1],
        inputs=[()],
        pins={},
        units=[],
        results=frozenset({0}),
        client=IOWA,
    )
    assert place_greedily(problem, COSTS["bytes"]).regions == (IOWA,)


def test_unit_without_located_inputs_stays_together() -> None:
    """A shuffle of data that lie nowhere is not torn apart by those who take from it."""
    problem = PlacementProblem(
        regions=(OREGON, IOWA),
        nbytes=[1] * 6,
        inputs=[(), (0,), (1,), (1,), (2,), (3,)],
        pins={4: OREGON, 5: IOWA},
        units=[(0, 1, 2, 3)],
        results=frozenset(),
        client=LOCAL,
    )
    placed = place_greedily(problem, COSTS["bytes"]).regions
    assert len(set(placed[:4])) == 1
