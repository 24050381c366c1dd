r"""Search for a good placement in many regions: exact cuts between two at a time.

From a placement, take two regions :math:`a, b`, hold every task elsewhere where it is, and
place the tasks of the two anew in the two at the least cost: one minimum cut
(:mod:`xr_locality.placement.mincut`), so the cost never grows. Repeat over all pairs that
send each other something, and over all of few tasks, until none helps (the swaps of Boykov,
Veksler and Zabih, 2001). No prices are too odd for it, and a placement that it leaves is at
least as good as the one that it was given.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.contraction import merge
from xr_locality.placement.mincut import minimum_cut
from xr_locality.placement.problem import PlacementProblem, Prices, distinct, evaluate

__all__ = ["improve"]

_Ints = NDArray[np.int64]

#: Rounds over all pairs; each round that goes on has made the placement cheaper.
_MOST_ROUNDS = 20
#: Above so many tasks, a round that gains less than this share of the cost is the last.
_MANY_TASKS = 10_000
_LEAST_GAIN = 0.01


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
    best = placed
    # Pairs that were tried since anything changed in either region.
    settled: set[tuple[int, int]] = set()
    worth = evaluate(problem, best, prices.objective)
    for _ in range(_MOST_ROUNDS):
        changed = False
        few = problem.n_tasks <= _MANY_TASKS
        every = combinations(range(problem.n_regions), 2)
        for pair in [*_linked(problem, best), *(every if few else ())]:
            if pair in settled:
                continue
            settled.add(pair)
            tried = _swap(problem, prices, best, *pair)
            if tried is not None:
                settled = {each for each in settled if not {*each} & {*pair}} | {pair}
                best, changed = tried, True
        before, worth = worth, evaluate(problem, best, prices.objective)
        if not changed or (problem.n_tasks > _MANY_TASKS and before - worth < _LEAST_GAIN * before):
            break
    return best


def _linked(problem: PlacementProblem, placed: _Ints) -> list[tuple[int, int]]:
    """List pairs of regions between which something crosses: others rarely gain by a swap."""
    n_places, n_regions = problem.n_places, problem.n_regions
    where = np.concatenate([np.arange(n_places), placed])
    sources, targets = where[problem.makers[problem.values]], where[problem.takers]
    crossing = (sources != targets) & (sources < n_regions) & (targets < n_regions)
    low = np.minimum(sources, targets)[crossing]
    high = np.maximum(sources, targets)[crossing]
    pairs = distinct(low * n_regions + high)
    return [(int(pair) // n_regions, int(pair) % n_regions) for pair in pairs]


def _swap(
    problem: PlacementProblem, prices: Prices, placed: _Ints, one: int, other: int
) -> _Ints | None:
    """Place anew, in two regions, the tasks that are in either; None if that does not help."""
    free = np.isin(placed, (one, other))
    if not free.any():
        return None
    part = _part(problem, placed, free)
    cut = minimum_cut(part, prices, one=one, other=other)
    before, after = placed[free], cut.placed
    if cut.cost > evaluate(part, before, prices.objective):
        return None
    if _rank(part, prices, after) >= _rank(part, prices, before):
        return None
    found = placed.copy()
    found[free] = after
    return found


def _part(problem: PlacementProblem, placed: _Ints, free: NDArray[np.bool_]) -> PlacementProblem:
    """Keep the free tasks, and the values that they make or take; all else is in its place."""
    free_entities = np.concatenate([np.zeros(problem.n_places, dtype=bool), free])
    touched = free_entities[problem.makers]
    touched[problem.values[free_entities[problem.takers]]] = True
    uses = touched[problem.values]
    numbers = np.cumsum(touched) - 1
    near = replace(
        problem,
        nbytes=problem.nbytes[touched],
        makers=problem.makers[touched],
        values=numbers[problem.values[uses]],
        takers=problem.takers[uses],
    )
    entities = np.arange(problem.n_tasks, dtype=np.int64) + problem.n_places
    part, _ = merge(near, np.where(free, entities, placed))
    return part


def _rank(problem: PlacementProblem, prices: Prices, placed: _Ints) -> tuple[int, int]:
    return (
        evaluate(problem, placed, prices.objective),
        evaluate(problem, placed, prices.ties),
    )
