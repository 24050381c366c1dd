r"""Simple rules, which plans are compared with and searches start from.

Forward: each task runs where it is cheapest to bring its inputs to, those that make them
placed before,

.. math::

    p(t) = \arg\min_{r} \sum_{v \in I(t)} s(v) \, c(m(v), r) + [v \in results] \, s \, c(r, client),

which is what a person does by hand, task by task, and what schedulers that know regions
do. It does not look ahead: it may lose to a cut on joins, fan-outs and halos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.problem import PlacementProblem, Prices

__all__ = ["place_forward", "place_together"]

_Ints = NDArray[np.int64]


def place_together(problem: PlacementProblem, region: int) -> _Ints:
    """Place every task that is not pinned in one region.

    Returns
    -------
    ndarray of int64, shape (n_tasks,)
    """
    placed = np.where(problem.pins >= 0, problem.pins, region)
    if problem.units is not None:
        for unit in np.unique(problem.units[problem.units >= 0]):
            members = problem.units == unit
            pinned = problem.pins[members].max()
            placed[members] = pinned if pinned >= 0 else region
    return placed


def place_forward(problem: PlacementProblem, prices: Prices) -> _Ints:
    """Place each task where its inputs are cheapest to bring, in order of the graph.

    Parameters
    ----------
    problem : PlacementProblem
        Without units, which :func:`~xr_locality.placement.contraction.merge` joins.
    prices : Prices
        Of a byte from each place to each other.

    Returns
    -------
    ndarray of int64, shape (n_tasks,)
        Ties go to fewer bytes, then to the region that comes first.
    """
    n_places, n_regions, n_tasks = problem.n_places, problem.n_regions, problem.n_tasks
    where = np.concatenate([np.arange(n_places), np.where(problem.pins >= 0, problem.pins, -1)])
    price = prices.objective.astype(np.float64)
    ties = prices.ties.astype(np.float64)
    made = problem.makers[problem.values]
    inner = problem.takers >= n_places
    results = ~inner & (made >= n_places)
    waiting = np.bincount(
        (problem.takers - n_places)[inner & (made >= n_places)], minlength=n_tasks
    )
    done = np.zeros(n_tasks, dtype=bool)
    by_maker = np.argsort(made, kind="stable")
    starts = np.searchsorted(made[by_maker], np.arange(n_places + n_tasks + 1))
    by_taker = np.argsort(problem.takers, kind="stable")
    inputs = np.searchsorted(problem.takers[by_taker], np.arange(n_places + n_tasks + 1))
    ready = (waiting == 0).nonzero()[0]
    while True:
        if not ready.size:
            left = (~done).nonzero()[0]
            if not left.size:
                break
            # Joined tasks may take from each other: the first of a circle goes first.
            ready = left[:1]
        done[ready] = True
        free = ready[where[n_places + ready] < 0]
        if free.size:
            uses, owner = _ranges(inputs, free + n_places, by_taker)
            values = problem.values[uses]
            sources = where[problem.makers[values]]
            known = sources >= 0
            cost = np.zeros((len(free), n_regions))
            nbytes = np.zeros((len(free), n_regions))
            amounts = problem.nbytes[values[known]].astype(np.float64)[:, None]
            np.add.at(cost, owner[known], amounts * price[sources[known], :n_regions])
            np.add.at(nbytes, owner[known], amounts * ties[sources[known], :n_regions])
            outs, owner = _ranges(starts, free + n_places, by_maker)
            sent = results[outs]
            targets = problem.takers[outs[sent]]
            amounts = problem.nbytes[problem.values[outs[sent]]].astype(np.float64)[:, None]
            np.add.at(cost, owner[sent], amounts * price[:n_regions, targets].T)
            np.add.at(nbytes, owner[sent], amounts * ties[:n_regions, targets].T)
            least = np.where(cost <= cost.min(axis=1, keepdims=True), nbytes, np.inf)
            where[n_places + free] = least.argmin(axis=1)
        outs, _ = _ranges(starts, ready + n_places, by_maker)
        takers = problem.takers[outs]
        takers = takers[takers >= n_places] - n_places
        np.subtract.at(waiting, takers, 1)
        ready = np.unique(takers)
        ready = ready[(waiting[ready] <= 0) & ~done[ready]]
    return where[n_places:]


def _ranges(
    starts: _Ints, entities: _Ints, order: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """List what belongs to some entities, and which of them each belongs to."""
    first, counts = starts[entities], starts[entities + 1] - starts[entities]
    owner = np.repeat(np.arange(len(entities)), counts)
    offset = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.repeat(first, counts) + offset], owner
