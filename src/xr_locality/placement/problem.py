r"""The placement problem as numbers.

Tasks :math:`t \in T` run in regions :math:`p(t)`. Values :math:`v \in V` of
:math:`s(v)` bytes are made somewhere, :math:`m(v)`, and needed in places
:math:`Q(v)`: the regions of the tasks that take them, and the client's if they are
results. The cost to keep least is

.. math::

    \sum_{v \in V} s(v) \sum_{q \in Q(v) \setminus m(v)} c(m(v), q)

where :math:`c` prices a byte from one place to another: a value crosses to a place
once, however many tasks there take it. What lies somewhere before the run is a
value made there: a chunk of a store, of its stored bytes, that one task reads; an
array in memory at the client; a Future on a cluster. So one kind of term prices
everything that a plan may move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xr_locality.errors import PlacementError
from xr_locality.regions.region import Region

__all__ = ["PlacementProblem", "Prices", "distinct", "evaluate", "moves"]

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """What a byte costs from each place to each other, in whole units.

    Whole, so that placements that cost the same are known to, and the least is.

    Attributes
    ----------
    objective : ndarray of int64, shape (n_places, n_places)
        A byte from row to column; 0 on the diagonal, never negative.
    ties : ndarray of int64, shape (n_places, n_places)
        Decides between placements that cost the same: 1 where bytes cross, 0 elsewhere.
    unit : float
        What one of these is, in the unit of the objective.
    """

    objective: _Ints
    ties: _Ints
    unit: float = 1.0

    @classmethod
    def of(cls, objective: _Ints) -> Prices:
        """Take prices whose ties bytes decide that cross between any two places."""
        return cls(objective=objective, ties=(~np.eye(len(objective), dtype=bool)).astype(np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacementProblem:
    """Tasks to place, and the values that they make and take.

    Places are numbered, regions where tasks may run first. In `makers` and
    `takers`, numbers below `n_places` are places and others tasks, counted from
    `n_places`.

    Attributes
    ----------
    places : tuple of Region
        Where tasks may run, where data lie, where results go.
    n_regions : int
        The first so many places are those where tasks may run.
    n_tasks : int
        Tasks that may be placed.
    nbytes : ndarray of int64, shape (n_values,)
        Bytes of each value.
    makers : ndarray of int64, shape (n_values,)
        What makes each value: a task, or the place where it lies.
    values, takers : ndarray of int64, shape (n_uses,)
        Pairs of a value and what needs it: a task, or a place. Each pair once.
    pins : ndarray of int64, shape (n_tasks,)
        Place of each task that may run in one region only, -1 for others.
    units : ndarray of int64, shape (n_tasks,), or None
        Tasks with the same number must run in one region together; -1 for none.
    """

    places: tuple[Region, ...]
    n_regions: int
    n_tasks: int
    nbytes: _Ints
    makers: _Ints
    values: _Ints
    takers: _Ints
    pins: _Ints
    units: _Ints | None = None

    @property
    def n_places(self) -> int:
        """How many places there are."""
        return len(self.places)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where tasks may run."""
        return self.places[: self.n_regions]

    def check(self) -> None:
        """Check that pins can be kept.

        Raises
        ------
        PlacementError
            If a task is pinned where nothing can run, or a unit to several regions.
        """
        usable = ", ".join(map(str, self.regions))
        lost = np.unique(self.pins[self.pins >= self.n_regions])
        if lost.size:
            region = self.places[int(lost[0])]
            raise PlacementError(
                f"Tasks are pinned to region {str(region)!r}, where nothing can run. "
                f"Usable regions: {usable}.",
                region=str(region),
            )
        if self.units is None:
            return
        together = (self.units >= 0) & (self.pins >= 0)
        pairs = np.unique(np.stack([self.units[together], self.pins[together]]), axis=1)
        units, counts = np.unique(pairs[0], return_counts=True)
        for unit in units[counts > 1]:
            pinned = [self.places[int(place)] for place in pairs[1][pairs[0] == unit]]
            raise PlacementError(
                "Tasks of one peer-to-peer rechunk or shuffle must run in one region together "
                f"and are pinned to {' and '.join(map(str, sorted(pinned)))}. It cannot be split: "
                "take the pins away, or choose another rechunk method.",
                regions=tuple(map(str, sorted(pinned))),
            )


def distinct(numbers: _Ints) -> _Ints:
    """Sort numbers and drop repetitions.

    As ``np.unique``, which hashes integers since numpy 2.3: for a million numbers that are
    nearly sorted, as ours are, it takes ten times as long (measured with numpy 2.4).
    """
    if not len(numbers):
        return numbers
    ordered = np.sort(numbers)
    first = np.empty(len(ordered), dtype=bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def moves(problem: PlacementProblem, placed: NDArray[np.integer]) -> tuple[_Ints, _Ints, _Ints]:
    """List what crosses under a placement, each value once for each place that needs it.

    Parameters
    ----------
    problem : PlacementProblem
        The tasks.
    placed : ndarray of int, shape (n_tasks,)
        Place of each task.

    Returns
    -------
    values, sources, targets : ndarray of int64, shape (n_moves,)
        Which value, and the places that it leaves and enters.
    """
    where = np.concatenate([np.arange(problem.n_places), np.asarray(placed, dtype=np.int64)])
    sources = where[problem.makers][problem.values]
    targets = where[problem.takers]
    crossing = sources != targets
    pairs = distinct(problem.values[crossing] * problem.n_places + targets[crossing])
    values, targets = pairs // problem.n_places, pairs % problem.n_places
    return values, where[problem.makers[values]], targets


def evaluate(problem: PlacementProblem, placed: NDArray[np.integer], prices: _Ints) -> int:
    """Price a placement.

    Parameters
    ----------
    problem : PlacementProblem
        The tasks.
    placed : ndarray of int, shape (n_tasks,)
        Place of each task.
    prices : ndarray of int64, shape (n_places, n_places)
        Of a byte from row to column.

    Returns
    -------
    int
        In the unit of the prices, exactly.
    """
    values, sources, targets = moves(problem, placed)
    moved = np.zeros((problem.n_places, problem.n_places), dtype=np.int64)
    np.add.at(moved, (sources, targets), problem.nbytes[values])
    # Python's integers do not overflow.
    pairs = zip(moved.ravel().tolist(), prices.ravel().tolist(), strict=True)
    return sum(nbytes * price for nbytes, price in pairs if nbytes)
