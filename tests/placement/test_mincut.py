from __future__ import annotations

from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.placement_samples import (
    N_MIDDLING,
    N_TWO_REGIONS,
    PROPERTY,
    costs_of,
    is_allowed,
    problems,
)
from support.problems import (
    best_by_brute_force,
    draw_prices,
    draw_problem,
    state_problem,
)
from support.strategies import placement_problems, prices_between
from xr_locality.placement.contraction import contract
from xr_locality.placement.mincut import minimum_cut
from xr_locality.placement.problem import PlacementProblem, Prices

BYTES = Prices.of(1 - np.eye(4, dtype=np.int64))


def assert_best(stated: PlacementProblem, prices: Prices, label: object = None) -> None:
    """Assert that a cut costs least, then moves least, then has most in the first region."""
    expected = best_by_brute_force(stated, prices)
    cut = minimum_cut(stated, prices, one=0, other=1)
    assert costs_of(stated, cut.placed, prices) == (expected.cost, expected.ties), label
    assert cut.cost == cut.lower_bound == expected.cost, label
    assert (cut.placed == 0).sum() == (expected.placed == 0).sum(), label


def test_cut_equals_brute_force_on_thousands_of_graphs() -> None:
    """Exact for asymmetric prices, shared values, what lies elsewhere, results and circles."""
    for seed, stated, prices in problems(N_TWO_REGIONS, n_regions=2, most_tasks=10, pinned=False):
        assert_best(stated, prices, seed)


def test_cut_of_what_pins_leave_equals_brute_force_on_thousands_of_graphs() -> None:
    """With pins and units, which contraction makes parts of places and of each other."""
    for seed, stated, prices in problems(N_TWO_REGIONS, n_regions=2, most_tasks=10):
        expected = best_by_brute_force(stated, prices)
        contracted = contract(stated, prices)
        cut = minimum_cut(contracted.problem, prices, one=0, other=1)
        placed = contracted.expand(cut.placed)
        assert is_allowed(stated, placed), seed
        assert costs_of(stated, placed, prices) == (expected.cost, expected.ties), seed
        assert cut.cost == cut.lower_bound == expected.cost, seed


@given(stated=placement_problems(n_regions=2, pinned=False, circles=True), data=st.data())
@PROPERTY
def test_cut_is_best(stated: PlacementProblem, data: st.DataObject) -> None:
    """The same for problems and prices that Hypothesis makes odd and shrinks."""
    assert_best(stated, data.draw(prices_between(stated.n_places)))


