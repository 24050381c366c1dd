from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.placement_samples import PROPERTY, costs_of, is_allowed, problems
from support.problems import PLACES, best_by_brute_force, state_problem
from support.strategies import placement_problems, prices_between
from xr_locality.errors import PlacementError
from xr_locality.placement.problem import PlacementProblem, Prices, distinct, evaluate, moves

#: By where bytes leave: links are not symmetric. Places are a, b, c and y.
BY_SOURCE = Prices.of(np.array([[1], [7], [50], [3]]) * (1 - np.eye(4, dtype=np.int64)))


def problem(**changes: object) -> PlacementProblem:
    """State a problem of one value of 100 bytes that two tasks take."""
    stated: dict[str, object] = {
        "values": [(100, 0, [1, 2]), (10, 1, []), (1, 2, [])],
        "places": "abcy",
        "n_regions": 3,
        **changes,
    }
    return state_problem(**stated)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        pytest.param((0, 0, 0), 0, id="together"),
        pytest.param((0, 1, 1), 100, id="two takers in one region"),
        pytest.param((0, 1, 2), 200, id="takers in two regions"),
        pytest.param((1, 0, 0), 700, id="the other way"),
    ],
)
def test_crossing_value_counts_once_for_each_region(placed: tuple[int, ...], expected: int) -> None:
    """A value crosses to a region once, however many tasks there take it."""
    assert evaluate(problem(), np.array(placed), BY_SOURCE.objective) == expected


def test_moves_are_listed_once_for_each_region() -> None:
    """What crosses is told by value, by the place it leaves and the one it enters."""
    stated = problem(values=[(100, 0, [1, 2, 3, "y"]), (5, "b", [0])])
    values, sources, targets = moves(stated, np.array([0, 1, 1, 0]))
    listed = list(zip(values.tolist(), sources.tolist(), targets.tolist(), strict=True))
    assert listed == [(0, 0, 1), (0, 0, 3), (1, 1, 0)]


def test_results_cross_to_the_client() -> None:
    """Results pay their way to the client, at the price of the region they leave."""
    stated = problem(values=[(100, 0, [1, 2]), (10, 1, "y"), (1, 2, "y")])
    assert evaluate(stated, np.array([0, 0, 0]), BY_SOURCE.objective) == 11
    assert evaluate(stated, np.array([0, 0, 1]), BY_SOURCE.objective) == 100 + 10 + 7


def test_result_taken_where_it_goes_crosses_once() -> None:
    """A result that a task beside its place takes too is not paid twice."""
    stated = problem(values=[(100, 0, [1, 2, "b"])])
    assert evaluate(stated, np.array([0, 1, 1]), BY_SOURCE.objective) == 100


def test_what_lies_somewhere_is_paid_by_who_is_elsewhere() -> None:
    """A chunk of a store costs nothing beside it, and its stored bytes elsewhere."""
    stated = problem(values=[(5, "c", [0]), (9, "y", [0, 1])])
    assert evaluate(stated, np.array([2, 2]), BY_SOURCE.objective) == 9 * 3
    assert evaluate(stated, np.array([0, 1]), BY_SOURCE.objective) == 5 * 50 + 2 * 9 * 3


def test_costs_beyond_64_bits_are_exact() -> None:
    """Bytes and prices may multiply to more than 64 bits hold."""
    huge = Prices.of((1 - np.eye(4, dtype=np.int64)) * (2**40 + 1))
    stated = problem(values=[(2**50 + 1, 0, [1, 2])])
    assert evaluate(stated, np.array([0, 1, 2]), huge.objective) == 2 * (2**50 + 1) * (2**40 + 1)


@given(stated=placement_problems(circles=True), data=st.data())
@PROPERTY
def test_evaluation_is_the_definition(stated: PlacementProblem, data: st.DataObject) -> None:
    """Any placement costs what its values cost, one after another."""
    prices = data.draw(prices_between(stated.n_places))
    regions = st.integers(0, stated.n_regions - 1)
    placed = np.array(data.draw(st.lists(regions, min_size=(n := stated.n_tasks), max_size=n)))
    expected = costs_of(stated, placed, prices)
    assert evaluate(stated, placed, prices.objective) == expected[0]
    assert evaluate(stated, placed, prices.ties) == expected[1]


@given(stated=placement_problems())
@PROPERTY
def test_drawn_problems_have_solutions(stated: PlacementProblem) -> None:
    """Strategies draw pins and units that can be kept."""
    stated.check()


def test_brute_force_finds_what_is_allowed_and_prices_it() -> None:
    """The oracle of other tests keeps pins and units, and its costs are by definition."""
    for seed, stated, prices in problems(100, n_regions=3, most_tasks=5):
        stated.check()
        best = best_by_brute_force(stated, prices)
        assert is_allowed(stated, best.placed), seed
        assert costs_of(stated, best.placed, prices) == (best.cost, best.ties), seed


def test_brute_force_refuses_what_it_cannot_add_up() -> None:
    """The oracle computes in 64 bits, and says so where they may not do."""
    stated = problem(values=[(2**50, 0, [1])])
    with pytest.raises(OverflowError, match="64 bits"):
        best_by_brute_force(stated, Prices.of((1 - np.eye(4, dtype=np.int64)) * 2**40))


def test_pin_to_unusable_place_is_refused() -> None:
    """A task pinned where nothing can run is an error that names the regions that can."""
    stated = problem(pins={1: "y"})
    with pytest.raises(PlacementError, match="region 'local'.*gcp:us-central1") as caught:
        stated.check()
    assert caught.value.region == str(PLACES["y"])


def test_unit_pinned_to_two_regions_is_refused() -> None:
    """Tasks that must run together and are pinned apart have no placement."""
    stated = problem(pins={0: "b", 1: "a"}, units=[(0, 1, 2)])
    with pytest.raises(PlacementError, match="aws:us-west-2 and gcp:us-central1") as caught:
        stated.check()
    assert caught.value.regions == (str(PLACES["a"]), str(PLACES["b"]))


def test_unit_pinned_to_one_region_is_kept() -> None:
    """Some tasks of a unit may be pinned, if all to the same region."""
    problem(pins={0: "b", 1: "b"}, units=[(0, 1, 2)]).check()


def test_ties_are_decided_by_bytes() -> None:
    """Unless told otherwise, bytes that cross between any two places count the same."""
    assert BY_SOURCE.ties.tolist() == (1 - np.eye(4, dtype=int)).tolist()


@given(numbers=st.lists(st.integers(-(2**40), 2**40)))
def test_distinct_numbers_are_sorted(numbers: list[int]) -> None:
    """As a sorted set."""
    assert distinct(np.array(numbers, dtype=np.int64)).tolist() == sorted(set(numbers))
