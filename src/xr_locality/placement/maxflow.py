"""Maximum flow in 64-bit integers, by a solver that knows 32.

``scipy.sparse.csgraph.maximum_flow`` takes 32-bit capacities and silently truncates
larger ones. Here the capacities are first divided until they fit, and what that flow
leaves is solved again, ever finer: what the divisions lost is at most one unit an arc,
so a few rounds end in units of 1, and the flow is the maximum, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

__all__ = ["Flow", "maximise_flow"]

_Ints = NDArray[np.int64]

#: The most that one 32-bit round may move.
_MOST = 2**31 - 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """A maximum flow.

    Attributes
    ----------
    value : int
        What flows from the source to the sink, which is what a least cut costs.
    residual : csr_array of int64, shape (n_nodes, n_nodes)
        What could still flow from row to column, given what flows; no zeros are stored.
    source_side : ndarray of bool, shape (n_nodes,)
        Nodes that the source still reaches: the smallest side of a least cut.
    sink_side : ndarray of bool, shape (n_nodes,)
        Nodes that still reach the sink: the other side, at its smallest. A node on
        neither side may be on either.
    """

    value: int
    residual: csr_array
    source_side: NDArray[np.bool_]
    sink_side: NDArray[np.bool_]


def maximise_flow(
    tails: _Ints, heads: _Ints, capacities: _Ints, *, n_nodes: int, source: int, sink: int
) -> Flow:
    """Find a maximum flow.

    Parameters
    ----------
    tails, heads : ndarray of int64, shape (n_arcs,)
        The nodes that arcs leave and enter. Parallel arcs add up.
    capacities : ndarray of int64, shape (n_arcs,)
        Not negative; their sum must fit into 64 bits.
    n_nodes : int
        How many nodes there are.
    source, sink : int
        Where the flow comes from and goes to.

    Returns
    -------
    Flow
        Deterministic.

    Examples
    --------
    >>> import numpy as np
    >>> big = 10**12
    >>> maximise_flow(
    ...     np.array([0, 1]), np.array([1, 2]), np.array([big + 1, big]),
    ...     n_nodes=3, source=0, sink=2,
    ... ).value
    1000000000000
    """
    # Both directions of every arc, so that what a flow gives back has a place.
    graph = csr_array(
        (
            np.concatenate([capacities, np.zeros_like(capacities)]),
            (
                np.concatenate([tails, heads], dtype=np.int32),
                np.concatenate([heads, tails], dtype=np.int32),
            ),
        ),
        shape=(n_nodes, n_nodes),
    )
    graph.sum_duplicates()
    graph.sort_indices()
    residual = graph.data.astype(np.int64, copy=False)
    ends = slice(graph.indptr[source], graph.indptr[source + 1]), graph.indices == sink
    # No more can flow than leaves the source or enters the sink.
    bound = min(_at_most(residual[end]) for end in ends)
    value = 0
    while bound > 0:
        unit = -(-bound // _MOST)
        capped = np.minimum(residual, bound) // unit
        found = maximum_flow(
            csr_array((capped.astype(np.int32), graph.indices, graph.indptr), shape=graph.shape),
            source,
            sink,
        )
        flow = _aligned(found.flow, graph)
        flow *= unit
        residual = residual - flow
        del capped, flow
        value += int(found.flow_value) * unit
        del found
        # Divisions lost less than a unit an arc of some least cut.
        bound = (
            0
            if unit == 1
            else min(unit * len(residual), *(_at_most(residual[end]) for end in ends))
        )
    left = csr_array((residual, graph.indices, graph.indptr), shape=graph.shape)
    # A copy: else what is taken out of it is taken out of the arrays that both share.
    left = left.copy()
    left.eliminate_zeros()
    open_arcs = csr_array(
        (np.ones(left.nnz, dtype=np.int8), left.indices, left.indptr), shape=graph.shape
    )
    return Flow(
        value=value,
        residual=left,
        source_side=_reached(open_arcs, source),
        sink_side=_reached(csr_array(open_arcs.T), sink),
    )


def _at_most(capacities: _Ints) -> int:
    """Add up capacities that may be too large to be added in 64 bits, rounding up."""
    return int(capacities.astype(np.float64).sum() * (1 + 1e-9)) + 1 if capacities.any() else 0


def _aligned(flow: csr_array, graph: csr_array) -> _Ints:
    """Bring a flow into the order of a graph's arcs."""
    flow = csr_array(flow)
    flow.sort_indices()
    if flow.nnz == graph.nnz and np.array_equal(flow.indices, graph.indices):
        same: _Ints = flow.data.astype(np.int64)
        return same
    n_nodes = graph.shape[0]
    places = np.repeat(np.arange(n_nodes), np.diff(graph.indptr)) * n_nodes + graph.indices
    arcs = np.repeat(np.arange(n_nodes), np.diff(flow.indptr)) * n_nodes + flow.indices
    aligned = np.zeros(graph.nnz, dtype=np.int64)
    aligned[np.searchsorted(places, arcs)] = flow.data
    return aligned


def _reached(arcs: csr_array, start: int) -> NDArray[np.bool_]:
    reached = np.zeros(arcs.shape[0], dtype=bool)
    reached[breadth_first_order(arcs, start, return_predecessors=False)] = True
    return reached
