from __future__ import annotations

import numpy as np
import pytest

from support.placement_samples import N_MORE_REGIONS, problems
from support.problems import best_by_brute_force, state_problem
from xr_locality.placement.bounds import isolating_bound
from xr_locality.placement.problem import Prices

BYTES = Prices.of(1 - np.eye(5, dtype=np.int64))


@pytest.mark.parametrize(("n_regions", "most_tasks"), [(2, 7), (3, 6), (4, 5)])
def test_nothing_costs_less_than_the_bound(n_regions: int, most_tasks: int) -> None:
    """No placement beats the bound, and on the whole it is about half of the optimum."""
    total = optimal = 0
    for seed, stated, prices in problems(
        N_MORE_REGIONS // 2, n_regions=n_regions, most_tasks=most_tasks, pinned=False
    ):
        bound, best = isolating_bound(stated, prices), best_by_brute_force(stated, prices)
        assert 0 <= bound <= best.cost, seed
        if prices.objective.max() < 100:
            total, optimal = total + bound, optimal + best.cost
    assert total > optimal * 0.4, "the bound says too little"


def test_bound_of_what_must_cross() -> None:
    """A join of three regions' data costs what the two smaller ones bring to the largest."""
    values = [(5, "a", [0]), (7, "b", [0]), (9, "c", [0])]
    stated = state_problem(values, places="abcxy", n_regions=3)
    assert isolating_bound(stated, BYTES) in range(11, 13)


def test_value_needed_where_its_taker_may_be_is_charged_once() -> None:
    """A result that goes to a region crosses there once, also if a task there takes it."""
    values = [(9, "a", [0]), (2, 0, [1, "b"]), (9, "b", [1])]
    stated = state_problem(values, places="abcxy", n_regions=3)
    assert best_by_brute_force(stated, BYTES).cost == 2
    assert isolating_bound(stated, BYTES) <= 2


def test_what_lies_elsewhere_is_charged_in_full() -> None:
    """A value from a place where nothing runs crosses whatever happens."""
    values = [(10, "x", [0]), (4, 0, ["y"])]
    stated = state_problem(values, places="abcxy", n_regions=3)
    assert isolating_bound(stated, BYTES) <= 14


def test_nothing_crosses_that_need_not() -> None:
    """Where everything may run in one region beside its data, nothing is charged."""
    values = [(10, "a", [0]), (4, 0, [1]), (3, 1, ["a"])]
    stated = state_problem(values, places="abcxy", n_regions=3)
    assert isolating_bound(stated, BYTES) == 0