def network_of(problem: PlacementProblem, prices: np.ndarray) -> nx.DiGraph:
    """State a problem for networkx: relays for every value and place, whoever takes it.

    On the source's side is the first region. What is pinned hangs on a terminal without
    limit, and what runs together on each other.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(["one", "other"])
    entity = [{0: "one", 1: "other"}.get(place, place) for place in range(problem.n_places)]
    entity += [f"task {task}" for task in range(problem.n_tasks)]
    capacities: dict[tuple[object, object], int] = {}

    def add(tail: object, head: object, capacity: int) -> None:
        if capacity:
            capacities[tail, head] = capacities.get((tail, head), 0) + capacity

    takers: dict[int, set[int]] = {}
    for value, taker in zip(problem.values.tolist(), problem.takers.tolist(), strict=True):
        takers.setdefault(value, set()).add(taker)
    for value, who in takers.items():
        nbytes, maker = int(problem.nbytes[value]), int(problem.makers[value])
        inside = [entity[taker] for taker in who if taker < 2 or taker >= problem.n_places]
        outside = [taker for taker in who if 2 <= taker < problem.n_places]
        into_one, into_other = f"{value} into one", f"{value} into other"
        for taker in inside:
            graph.add_edge(into_other, taker)
            graph.add_edge(taker, into_one)
        if 2 <= maker < problem.n_places:
            add("one", into_other, nbytes * int(prices[maker, 1]) if inside else 0)
            add(into_one, "other", nbytes * int(prices[maker, 0]) if inside else 0)
        else:
            add(entity[maker], into_other, nbytes * int(prices[0, 1]))
            add(into_one, entity[maker], nbytes * int(prices[1, 0]))
            for place in outside:
                add(entity[maker], "other", nbytes * int(prices[0, place]))
                add("one", entity[maker], nbytes * int(prices[1, place]))
    for (tail, head), capacity in capacities.items():
        if tail != head and not graph.has_edge(tail, head):
            graph.add_edge(tail, head, capacity=capacity)
    unlimited = [
        [("one", f"task {task}"), (f"task {task}", "other")][pin]
        for task, pin in enumerate(problem.pins.tolist())
        if pin >= 0
    ]
    if problem.units is not None:
        members = [f"task {task}" for task in (problem.units >= 0).nonzero()[0]]
        unlimited += zip(members, members[1:] + members[:1], strict=True)
    # An arc that is there already would keep its capacity.
    graph.remove_edges_from(unlimited)
    graph.add_edges_from(unlimited)
    return graph


def constant_of(problem: PlacementProblem, prices: np.ndarray) -> int:
    """Sum what is paid whatever runs where: from places to places, neither of them a region."""
    makers = problem.makers[problem.values].tolist()
    uses = zip(problem.values.tolist(), makers, problem.takers.tolist(), strict=True)
    return sum(
        int(problem.nbytes[value]) * int(prices[maker, taker])
        for value, maker, taker in uses
        if 2 <= maker < problem.n_places and 2 <= taker < problem.n_places
    )


@pytest.mark.parametrize("seed", range(40))
def test_networkx_agrees_with_brute_force(seed: int) -> None:
    """What the next test compares with is right where everything can be tried."""
    rng = np.random.default_rng(seed)
    problem = draw_problem(rng, n_regions=2, n_tasks=6)
    prices = draw_prices(rng, problem.n_places)
    network = network_of(problem, prices.objective)
    found = nx.minimum_cut_value(network, "one", "other") + constant_of(problem, prices.objective)
    assert found == best_by_brute_force(problem, prices).cost


@pytest.mark.parametrize("seed", range(N_MIDDLING))
def test_cut_equals_that_of_networkx(seed: int) -> None:
    """Hundreds of tasks, stated anew for another library's minimum cut."""
    rng = np.random.default_rng(seed)
    n_tasks = 300
    values: list[tuple[int, str | int, list[str | int]]] = []
    for task in range(n_tasks):
        reach = min(n_tasks, task + 30)
        takers = {int(each) for each in rng.integers(task, reach, size=rng.integers(1, 4))} - {task}
        takers = sorted(takers) or ["xy"[int(rng.integers(2))]]
        values.append((int(rng.integers(1, 1000)), task, takers))
        if rng.random() < 0.3:
            place = "abx"[int(rng.integers(3))]
            values.append((int(rng.integers(1, 3000)), place, [task]))
    pins = {int(task): "ab"[int(rng.integers(2))] for task in rng.integers(n_tasks, size=15)}
    problem = state_problem(values, pins=pins, n_tasks=n_tasks)
    objective = rng.integers(1, 100, size=(4, 4))
    np.fill_diagonal(objective, 0)
    prices = Prices.of(objective)
    value = nx.minimum_cut_value(network_of(problem, objective), "one", "other")
    contracted = contract(problem, prices)
    cut = minimum_cut(contracted.problem, prices, one=0, other=1)
    placed = contracted.expand(cut.placed)
    assert is_allowed(problem, placed)
    assert (
        costs_of(problem, placed, prices)[0] == cut.cost == value + constant_of(problem, objective)
    )


@pytest.mark.parametrize(("nbytes", "expected"), [(10, [0, 1, 1, 1]), (13, [0, 0, 0, 0])])
def test_shared_value_is_counted_once(nbytes: int, expected: list[int]) -> None:
    """A value with three takers is sent to them once, if that is less than what they take."""
    taken = [(4, "b", [task]) for task in (1, 2, 3)]
    stated = state_problem([(nbytes, 0, [1, 2, 3]), (50, "a", [0]), *taken])
    assert minimum_cut(stated, BYTES, one=0, other=1).placed.tolist() == expected


def test_prices_may_differ_by_direction() -> None:
    """What joins two values runs where the dearer link need not be used."""
    stated = state_problem([(10, "a", [0]), (10, "b", [0])])
    for dear, expected in (((0, 1), [0]), ((1, 0), [1])):
        objective = 1 - np.eye(4, dtype=np.int64)
        objective[dear] = 5
        assert minimum_cut(stated, Prices.of(objective), one=0, other=1).placed.tolist() == expected


