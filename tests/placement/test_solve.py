from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.placement_samples import (
    N_MORE_REGIONS,
    N_TWO_REGIONS,
    PROPERTY,
    costs_of,
    is_allowed,
    problems,
)
from support.problems import best_by_brute_force, state_problem
from support.strategies import placement_problems, prices_between
from xr_locality.errors import PlacementError
from xr_locality.placement.greedy import place_together
from xr_locality.placement.problem import PlacementProblem, Prices
from xr_locality.placement.solve import Placement, solve

BYTES = Prices.of(1 - np.eye(5, dtype=np.int64))


def check(stated: PlacementProblem, prices: Prices, label: object = None) -> Placement:
    """Compare a solution with brute force, and its bound and gap with what they promise."""
    best = best_by_brute_force(stated, prices)
    found = solve(stated, prices)
    assert is_allowed(stated, found.placed), label
    assert costs_of(stated, found.placed, prices)[0] == found.cost, label
    assert found.lower_bound <= best.cost <= found.cost, label
    if found.gap == 0.0:
        assert found.cost == best.cost, label
    if stated.n_regions == 2:
        assert costs_of(stated, found.placed, prices) == (best.cost, best.ties), label
        assert found.lower_bound == found.cost, label
    for region in range(stated.n_regions):
        together = place_together(stated, region)
        assert found.cost <= costs_of(stated, together, prices)[0], label
    return found


def test_two_regions_are_placed_best() -> None:
    """The least cost, then the fewest bytes, and proven so."""
    for seed, stated, prices in problems(N_TWO_REGIONS // 3, n_regions=2, most_tasks=8):
        check(stated, prices, seed)


@pytest.mark.parametrize(("n_regions", "most_tasks"), [(3, 7), (4, 5)])
def test_more_regions_are_placed_within_the_gap(n_regions: int, most_tasks: int) -> None:
    """On hundreds of problems each: within the gap, 0 only at the optimum; no region is better."""
    missed = 0
    for seed, stated, prices in problems(
        N_MORE_REGIONS, n_regions=n_regions, most_tasks=most_tasks
    ):
        missed += check(stated, prices, seed).gap > 0
    assert missed < N_MORE_REGIONS / 100, "small problems are left unproven"


def test_costs_of_many_magnitudes_are_placed_within_the_gap() -> None:
    """Bytes of one and of a billion in one problem, which floats do not hold together."""
    for seed, drawn, prices in problems(N_MORE_REGIONS // 2, n_regions=4, most_tasks=5):
        rng = np.random.default_rng(seed)
        nbytes = np.rint(10 ** rng.uniform(0, 9, size=len(drawn.nbytes))).astype(np.int64)
        cheap = Prices(objective=prices.objective % 1000, ties=prices.ties)
        check(replace(drawn, nbytes=nbytes), cheap, seed)


@given(stated=placement_problems(most_tasks=5, circles=True), data=st.data())
@PROPERTY
def test_solution_keeps_its_promises(stated: PlacementProblem, data: st.DataObject) -> None:
    """The same for problems and prices that Hypothesis makes odd and shrinks."""
    check(stated, data.draw(prices_between(stated.n_places)))


@pytest.mark.parametrize("n_regions", [2, 3, 4])
def test_search_alone_keeps_its_promises(n_regions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large for a program, placements are within a gap that isolating cuts bound."""
    monkeypatch.setattr("xr_locality.placement.solve._MOST_VARIABLES", 0)
    monkeypatch.setattr("xr_locality.placement.solve._MOST_CELLS", 0)
    for seed, stated, prices in problems(200, n_regions=n_regions, most_tasks=5):
        check(stated, prices, seed)


def test_solution_is_deterministic() -> None:
    """The same problem gives the same solution."""
    for seed, stated, prices in problems(60, n_regions=3, most_tasks=9):
        first, second = solve(stated, prices), solve(stated, prices)
        assert first.placed.tolist() == second.placed.tolist(), seed
        assert (first.cost, first.lower_bound) == (second.cost, second.lower_bound), seed


@pytest.mark.parametrize(
    ("values", "regions", "solver"),
    [
        ([(9, "a", [0]), (1, 0, ["y"])], "ab", "nothing to decide"),
        ([(5, "a", [0]), (5, "b", [0]), (4, 0, ["y"])], "ab", "minimum cut"),
        ([(5, "a", [0]), (5, "b", [0]), (4, 0, ["y"])], "abc", "dynamic programming"),
        (
            [(5, place, [task]) for place in "abc" for task in (0, 1)]
            + [(4, task, [2, 3]) for task in (0, 1)]
            + [(5, place, [task]) for place in "abc" for task in (2, 3)],
            "abc",
            "mixed-integer program",
        ),
    ],
)
def test_solver_is_named(values: list[object], regions: str, solver: str) -> None:
    """A plan can say what placed its tasks."""
    stated = state_problem(values, places=f"{regions}xy", n_regions=len(regions))  # type: ignore[arg-type]
    assert solve(stated, Prices.of(1 - np.eye(stated.n_places, dtype=np.int64))).solver == solver


def test_gap_of_what_costs_nothing_is_none() -> None:
    """Nothing moved is proven to be best, without a division by it."""
    stated = state_problem([(9, "a", [0]), (1, 0, ["a"])], places="abcxy", n_regions=3)
    found = solve(stated, BYTES)
    assert (found.cost, found.gap) == (0, 0.0)


def test_gap_is_a_share_of_the_cost() -> None:
    """Half of what is paid may be too much, if the bound is half of it."""
    placed = np.array([0])
    assert Placement(placed=placed, cost=10, lower_bound=5, solver="none").gap == 0.5


def test_pins_that_cannot_be_kept_are_refused() -> None:
    """Nothing is placed that may not be."""
    with pytest.raises(PlacementError, match="where nothing can run"):
        solve(state_problem([(1, 0, ["y"])], places="abcxy", pins={0: "x"}), BYTES)


def test_one_region_has_nothing_to_decide() -> None:
    """With one region everything runs there, and what is paid is known."""
    stated = state_problem([(9, "x", [0]), (1, 0, ["y"])], places="axy", n_regions=1)
    found = solve(stated, Prices.of(1 - np.eye(3, dtype=np.int64)))
    assert (found.placed.tolist(), found.cost, found.lower_bound) == ([0], 10, 10)
