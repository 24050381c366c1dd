from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.placement_samples import N_TWO_REGIONS, PROPERTY, costs_of, is_allowed, problems
from support.problems import best_by_brute_force, state_problem
from support.strategies import placement_problems, prices_between
from xr_locality.placement.contraction import contract, merge
from xr_locality.placement.problem import PlacementProblem, Prices

BYTES = Prices.of(1 - np.eye(4, dtype=np.int64))


def assert_same_best(stated: PlacementProblem, prices: Prices, label: object = None) -> None:
    """Assert that contraction loses no best placement, and misprices none."""
    contracted = contract(stated, prices)
    small = contracted.problem
    assert (small.pins == -1).all()
    assert small.units is None
    expected, found = best_by_brute_force(stated, prices), best_by_brute_force(small, prices)
    assert (found.cost, found.ties) == (expected.cost, expected.ties), label
    expanded = contracted.expand(found.placed)
    assert is_allowed(stated, expanded), label
    assert costs_of(stated, expanded, prices) == (expected.cost, expected.ties), label


@given(stated=placement_problems(most_tasks=6, circles=True), data=st.data())
@PROPERTY
def test_best_placement_survives(stated: PlacementProblem, data: st.DataObject) -> None:
    """The smaller problem's best placement is a best one of the first, ties by bytes too."""
    assert_same_best(stated, data.draw(prices_between(stated.n_places)))


@pytest.mark.parametrize(("n_regions", "most_tasks"), [(2, 8), (3, 6), (4, 5)])
def test_best_placement_survives_thousands_of_times(n_regions: int, most_tasks: int) -> None:
    """The same for many more problems, in two, three and four regions."""
    for seed, stated, prices in problems(
        N_TWO_REGIONS // 3, n_regions=n_regions, most_tasks=most_tasks
    ):
        assert_same_best(stated, prices, seed)


@given(stated=placement_problems(most_tasks=10, circles=True), data=st.data())
@PROPERTY
def test_expansion_costs_what_the_smaller_problem_says(
    stated: PlacementProblem, data: st.DataObject
) -> None:
    """Not only the best: each placement of the smaller problem costs what its expansion does."""
    prices = data.draw(prices_between(stated.n_places))
    contracted = contract(stated, prices)
    n_tasks = contracted.problem.n_tasks
    regions = st.integers(0, stated.n_regions - 1)
    placed = np.array(data.draw(st.lists(regions, min_size=n_tasks, max_size=n_tasks)), dtype=int)
    expanded = contracted.expand(placed)
    assert is_allowed(stated, expanded)
    assert costs_of(contracted.problem, placed, prices) == costs_of(stated, expanded, prices)


@given(stated=placement_problems(most_tasks=10, circles=True), data=st.data())
@PROPERTY
def test_contraction_leaves_nothing_to_contract(
    stated: PlacementProblem, data: st.DataObject
) -> None:
    """What it made has no task that follows another: contracting again changes nothing."""
    prices = data.draw(prices_between(stated.n_places))
    small = contract(stated, prices).problem
    again = contract(small, prices)
    assert again.problem.n_tasks == small.n_tasks
    assert again.entity_of.tolist() == list(range(small.n_places, small.n_places + small.n_tasks))


def test_reduction_contracts_to_nothing() -> None:
    """Each step of a reduction follows what it reduces, down to the result."""
    leaves = 64
    values: list[tuple[int, str | int, list[str | int]]] = []
    level = list(range(leaves))
    values += [(1000, "a", [leaf]) for leaf in level]
    n_tasks, nbytes = leaves, 800
    while len(level) > 1:
        above = list(range(n_tasks, n_tasks + len(level) // 4))
        values += [(nbytes, task, [above[at // 4]]) for at, task in enumerate(level)]
        level, n_tasks, nbytes = above, n_tasks + len(above), nbytes // 4
    values.append((nbytes, level[0], ["y"]))
    contracted = contract(state_problem(values), BYTES)
    assert contracted.problem.n_tasks == 0
    assert (contracted.expand(np.array([], dtype=int)) == 0).all()


def test_join_of_reductions_leaves_the_join_alone() -> None:
    """Of a difference of two means what subtracts them is left, or nothing if one outweighs."""
    means = [(1000, "a", [0]), (100, 0, [2]), (1000, "b", [1])]
    contracted = contract(state_problem([*means, (100, 1, [2]), (100, 2, "y")]), BYTES)
    assert contracted.problem.n_tasks == 1
    assert contracted.entity_of[:2].tolist() == [0, 1]
    assert (
        contract(state_problem([*means, (250, 1, [2]), (100, 2, "y")]), BYTES).problem.n_tasks == 0
    )


def test_small_mask_is_not_followed_by_what_it_is_broadcast_to() -> None:
    """Chunks that share a mask from elsewhere stay beside their data, which outweighs it."""
    field = [(1000, "a", [task]) for task in range(1, 11)]
    reduced = [(1, task, [11]) for task in range(1, 11)]
    mask = [(50, "b", [0]), (50, 0, [*range(1, 11)])]
    contracted = contract(state_problem([*field, *reduced, *mask, (1, 11, "y")]), BYTES)
    assert (
        contracted.expand(np.zeros(contracted.problem.n_tasks, dtype=int))[1:].tolist() == [0] * 11
    )
    assert contracted.entity_of[1:11].tolist() == [0] * 10


def test_tasks_that_lead_each_other_in_a_circle_are_solved() -> None:
    """Tasks that were joined may take from each other both ways, and follow in a circle."""
    values = [(10, 0, [1]), (10, 1, [2]), (10, 2, [0]), (1, "a", [0]), (9, "b", [2])]
    assert_same_best(state_problem(values), BYTES)


def test_pinned_tasks_become_their_places() -> None:
    """What is pinned is not placed any more, and neither are units with a pinned task."""
    values = [(5, 0, [1]), (5, 1, [2]), (5, 2, [3]), (5, 3, "y")]
    stated = state_problem(values, pins={0: "a", 3: "b"}, units=[(2, 3)])
    contracted = contract(stated, BYTES)
    assert contracted.entity_of[[0, 2, 3]].tolist() == [0, 1, 1]


def test_parallel_values_are_added_up() -> None:
    """Values that one task makes for one other alone cross together: they are one value."""
    stated = state_problem([(5, 0, [2]), (7, 1, [2]), (9, 2, "y")])
    merged, entity_of = merge(stated, np.array([4, 4, 6]))
    assert merged.n_tasks == 2
    assert sorted(merged.nbytes.tolist()) == [9, 12]
    assert entity_of.tolist() == [4, 4, 5]


def test_values_that_stay_inside_are_forgotten() -> None:
    """What only tasks take that are joined with its maker costs nothing any more."""
    stated = state_problem([(5, 0, [1]), (9, 1, "y")])
    merged, _ = merge(stated, np.array([4, 4]))
    assert merged.nbytes.tolist() == [9]


def test_contraction_is_deterministic() -> None:
    """The same problem is contracted the same way."""
    for _, stated, prices in problems(50, n_regions=3, most_tasks=10):
        first, second = contract(stated, prices), contract(stated, prices)
        assert first.entity_of.tolist() == second.entity_of.tolist()
