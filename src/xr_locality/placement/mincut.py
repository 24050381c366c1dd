r"""The best placement in two regions: one minimum cut.

Objective: :math:`\min_p \sum_v s(v) \sum_{q \in Q(v) \setminus m(v)} c(m(v), q)` with
:math:`p(t) \in \{A, B\}` (:mod:`xr_locality.placement.problem`). A task on the source's side
of the cut runs in A, one on the sink's side in B. Of each value that a task :math:`u` makes:

* taken by one task :math:`t`: an arc :math:`u \to t` of :math:`s c_{AB}`, and
  :math:`t \to u` of :math:`s c_{BA}`;
* taken by several: two relay nodes, so that it is counted once however many they are,
  :math:`u \to a` of :math:`s c_{AB}`, :math:`a \to t` without limit, :math:`t \to b` without
  limit, :math:`b \to u` of :math:`s c_{BA}`. A result that goes to A or B, and tasks
  pinned there, are the source and the sink themselves;
* needed at another place: what it costs from A is an arc to the sink, what it costs from
  B one from the source.

A value that lies at another place costs what each region that needs it pays, once: with
one task that is an arc to the sink and one from the source; with several, relays again.
Prices may be asymmetric and need not be a metric.

The cut is exact: prices are whole numbers, and capacities 64-bit integers. Only where they
would not fit, with what they have in common taken out, are they rounded, to 60 bits; the
lower bound allows for that where it is more than a billionth of the cost. Of the cuts that
cost least, one of least bytes is taken: a second flow over what the first leaves undecided.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from xr_locality.placement.maxflow import Flow, maximise_flow
from xr_locality.placement.problem import PlacementProblem, Prices, evaluate

__all__ = ["Cut", "minimum_cut"]

_Ints = NDArray[np.int64]

_SOURCE, _SINK = 0, 1
#: Scaled capacities add up to at most this, which leaves 64 bits room for what is unlimited.
_MOST_TOTAL = 2**60
#: Share of a cost that no price is known to.
_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """A best placement in two regions.

    Attributes
    ----------
    placed : ndarray of int64, shape (n_tasks,)
        Place of each task.
    cost : int
        What it costs by the objective, in the unit of the prices.
    lower_bound : int
        No placement in the two regions costs less: `cost` itself, unless amounts were too
        large for 64 bits and had to be rounded.
    """

    placed: _Ints
    cost: int
    lower_bound: int


def minimum_cut(problem: PlacementProblem, prices: Prices, *, one: int, other: int) -> Cut:
    """Place tasks in two regions at the least total cost.

    Exact. Of placements that cost the same by the objective, one that moves the fewest
    bytes is taken, and of these the one that has most tasks in the first region.

    Parameters
    ----------
    problem : PlacementProblem
        Without pins and units: :func:`xr_locality.placement.contraction.contract` makes
        what is pinned a part of its place.
    prices : Prices
        Of a byte from each place to each other.
    one, other : int
        Positions of the two regions among the problem's places.

    Returns
    -------
    Cut

    Examples
    --------
    A task takes 5 bytes that lie in one region and 3 that lie in the other:

    >>> import numpy as np
    >>> from xr_locality.regions.region import Region
    >>> places = tuple(map(Region.parse, ("aws:us-west-2", "gcp:us-central1")))
    >>> problem = PlacementProblem(
    ...     places=places, n_regions=2, n_tasks=1, nbytes=np.array([5, 3]),
    ...     makers=np.array([0, 1]), values=np.array([0, 1]), takers=np.array([2, 2]),
    ...     pins=np.array([-1]),
    ... )
    >>> cut = minimum_cut(problem, Prices.of(1 - np.eye(2, dtype=int)), one=0, other=1)
    >>> cut.placed, cut.cost, cut.lower_bound
    (array([0]), 3, 3)
    """
    network = _Network.of(problem, one, other)
    flow, rounding = network.solve(prices.objective)
    in_one = ~flow.sink_side
    if not (flow.source_side | flow.sink_side).all():
        in_one = network.decide_ties(flow, prices.ties)
    placed = np.where(in_one[network.first_task :][: problem.n_tasks], one, other)
    cost = evaluate(problem, placed, prices.objective)
    # What doubles that price the plan cannot tell apart is the same.
    proven = rounding <= _SAME * cost
    return Cut(placed=placed, cost=cost, lower_bound=cost if proven else max(0, cost - rounding))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Arcs:
    """Arcs whose capacity is bytes times the price from one place to another."""

    tails: _Ints
    heads: _Ints
    nbytes: _Ints
    #: Places that the price is from and to, one for each arc.
    sources: _Ints
    targets: _Ints


@dataclass(slots=True, kw_only=True, eq=False)
class _Network:
    """The network of a problem: source, sink, tasks, relays."""

    n_nodes: int
    first_task: int
    one: int
    other: int
    priced: list[_Arcs] = field(default_factory=list)
    unlimited: list[tuple[_Ints, _Ints]] = field(default_factory=list)

    @classmethod
    def of(cls, problem: PlacementProblem, one: int, other: int) -> _Network:
        network = cls(n_nodes=2 + problem.n_tasks, first_task=2, one=one, other=other)
        network._add(problem)
        return network

    def _add(self, problem: PlacementProblem) -> None:
        n_places, one, other = problem.n_places, self.one, self.other
        # Nodes of entities; places other than the two are none.
        node = np.full(n_places + problem.n_tasks, -1, dtype=np.int64)
        node[one], node[other] = _SOURCE, _SINK
        node[n_places:] = np.arange(problem.n_tasks) + self.first_task
        makers, takers = node[problem.makers], node[problem.takers]
        values = problem.values
        inside = takers >= 0
        self._add_elsewhere(problem, makers, values[~inside], problem.takers[~inside])
        values, takers = values[inside], takers[inside]
        counts = np.bincount(values, minlength=len(problem.nbytes))
        single = counts[values] == 1
        self._add_pairs(problem, makers, values[single], takers[single])
        self._add_relays(problem, makers, values[~single], takers[~single])

    def _price(
        self,
        tails: _Ints,
        heads: _Ints,
        nbytes: _Ints,
        sources: _Ints | int,
        targets: _Ints | int,
    ) -> None:
        useful = tails != heads
        sources, targets = (
            np.broadcast_to(np.asarray(each, dtype=np.int64), tails.shape)
            for each in (sources, targets)
        )
        self.priced.append(
            _Arcs(
                # Small numbers take a third of the room: there may be millions of arcs.
                tails=tails[useful].astype(np.int32),
                heads=heads[useful].astype(np.int32),
                nbytes=nbytes[useful],
                sources=sources[useful].astype(np.int16),
                targets=targets[useful].astype(np.int16),
            )
        )

    def _add_elsewhere(
        self, problem: PlacementProblem, makers: _Ints, values: _Ints, places: _Ints
    ) -> None:
        """Add what values cost that are needed where neither region is."""
        made = makers[values]
        here = made >= self.first_task
        made, nbytes, places = made[here], problem.nbytes[values][here], places[here]
        self._price(made, np.full_like(made, _SINK), nbytes, self.one, places)
        self._price(np.full_like(made, _SOURCE), made, nbytes, self.other, places)

    def _add_pairs(
        self, problem: PlacementProblem, makers: _Ints, values: _Ints, takers: _Ints
    ) -> None:
        """Add values that one entity of the two regions takes."""
        made, nbytes = makers[values], problem.nbytes[values]
        here = made >= 0
        self._price(made[here], takers[here], nbytes[here], self.one, self.other)
        self._price(takers[here], made[here], nbytes[here], self.other, self.one)
        far = ~here & (takers >= self.first_task)
        takers, nbytes, places = takers[far], nbytes[far], problem.makers[values][far]
        self._price(takers, np.full_like(takers, _SINK), nbytes, places, self.one)
        self._price(np.full_like(takers, _SOURCE), takers, nbytes, places, self.other)

    def _add_relays(
        self, problem: PlacementProblem, makers: _Ints, values: _Ints, takers: _Ints
    ) -> None:
        """Add values that several entities of the two regions take."""
        shared, group = np.unique(values, return_inverse=True)
        first = self.n_nodes + np.arange(len(shared)) * 2
        self.n_nodes += 2 * len(shared)
        made, nbytes, places = makers[shared], problem.nbytes[shared], problem.makers[shared]
        here = made >= 0
        into_other, into_one = first, first + 1
        # What is made in one of the two regions pays for the crossing to the other; what
        # lies elsewhere pays for each of the two.
        self._price(
            np.where(here, made, _SOURCE),
            into_other,
            nbytes,
            np.where(here, self.one, places),
            self.other,
        )
        self._price(
            into_one,
            np.where(here, made, _SINK),
            nbytes,
            np.where(here, self.other, places),
            self.one,
        )
        self.unlimited.append((into_other[group], takers))
        self.unlimited.append((takers, into_one[group]))

    def capacities(self, prices: _Ints) -> tuple[_Ints, _Ints, _Ints, float]:
        """Multiply bytes and prices: tails, heads, capacities, and what they were scaled by."""
        prices = prices // max(1, int(np.gcd.reduce(prices, axis=None)))
        tails = np.concatenate([arcs.tails for arcs in self.priced])
        heads = np.concatenate([arcs.heads for arcs in self.priced])
        nbytes = np.concatenate([arcs.nbytes for arcs in self.priced])
        by_byte = np.concatenate([prices[arcs.sources, arcs.targets] for arcs in self.priced])
        nbytes = nbytes // max(1, int(np.gcd.reduce(nbytes))) if len(nbytes) else nbytes
        total = float((nbytes.astype(np.float64) * by_byte).sum())
        if total <= _MOST_TOTAL:
            return tails, heads, nbytes * by_byte, 1.0
        scale = _MOST_TOTAL / total
        return tails, heads, np.rint(nbytes * (by_byte * scale)).astype(np.int64), scale

    def solve(self, prices: _Ints) -> tuple[Flow, int]:
        """Find the least cut, and by how much rounding may have made it miss the least cost."""
        tails, heads, capacities, scale = self.capacities(prices)
        n_arcs, nbytes = len(tails), np.concatenate([arcs.nbytes for arcs in self.priced])
        tails, heads, capacities = _without_detours(tails, heads, capacities)
        flow = self._flow(tails, heads, capacities, int(capacities.sum()) + 1)
        # Half a unit an arc in the cut found, and in the best one.
        common = max(1, int(np.gcd.reduce(prices, axis=None)))
        common *= max(1, int(np.gcd.reduce(nbytes))) if len(nbytes) else 1
        return flow, 0 if scale == 1.0 else int(n_arcs / scale + 1) * common

    def _flow(self, tails: _Ints, heads: _Ints, capacities: _Ints, limit: int) -> Flow:
        free_tails = [each for each, _ in self.unlimited]
        free_heads = [each for _, each in self.unlimited]
        n_free = sum(map(len, free_tails))
        return maximise_flow(
            np.concatenate([tails, *free_tails]),
            np.concatenate([heads, *free_heads]),
            np.concatenate([capacities, np.full(n_free, limit, dtype=np.int64)]),
            n_nodes=self.n_nodes,
            source=_SOURCE,
            sink=_SINK,
        )

    def decide_ties(self, flow: Flow, prices: _Ints) -> NDArray[np.bool_]:
        """Choose among the cuts that cost least: those that no open arc leaves.

        Nodes that reach each other are on one side together; so are those that the
        source reaches, and those that reach the sink.
        """
        _, group = connected_components(flow.residual, directed=True, connection="strong")
        group = group.astype(np.int64) + 2
        group[flow.source_side], group[flow.sink_side] = _SOURCE, _SINK
        _, group = np.unique(group, return_inverse=True)
        tails, heads, capacities, _ = self.capacities(prices)
        tails, heads = group[tails], group[heads]
        useful = tails != heads
        tails, heads, capacities = tails[useful], heads[useful], capacities[useful]
        limit = int(capacities.sum()) + 1
        arcs = flow.residual.tocoo()
        bound = np.unique(np.stack([group[arcs.row], group[arcs.col]]), axis=1)
        bound = bound[:, bound[0] != bound[1]]
        found = maximise_flow(
            np.concatenate([tails, bound[0]]),
            np.concatenate([heads, bound[1]]),
            np.concatenate([capacities, np.full(bound.shape[1], limit, dtype=np.int64)]),
            n_nodes=int(group.max()) + 1,
            source=_SOURCE,
            sink=_SINK,
        )
        return ~found.sink_side[group]


def _without_detours(tails: _Ints, heads: _Ints, capacities: _Ints) -> tuple[_Ints, _Ints, _Ints]:
    """Drop arcs that carry nothing, and arcs into the source or out of the sink."""
    useful = (capacities > 0) & (heads != _SOURCE) & (tails != _SINK)
    return tails[useful], heads[useful], capacities[useful]
