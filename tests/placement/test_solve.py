from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings

from xr_locality.placement.costs import CostModel
from xr_locality.placement.greedy import place_together
from xr_locality.placement.problem import PlacementProblem, total_cost
from xr_locality.placement.solve import solve
from xr_locality.regions.model import LOCAL, Region
from xr_locality.testing.strategies import placement_problems

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")
COSTS = CostModel()


@given(problem=placement_problems(most_tasks=8))
@settings(max_examples=100, deadline=None)
def test_solution_never_costs_more_than_joining_in_one_region(problem: PlacementProblem) -> None:
    """What is not pinned may always be joined in the best region instead."""
    solution = solve(problem, cost=COSTS.usd, nbytes_cost=COSTS.nbytes)
    joined = [place_together(problem, region, COSTS.usd) for region in problem.regions]
    assert solution.cost <= min(each.cost for each in joined)
    assert solution.lower_bound <= solution.cost or solution.lower_bound == pytest.approx(
        solution.cost
    )


@given(problem=placement_problems(most_tasks=6, regions=(OREGON, IOWA)))
@settings(max_examples=50, deadline=None)
def test_solution_is_deterministic(problem: PlacementProblem) -> None:
    """The same problem gives the same solution."""
    first, second = (solve(problem, cost=COSTS.usd, nbytes_cost=COSTS.nbytes) for _ in range(2))
    assert first == second


def test_bytes_break_ties_of_the_objective() -> None:
    """Of two placements that cost the same, the one that moves fewer bytes is chosen."""

    def free(source: Region, target: Region, nbytes: int) -> float:
        return 0.0

    problem = PlacementProblem(
        regions=(OREGON, IOWA),
        nbytes=[1000, 1, 1],
        inputs=[(), (), (0, 1)],
        pins={0: IOWA, 1: OREGON},
        units=[],
        results=frozenset(),
        client=LOCAL,
    )
    solution = solve(problem, cost=free, nbytes_cost=COSTS.nbytes)
    assert solution.regions[2] == IOWA


def test_chain_of_joins_is_solved_exactly() -> None:
    """Where values have one taker each and shrink as they are joined, greedy is optimal."""
    problem = PlacementProblem(
        regions=(OREGON, IOWA),
        nbytes=[800, 400, 100, 300, 50],
        inputs=[(), (), (0, 1), (), (2, 3)],
        pins={0: OREGON, 1: IOWA, 3: IOWA},
        units=[],
        results=frozenset({4}),
        client=LOCAL,
    )
    best = min(
        total_cost(problem, placed, COSTS.nbytes)
        for placed in product((OREGON, IOWA), repeat=5)
        if all(placed[task] == region for task, region in problem.pins.items())
    )
    assert solve(problem, cost=COSTS.nbytes, nbytes_cost=COSTS.nbytes).cost == best
