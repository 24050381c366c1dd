"""Ways to do the same work, priced by the model that plans are priced by.

These are what people and schedulers do without a planner: pull everything to the user's
machine; run everything in the region where that is cheapest; run each region's own part
beside its data and combine the results at home, as the Pangeo notebook of 2020 did by
hand; or send each task to where its inputs are, as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.costs import CostModel
from xr_locality.placement.greedy import place_forward, place_together
from xr_locality.placement.problem import PlacementProblem, evaluate, moves

__all__ = ["PricedWay", "by_hand", "compare_ways", "price_way"]

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedWay:
    """One way to do the work.

    Attributes
    ----------
    nbytes : int
        Bytes that cross.
    usd : float
        What they cost.
    """

    nbytes: int
    usd: float


def compare_ways(
    problem: PlacementProblem,
    costs: CostModel,
    *,
    objective: Literal["usd", "bytes", "seconds"] = "usd",
) -> Mapping[str, PricedWay]:
    """Price the ways to do some work without a planner.

    Parameters
    ----------
    problem : PlacementProblem
        The work. Its last place is the client's.
    costs : CostModel
        Prices bytes between regions.
    objective : {"usd", "bytes", "seconds"}
        What the best single region and the greedy pass keep least.

    Returns
    -------
    mapping of str to PricedWay
        ``local``, ``best single region``, ``split by hand``, ``greedy forward``.
    """
    prices = costs.prices(objective, problem.places)
    alone = min(
        (place_together(problem, region) for region in range(problem.n_regions)),
        key=lambda placed: evaluate(problem, placed, prices.objective),
    )
    placements = {
        "local": np.full(problem.n_tasks, problem.n_places - 1),
        "best single region": alone,
        "split by hand": by_hand(problem),
        "greedy forward": place_forward(problem, prices),
    }
    return {name: price_way(problem, placed, costs) for name, placed in placements.items()}


def price_way(problem: PlacementProblem, placed: _Ints, costs: CostModel) -> PricedWay:
    """Price a placement in bytes and in US dollars.

    Parameters
    ----------
    problem : PlacementProblem
        The work.
    placed : ndarray of int64, shape (n_tasks,)
        Place of each task.
    costs : CostModel
        Prices bytes between regions.
    """
    values, sources, targets = moves(problem, placed)
    moved = np.zeros((problem.n_places, problem.n_places), dtype=np.int64)
    np.add.at(moved, (sources, targets), problem.nbytes[values])
    pairs = [
        (problem.places[source], problem.places[target], int(moved[source, target]))
        for source, target in zip(*moved.nonzero(), strict=True)
    ]
    return PricedWay(
        nbytes=sum(int(costs.nbytes(*pair)) for pair in pairs),
        usd=sum(costs.usd(*pair) for pair in pairs),
    )


def by_hand(problem: PlacementProblem) -> _Ints:
    """Run what takes one region's data there, and what takes several at the client.

    The split of the Pangeo notebook of 2020: a client for each region, and the
    results combined in the notebook.

    Parameters
    ----------
    problem : PlacementProblem
        Its last place is the client's.

    Returns
    -------
    ndarray of int64, shape (n_tasks,)
        Place of each task.
    """
    n_places, client = problem.n_places, problem.n_places - 1
    where = np.concatenate([np.arange(n_places), np.full(problem.n_tasks, -1)])
    by_use = problem.takers >= n_places
    makers, takers = problem.makers[problem.values][by_use], problem.takers[by_use]
    # What the client holds is sent along to wherever it is needed.
    located = makers != client
    makers, takers = makers[located], takers[located]
    while True:
        # Once for each step of the graph: regions spread from what is read.
        sources = where[makers]
        known = sources >= 0
        low = np.full(len(where), n_places)
        high = np.full(len(where), -1)
        np.minimum.at(low, takers[known], sources[known])
        np.maximum.at(high, takers[known], sources[known])
        spread = np.where(high < 0, where, np.where(low == high, high, client))
        spread[:n_places] = np.arange(n_places)
        if np.array_equal(spread, where):
            return np.where(where[n_places:] >= 0, where[n_places:], client)
        where = spread
