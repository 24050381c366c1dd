from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.placement_samples import N_FLOWS, PROPERTY
from xr_locality.placement.maxflow import Flow, maximise_flow

#: Node numbers and a capacity.
Arc = tuple[int, int, int]


def solved(arcs: list[Arc], n_nodes: int) -> Flow:
    """Maximise the flow from the first node to the last."""
    tails, heads, capacities = np.array(arcs, dtype=np.int64).reshape(-1, 3).T
    return maximise_flow(tails, heads, capacities, n_nodes=n_nodes, source=0, sink=n_nodes - 1)


def network(arcs: list[Arc], n_nodes: int) -> nx.DiGraph:
    """Make networkx's graph; parallel arcs add up, as Python's integers of any length."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n_nodes))
    for tail, head, capacity in arcs:
        before = graph.get_edge_data(tail, head, {"capacity": 0})["capacity"]
        graph.add_edge(tail, head, capacity=before + capacity)
    return graph


def check(arcs: list[Arc], n_nodes: int) -> None:
    """Compare a flow with networkx's, and check that its sides are least cuts."""
    flow = solved(arcs, n_nodes)
    graph = network(arcs, n_nodes)
    value = nx.maximum_flow_value(graph, 0, n_nodes - 1)
    assert flow.value == value
    for side in (flow.source_side, ~flow.sink_side):
        assert side[0]
        assert not side[-1]
        cut = sum(capacity for tail, head, capacity in arcs if side[tail] and not side[head])
        assert cut == value
    # What is on neither side may be on either: no least cut has less or more of the source's.
    smallest, _ = nx.minimum_cut(graph, 0, n_nodes - 1)[1]
    assert set(flow.source_side.nonzero()[0]) <= smallest | set()
    assert not (flow.source_side & flow.sink_side).any()


def check_residual(arcs: list[Arc], n_nodes: int) -> None:
    """Check that what could still flow is what capacities and some flow leave."""
    left = np.zeros((n_nodes, n_nodes), dtype=object)
    residual = solved(arcs, n_nodes).residual.tocoo()
    left[residual.row, residual.col] = residual.data.tolist()
    assert (residual.data > 0).all()
    capacity = np.zeros((n_nodes, n_nodes), dtype=object)
    for tail, head, amount in arcs:
        capacity[tail, head] += amount
    assert (left + left.T == capacity + capacity.T).all()
    flow = capacity - left
    assert (flow.sum(axis=1)[1:-1] == 0).all()
    assert flow.sum(axis=1)[0] == solved(arcs, n_nodes).value


capacities = (
    st.integers(0, 10)
    | st.integers(2**31 - 2, 2**31 + 2)
    | st.integers(2**32 - 2, 2**32 + 2)
    | st.integers(0, 2**45)
    | st.integers(2**56 - 2, 2**56)
)


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Arc], int]:
    """Draw small networks, of capacities that fit into 64 bits together."""
    n_nodes = draw(st.integers(2, 8))
    nodes = st.integers(0, n_nodes - 1)
    arc = st.tuples(nodes, nodes, capacities).filter(lambda arc: arc[0] != arc[1])
    return draw(st.lists(arc, max_size=20)), n_nodes


@given(drawn=networks())
@PROPERTY
def test_flow_is_that_of_networkx(drawn: tuple[list[Arc], int]) -> None:
    """The value is the maximum, exactly, and both sides are least cuts."""
    check(*drawn)


@given(drawn=networks())
@PROPERTY
def test_residual_is_of_a_flow_that_is_conserved(drawn: tuple[list[Arc], int]) -> None:
    """Every node but source and sink passes on what it gets, within capacities."""
    check_residual(*drawn)


@pytest.mark.parametrize("magnitude", [1, 31, 32, 33, 40, 52])
def test_flow_is_exact_at_any_magnitude(magnitude: int) -> None:
    """The same with more nodes, and capacities of one magnitude up to near 2**60 in all."""
    for seed in range(N_FLOWS // 6):
        rng = np.random.default_rng([magnitude, seed])
        n_nodes = int(rng.integers(4, 30))
        ends = rng.integers(n_nodes, size=(n_nodes * 4, 2))
        ends = ends[ends[:, 0] != ends[:, 1]]
        amounts = rng.integers(0, 2**magnitude, size=len(ends), endpoint=True)
        arcs = [(int(a), int(b), int(c)) for (a, b), c in zip(ends, amounts, strict=True)]
        check(arcs, n_nodes)
        check_residual(arcs, n_nodes)


@pytest.mark.parametrize("capacity", [2**31 - 1, 2**31, 2**32, 2**32 + 5, 2**40 + 1, 2**60 - 1])
def test_capacities_that_scipy_truncates(capacity: int) -> None:
    """Scipy's solver takes the low 32 bits of these and says nothing; here they are whole."""
    assert solved([(0, 1, capacity), (1, 2, capacity)], 3).value == capacity
    assert solved([(0, 1, capacity), (1, 2, capacity // 3)], 3).value == capacity // 3
    arcs = [(0, 1, capacity // 3), (0, 2, 7), (1, 3, capacity // 2), (2, 3, capacity // 2)]
    assert solved(arcs, 4).value == capacity // 3 + 7


def test_small_and_large_capacities_together() -> None:
    """What is divided away in the first round is found in later ones, to the last unit."""
    chain = [(0, 1, 2**55), (1, 2, 2**55 - 3), (2, 3, 2**55)]
    side = [(0, 4, 1), (4, 5, 2**40), (5, 3, 1)]
    assert solved([(a, b if b != 3 else 6, c) for a, b, c in chain + side], 7).value == 2**55 - 2


def test_nodes_on_neither_side_may_be_on_either() -> None:
    """Between two arcs of equal capacity a node may go with the source or the sink."""
    flow = solved([(0, 1, 5), (1, 2, 5), (2, 3, 9)], 4)
    assert flow.source_side.tolist() == [True, False, False, False]
    assert flow.sink_side.tolist() == [False, False, True, True]


@pytest.mark.parametrize("arcs", [[], [(0, 1, 5)], [(1, 2, 5)], [(2, 0, 5)], [(0, 2, 0)]])
def test_nothing_flows_where_nothing_leads(arcs: list[Arc]) -> None:
    """Without a way from source to sink the flow is nothing, and sides are told all the same."""
    flow = solved(arcs, 3)
    assert flow.value == 0
    assert not (flow.source_side & flow.sink_side).any()


def test_parallel_arcs_add_up() -> None:
    """Several arcs between two nodes are one."""
    assert solved([(0, 1, 2**33), (0, 1, 1)], 2).value == 2**33 + 1


def test_flow_is_deterministic() -> None:
    """The same network gives the same flow."""
    rng = np.random.default_rng(0)
    arcs = [(int(a), int(b), int(c)) for a, b, c in rng.integers(20, size=(100, 3)) if a != b]
    first, second = solved(arcs, 20), solved(arcs, 20)
    assert (first.residual != second.residual).nnz == 0
