from __future__ import annotations

import numpy as np
import pytest

from support.placement_samples import N_MORE_REGIONS, costs_of, is_allowed, problems
from support.problems import best_by_brute_force, state_problem
from xr_locality.placement.problem import Prices
from xr_locality.placement.swaps import improve


@pytest.mark.parametrize(("n_regions", "most_tasks"), [(2, 8), (3, 8), (4, 8)])
def test_swaps_never_make_a_placement_dearer(n_regions: int, most_tasks: int) -> None:
    """From any start, the objective never grows, nor bytes where it stays."""
    for seed, stated, prices in problems(
        N_MORE_REGIONS // 5, n_regions=n_regions, most_tasks=most_tasks, pinned=False
    ):
        start = np.random.default_rng(seed).integers(n_regions, size=stated.n_tasks)
        kept = start.copy()
        improved = improve(stated, prices, start)
        assert is_allowed(stated, improved), seed
        assert costs_of(stated, improved, prices) <= costs_of(stated, start, prices), seed
        assert (start == kept).all(), "the start was changed"


def test_one_swap_of_two_regions_is_the_best() -> None:
    """With two regions a swap is the exact cut, wherever it starts."""
    for seed, stated, prices in problems(100, n_regions=2, most_tasks=8, pinned=False):
        start = np.random.default_rng(seed).integers(2, size=stated.n_tasks)
        best = best_by_brute_force(stated, prices)
        found = costs_of(stated, improve(stated, prices, start), prices)
        assert found == (best.cost, best.ties), seed


def test_what_swaps_leave_no_swap_improves() -> None:
    """Swaps go on until none helps: improving again changes no cost."""
    for seed, stated, prices in problems(100, n_regions=4, most_tasks=8, pinned=False):
        improved = improve(stated, prices, np.zeros(stated.n_tasks, dtype=np.int64))
        again = improve(stated, prices, improved)
        assert costs_of(stated, again, prices) == costs_of(stated, improved, prices), seed


def test_pairs_without_tasks_are_not_tried() -> None:
    """Nothing runs in a region that only one of two pairs could give tasks: it is still found."""
    prices = Prices.of(1 - np.eye(5, dtype=np.int64))
    values = [(9, "c", [0]), (1, 0, ["y"])]
    stated = state_problem(values, places="abcxy", n_regions=3)
    assert improve(stated, prices, np.array([0])).tolist() == [2]
