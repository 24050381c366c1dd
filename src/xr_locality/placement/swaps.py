r"""Search for a good placement in many regions: exact cuts between two at a time.

From a placement, take two regions :math:`a, b`, hold every task elsewhere where it is, and
place the tasks of the two anew in the two at the least cost: one minimum cut
(:mod:`xr_locality.placement.mincut`), so the cost never grows. Repeat over all pairs until
none helps (alpha-beta swaps of Boykov, Veksler and Zabih, 2001). No prices are too odd for
it, and a placement that it leaves is at least as good as the one that it was given.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.contraction import merge
from xr_locality.placement.mincut import minimum_cut
from xr_locality.placement.problem import PlacementProblem, Prices, evaluate

__all__ = ["improve"]

_Ints = NDArray[np.int64]

#: Rounds over all pairs; each round that goes on has made the placement cheaper.
_MOST_ROUNDS = 20


def improve(problem: PlacementProblem, prices: Prices, placed: _Ints) -> _Ints:
    """Make a placement cheaper by swaps between two regions, until none helps.

    Parameters
    ----------
    problem : PlacementProblem
        Without pins and units.
    prices : Prices
        Of a byte from each place to each other.
    placed : ndarray of int64, shape (n_tasks,)
        Where to start.

    Returns
    -------
    ndarray of int64, shape (n_tasks,)
        Costs no more than `placed`, ties by bytes.
    """
    best, cost = placed, _cost(problem, prices, placed)
    # Pairs that were tried since anything changed in either region.
    settled: set[tuple[int, int]] = set()
    for _ in range(_MOST_ROUNDS):
        before = cost
        for pair in combinations(range(problem.n_regions), 2):
            if pair in settled or not np.isin(best, pair).any():
                continue
            tried = _swap(problem, prices, best, *pair)
            found = _cost(problem, prices, tried)
            settled.add(pair)
            if found < cost:
                settled = {each for each in settled if not {*each} & {*pair}} | {pair}
                best, cost = tried, found
        if cost == before:
            break
    return best


def _swap(
    problem: PlacementProblem, prices: Prices, placed: _Ints, one: int, other: int
) -> _Ints:
    """Place anew, in two regions, the tasks that are in either."""
    free = np.isin(placed, (one, other))
    entities = np.arange(problem.n_tasks, dtype=np.int64) + problem.n_places
    part, _ = merge(problem, np.where(free, entities, placed))
    found = placed.copy()
    found[free] = minimum_cut(part, prices, one=one, other=other).placed
    return found


def _cost(problem: PlacementProblem, prices: Prices, placed: _Ints) -> tuple[int, int]:
    return (
        evaluate(problem, placed, prices.objective),
        evaluate(problem, placed, prices.ties),
    )
