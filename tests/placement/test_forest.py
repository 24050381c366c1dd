from __future__ import annotations

import numpy as np
import pytest

from support.placement_samples import N_TWO_REGIONS, costs_of
from support.problems import best_by_brute_force, draw_prices, state_problem
from xr_locality.placement.forest import is_forest, place_forest
from xr_locality.placement.problem import PlacementProblem, Prices

FREE = Prices.of(np.zeros((4, 4), dtype=np.int64))


def draw_forest(rng: np.random.Generator, n_regions: int, n_tasks: int) -> PlacementProblem:
    """Draw tasks each of whose values goes to one other, along a forest, or to places."""
    places = "abcd"[:n_regions] + "xy"
    values: list[tuple[int, str | int, list[str | int]]] = []
    for task in range(1, n_tasks):
        if rng.random() < 0.15:
            continue
        ends = [task, int(rng.integers(task))]
        for maker, taker in (ends, ends[::-1]) if rng.random() < 0.3 else (ends,):
            also = rng.choice(list(places), size=int(rng.integers(3)), replace=False).tolist()
            values.append((int(rng.integers(1, 100)), maker, [taker, *also]))
    for task in range(n_tasks):
        place = str(rng.choice(list(places)))
        ends_: list[str | int] = [task, str(rng.choice(list(places)))]
        values.append((int(rng.integers(1, 100)), place, ends_[: int(rng.integers(1, 3))]))
        values.append((int(rng.integers(1, 30)), task, [str(rng.choice(list(places)))]))
    return state_problem(values, places=places, n_regions=n_regions, n_tasks=n_tasks)


@pytest.mark.parametrize(("n_regions", "most_tasks"), [(2, 8), (3, 6), (4, 5)])
def test_forests_are_placed_best(n_regions: int, most_tasks: int) -> None:
    """Exact in any number of regions, for any prices, ties by bytes."""
    for seed in range(N_TWO_REGIONS // 8):
        rng = np.random.default_rng([n_regions, seed])
        forest = draw_forest(rng, n_regions, int(rng.integers(1, most_tasks + 1)))
        prices = draw_prices(rng, forest.n_places)
        assert is_forest(forest), seed
        best = best_by_brute_force(forest, prices)
        placed = place_forest(forest, prices)
        assert costs_of(forest, placed, prices) == (best.cost, best.ties), seed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], True, id="no values"),
        pytest.param([(1, 0, [1]), (1, 1, [2])], True, id="chain"),
        pytest.param([(1, 0, [2]), (1, 1, [2]), (1, 2, "y")], True, id="join"),
        pytest.param([(1, 0, [1]), (1, 0, [2])], True, id="two values"),
        pytest.param([(1, 0, [1]), (1, 1, [0])], True, id="both ways"),
        pytest.param([(1, 0, [1]), (2, 0, [1])], True, id="twice"),
        pytest.param([(1, 0, [1, 2])], False, id="shared"),
        pytest.param([(1, "a", [0, 1])], False, id="shared store"),
        pytest.param([(1, 0, [1]), (1, 1, [2]), (1, 0, [2])], False, id="diamond"),
    ],
)
def test_forests_are_told_from_other_graphs(values: list[object], expected: bool) -> None:
    """Where each value has one taker and tasks make no circle, however arcs point."""
    assert is_forest(state_problem(values, n_tasks=3)) is expected  # type: ignore[arg-type]


def test_what_goes_to_a_region_anyway_is_counted_once() -> None:
    """A value that a place needs, too, costs its taker there nothing."""
    stated = state_problem([(10, 0, [1, "b"]), (10, "a", [0]), (4, "a", [1])], n_tasks=2)
    prices = Prices.of(1 - np.eye(4, dtype=np.int64))
    assert costs_of(stated, place_forest(stated, prices), prices)[0] == 10


def test_first_region_is_taken_of_equals() -> None:
    """Ties that bytes do not decide go to the region that comes first."""
    stated = state_problem([(5, 0, [1]), (5, 1, "y")])
    assert place_forest(stated, FREE).tolist() == [0, 0]


def test_deep_chains_need_no_recursion() -> None:
    """Ten thousand tasks in a row are placed without a stack of calls."""
    n_tasks = 10_000
    values = [(2, task, [task + 1]) for task in range(n_tasks - 1)]
    stated = state_problem([*values, (3, "b", [0]), (1, n_tasks - 1, ["a"])])
    prices = Prices.of(1 - np.eye(4, dtype=np.int64))
    assert place_forest(stated, prices).tolist() == [1] * n_tasks