def test_fewest_bytes_decide_between_what_costs_the_same() -> None:
    """Where everything is free, what moves least is taken."""
    free = Prices.of(np.zeros((4, 4), dtype=np.int64))
    stated = state_problem([(3, "a", [0]), (1000, "b", [0]), (7, 0, "y")])
    cut = minimum_cut(stated, free, one=0, other=1)
    assert (cut.placed.tolist(), cut.cost) == ([1], 0)


def test_first_region_decides_between_what_moves_the_same() -> None:
    """Of equals, the region named first is taken, whichever of the two that is."""
    stated = state_problem([(5, "a", [0]), (5, "b", [0]), (1, 0, "y")])
    assert minimum_cut(stated, BYTES, one=0, other=1).placed.tolist() == [0]
    assert minimum_cut(stated, BYTES, one=1, other=0).placed.tolist() == [1]


def test_any_two_regions_may_be_asked_about() -> None:
    """The two regions need not be the first ones; a third is a place like any other."""
    stated = state_problem(
        [(5, "b", [0]), (3, "c", [0]), (9, "a", [0])], places="abcy", n_regions=3
    )
    cut = minimum_cut(stated, BYTES, one=1, other=2)
    assert (cut.placed.tolist(), cut.cost) == ([1], 12)


def test_terabytes_at_fine_prices_are_exact() -> None:
    """Amounts far beyond 32 bits are compared to the last byte."""
    prices = Prices.of((1 - np.eye(4, dtype=np.int64)) * 900_000_000)
    stated = state_problem([(2**28 + 1, "a", [0]), (2**28, "b", [0])])
    cut = minimum_cut(stated, prices, one=0, other=1)
    assert (cut.placed.tolist(), cut.cost) == ([0], 2**28 * 900_000_000)
    assert cut.lower_bound == cut.cost


ODD = np.array([[0, 10**9 + 7, 5, 3], [10**9 + 9, 0, 5, 3], [5, 5, 0, 5], [3, 3, 3, 0]])


def test_what_does_not_fit_into_64_bits_is_rounded_finer_than_any_price() -> None:
    """Petabytes at odd prices: what 60 bits lose is less than a billionth of the cost."""
    prices = Prices.of(ODD)
    stated = state_problem([(10**13 + 1, "a", [0]), (10**13, "b", [0]), (10**12, 0, "y")])
    cut = minimum_cut(stated, prices, one=0, other=1)
    options = [costs_of(stated, np.array([place]), prices)[0] for place in (0, 1)]
    assert cut.cost in options
    assert cut.lower_bound == cut.cost <= min(options) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("shared", "one", "other", "most"),
    [(10**13, 3001, 3000, 1e-7), (10**14, 3001, 3000, 1e-6), (10**18, 3, 2, 1.0)],
)
def test_what_does_not_fit_into_64_bits_is_bounded(
    shared: int, one: int, other: int, most: float
) -> None:
    """What rounding may have lost of a small cost beside a huge value is not claimed as proven."""
    prices = Prices.of(ODD)
    # The huge value is never cut; what is rounded for its sake decides.
    stated = state_problem([(one, "a", [0]), (other, "b", [1]), (shared, 0, [1]), (7, 1, "y")])
    cut = minimum_cut(stated, prices, one=0, other=1)
    # Python's integers: brute force by arrays refuses what may not fit into 64 bits.
    options = [costs_of(stated, np.array(each), prices)[0] for each in product((0, 1), repeat=2)]
    best = min(options)
    assert cut.cost in options
    assert cut.lower_bound <= best <= cut.cost
    assert 0 < cut.cost - cut.lower_bound <= cut.cost * most


def test_nothing_to_place() -> None:
    """Without tasks there is nothing to do but to price what is fixed."""
    stated = state_problem([(5, "a", "y")], n_tasks=0)
    cut = minimum_cut(stated, BYTES, one=0, other=1)
    assert (cut.placed.tolist(), cut.cost, cut.lower_bound) == ([], 5, 5)
