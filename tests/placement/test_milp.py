from __future__ import annotations

import numpy as np
import pytest

from support.placement_samples import N_MORE_REGIONS, costs_of, problems
from support.problems import best_by_brute_force, state_problem
from xr_locality.placement.milp import program_size, solve_program
from xr_locality.placement.problem import Prices

BYTES = Prices.of(1 - np.eye(4, dtype=np.int64))


@pytest.mark.parametrize(("n_regions", "most_tasks"), [(3, 6), (4, 5)])
def test_program_finds_the_optimum_and_bounds_it(n_regions: int, most_tasks: int) -> None:
    """Small problems are solved: the placement costs least, and the bound meets it."""
    for seed, stated, prices in problems(
        N_MORE_REGIONS // 5, n_regions=n_regions, most_tasks=most_tasks, pinned=False
    ):
        best = best_by_brute_force(stated, prices)
        start, _ = costs_of(stated, np.zeros(stated.n_tasks, dtype=int), prices)
        solved = solve_program(stated, prices, most=start)
        if solved.placed is not None:
            assert costs_of(stated, solved.placed, prices)[0] == best.cost, seed
        else:
            assert start == best.cost, seed
        assert best.cost - 2e-6 * start <= solved.lower_bound <= best.cost, seed


def test_what_no_task_has_to_do_with_is_in_the_bound() -> None:
    """Values that go from place to place cost the same whatever runs where."""
    stated = state_problem([(7, "x", ["y"]), (5, "a", ["b", 0]), (3, 0, ["a"])])
    solved = solve_program(stated, BYTES, most=100)
    assert solved.placed is not None
    assert solved.placed.tolist() == [0]
    assert solved.lower_bound == pytest.approx(12)
    assert solve_program(stated, BYTES, most=12).lower_bound == 12


def test_bound_holds_where_the_solver_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of nodes, there is a bound all the same, and never one above the optimum."""
    monkeypatch.setattr("xr_locality.placement.milp._MOST_NODES", 0)
    for seed, stated, prices in problems(60, n_regions=3, most_tasks=6, pinned=False):
        best = best_by_brute_force(stated, prices)
        start, _ = costs_of(stated, np.zeros(stated.n_tasks, dtype=int), prices)
        solved = solve_program(stated, prices, most=start)
        assert 0 <= solved.lower_bound <= best.cost, seed
        if solved.placed is not None:
            assert costs_of(stated, solved.placed, prices)[0] >= best.cost, seed


def test_bound_holds_where_costs_are_far_apart() -> None:
    """Floats that hold the dearest value to seven digits must not lose the cheapest ones."""
    values = [
        (735_214_929, 2, ["d"]),
        (49_235_005, "a", [3]),
        (27_147, 0, [1, 4]),
        (537, 1, [3, 4]),
        (261, "a", [1]),
        (95, "c", [4]),
        (38_928_371, "c", [4]),
        (34, 4, ["d"]),
        (2, 3, [4, "d"]),
    ]
    stated = state_problem(values, places="abcd", n_regions=4)
    objective = np.array([[0, 0, 12, 0], [9, 0, 12, 12], [9, 0, 0, 9], [0, 9, 0, 0]])
    prices = Prices.of(objective)
    assert best_by_brute_force(stated, prices).cost == 306
    solved = solve_program(stated, prices, most=408)
    assert 305 < solved.lower_bound <= 306
    assert solved.placed is not None
    assert costs_of(stated, solved.placed, prices)[0] == 306


def test_size_counts_variables() -> None:
    """Tasks by regions, and what each value that tasks take needs to know about it."""
    stated = state_problem([(1, 0, [1, 2]), (1, 1, "y"), (1, "a", [0])])
    assert program_size(stated) == 3 * 2 + 2 * (2 + 4)
