r"""The best placement in any number of regions, where each value is taken by one task.

Objective as in :mod:`xr_locality.placement.problem`. If tasks, joined where one takes
another's value, form trees, the least cost of a subtree for each region of its root
follows from those of its branches (dynamic programming, one pass up and one down):

.. math::

    f_t(r) = u_t(r) + \sum_{b} \min_q \big( f_b(q) + w_{bt}(q, r) \big)

with :math:`u_t` what a task pays for values that lie at places and for results, and
:math:`w` what the value between two tasks costs. Exact for any prices.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from xr_locality.placement.problem import PlacementProblem, Prices

__all__ = ["is_forest", "place_forest"]

_Ints: TypeAlias = NDArray[np.int64]


def is_forest(problem: PlacementProblem) -> bool:
    """Whether each value is taken by one task at most, and tasks form trees."""
    tasks = problem.takers >= problem.n_places
    counts = np.bincount(problem.values[tasks], minlength=len(problem.nbytes))
    if counts.max(initial=0) > 1:
        return False
    ends = _ends(problem)
    pairs = {(min(pair), max(pair)) for pair in ends.T.tolist()}
    graph = coo_array((np.ones(ends.shape[1]), ends), shape=(problem.n_tasks, problem.n_tasks))
    n_trees, _ = connected_components(graph, directed=False)
    return len(pairs) == problem.n_tasks - int(n_trees)


def place_forest(problem: PlacementProblem, prices: Prices) -> _Ints:
    """Place tasks that form trees at the least total cost, ties by bytes.

    Parameters
    ----------
    problem : PlacementProblem
        Of which :func:`is_forest` holds; without pins and units.
    prices : Prices
        Of a byte from each place to each other.

    Returns
    -------
    ndarray of int64, shape (n_tasks,)
        Place of each task. Ties go to the region that comes first.
    """
    n_regions, n_tasks, n_places = problem.n_regions, problem.n_tasks, problem.n_places
    costs = _combined(problem, prices)
    unary = np.zeros((n_tasks, n_regions), dtype=object)
    between: dict[tuple[int, int], NDArray[np.object_]] = {}
    sinks: dict[int, list[int]] = {}
    for value, taker in zip(problem.values.tolist(), problem.takers.tolist(), strict=True):
        sinks.setdefault(value, []).append(taker)
    for value, takers in sinks.items():
        nbytes, maker = int(problem.nbytes[value]), int(problem.makers[value])
        places = [taker for taker in takers if taker < n_places]
        tasks = [taker - n_places for taker in takers if taker >= n_places]
        if maker < n_places:
            for task in tasks:
                row = costs[maker, :n_regions].copy()
                # What is needed at a place anyway crosses to it once.
                row[[place for place in places if place < n_regions]] = 0
                unary[task] += nbytes * row
            continue
        unary[maker - n_places] += nbytes * costs[:n_regions, places].sum(axis=1)
        for task in tasks:
            matrix = nbytes * costs[:n_regions, :n_regions]
            matrix[:, [place for place in places if place < n_regions]] = 0
            one, other = maker - n_places, task
            between[one, other] = between.get((one, other), 0) + matrix
            between[other, one] = between.get((other, one), 0) + matrix.T
    return _pass(unary, between, _ends(problem), n_tasks)


def _combined(problem: PlacementProblem, prices: Prices) -> NDArray[np.object_]:
    """Join objective and bytes in whole numbers of any length: bytes only decide ties."""
    total = int(problem.nbytes.sum()) * problem.n_places + 1
    combined: NDArray[np.object_] = prices.objective.astype(object) * total
    combined += prices.ties
    return combined


def _ends(problem: PlacementProblem) -> NDArray[np.int64]:
    """List the pairs of a task that makes a value and the task that takes it, shape (2, n)."""
    n_places = problem.n_places
    made = problem.makers[problem.values]
    inner = (made >= n_places) & (problem.takers >= n_places)
    return np.stack([made[inner], problem.takers[inner]]) - n_places


def _pass(
    unary: NDArray[np.object_],
    between: dict[tuple[int, int], NDArray[np.object_]],
    ends: NDArray[np.int64],
    n_tasks: int,
) -> _Ints:
    graph = coo_array((np.ones(ends.shape[1]), ends), shape=(n_tasks, n_tasks)).tocsr()
    graph = graph + graph.T
    _, tree = connected_components(graph, directed=False)
    _, roots = np.unique(tree, return_index=True)
    placed = np.zeros(n_tasks, dtype=np.int64)
    for root in roots.tolist():
        order, parents = breadth_first_order(graph, root, directed=False)
        choice: dict[int, NDArray[np.intp]] = {}
        for task in order[:0:-1].tolist():
            parent = int(parents[task])
            through = unary[task][:, None] + between[task, parent]
            choice[task] = through.argmin(axis=0)
            unary[parent] += through.min(axis=0)
        placed[root] = unary[root].argmin()
        for task in order[1:].tolist():
            placed[task] = choice[task][placed[parents[task]]]
    return placed
