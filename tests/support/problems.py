"""Small placement problems: stated by hand, drawn at random, and solved by trying everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.problem import PlacementProblem, Prices
from xr_locality.regions.region import Region

__all__ = [
    "PLACES",
    "Best",
    "best_by_brute_force",
    "draw_prices",
    "draw_problem",
    "state_problem",
]

_Ints: TypeAlias = NDArray[np.int64]

#: Where things are, by a letter: regions first, then two places where nothing runs.
PLACES: Final[Mapping[str, Region]] = {
    letter: Region.parse(name)
    for letter, name in {
        "a": "aws:us-west-2",
        "b": "gcp:us-central1",
        "c": "aws:eu-west-1",
        "d": "azure:westeurope",
        "x": "hpc:derecho",
        "y": "local",
    }.items()
}

#: Placements that are looked at together.
_BATCH: Final = 2**14


def state_problem(
    values: Iterable[tuple[int, str | int, Sequence[str | int]]],
    *,
    places: str = "abxy",
    n_regions: int = 2,
    n_tasks: int | None = None,
    pins: Mapping[int, str] | None = None,
    units: Iterable[Iterable[int]] = (),
) -> PlacementProblem:
    """State a placement problem by hand.

    Parameters
    ----------
    values : iterable of (nbytes, maker, takers)
        Bytes of each value, what makes it and what takes it: a task by its number, or a
        place by its letter in `PLACES`.
    places : str, optional
        Letters of the places, regions where tasks may run first.
    n_regions : int, optional
        How many of them are such regions.
    n_tasks : int, optional
        How many tasks there are; by default the ones that `values` names.
    pins : mapping of int to str, optional
        Places of tasks that may run in one region only.
    units : iterable of iterable of int, optional
        Tasks that must run in one region together.

    Returns
    -------
    PlacementProblem

    Examples
    --------
    A task that takes 5 bytes from one region and 3 from another, for a client elsewhere:

    >>> problem = state_problem([(5, "a", [0]), (3, "b", [0]), (1, 0, "y")])
    >>> problem.n_tasks, problem.nbytes.tolist(), problem.takers.tolist()
    (1, [5, 3, 1], [4, 4, 3])
    """
    stated = list(values)
    named = {each for _, maker, takers in stated for each in (maker, *takers)}
    if n_tasks is None:
        n_tasks = max((each + 1 for each in named if isinstance(each, int)), default=0)

    def number(entity: str | int) -> int:
        return places.index(entity) if isinstance(entity, str) else entity + len(places)

    uses = [(value, number(each)) for value, (*_, takers) in enumerate(stated) for each in takers]
    pinned = np.full(n_tasks, -1, dtype=np.int64)
    for task, place in (pins or {}).items():
        pinned[task] = places.index(place)
    together = None
    for unit, members in enumerate(units):
        together = np.full(n_tasks, -1, dtype=np.int64) if together is None else together
        together[list(members)] = unit
    return PlacementProblem(
        places=tuple(PLACES[letter] for letter in places),
        n_regions=n_regions,
        n_tasks=n_tasks,
        nbytes=np.array([nbytes for nbytes, *_ in stated], dtype=np.int64),
        makers=np.array([number(maker) for _, maker, _ in stated], dtype=np.int64),
        values=np.array([value for value, _ in uses], dtype=np.int64),
        takers=np.array([taker for _, taker in uses], dtype=np.int64),
        pins=pinned,
        units=together,
    )


def draw_problem(
    rng: np.random.Generator, *, n_regions: int, n_tasks: int, pinned: bool = True
) -> PlacementProblem:
    """Draw a placement problem that has a solution.

    For thousands of them: Hypothesis's strategies, in
    :mod:`support.strategies`, draw and shrink slower.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything.
    n_regions : int
        Where tasks may run, up to 4; none, one or two other places come with them.
    n_tasks : int
        Tasks. Most take from those before them; sometimes there are circles, as there
        are between tasks that were joined.
    pinned : bool, optional
        Whether some tasks may be pinned, and some bound to each other.

    Returns
    -------
    PlacementProblem
        With values of several takers, values stored at places, results, values that
        no task takes.
    """
    places = "abcd"[:n_regions] + "xy"[: int(rng.integers(3))]
    letters = list(places)
    circles = rng.random() < 0.2
    density = rng.choice([0.15, 0.35, 0.6])
    values: list[tuple[int, str | int, list[str | int]]] = []
    for task in range(n_tasks):
        others = [each for each in range(n_tasks) if each != task and (circles or each > task)]
        takers: list[str | int] = [each for each in others if rng.random() < density]
        if rng.random() < 0.25 or (not takers and rng.random() < 0.9):
            takers += rng.choice(letters, size=int(rng.integers(1, 3))).tolist()
        values.append((_nbytes(rng), task, _distinct(takers)))
        if rng.random() < 0.5:
            values.append((_nbytes(rng), str(rng.choice(letters)), [task]))
    while rng.random() < 0.4:
        takers = [*rng.integers(n_tasks, size=3).tolist()]
        if rng.random() < 0.3:
            takers.append(str(rng.choice(letters)))
        values.append((_nbytes(rng), str(rng.choice(letters)), _distinct(takers)))
    pins = {
        task: str(rng.choice(letters[:n_regions]))
        for task in range(n_tasks)
        if pinned and rng.random() < 0.2
    }
    units = []
    if pinned and n_tasks > 1 and rng.random() < 0.3:
        units = [rng.choice(n_tasks, size=int(rng.integers(2, min(n_tasks, 3) + 1)), replace=False)]
        # What must run together may not be pinned apart.
        for task in units[0][1:].tolist():
            pins.pop(task, None)
    return state_problem(
        values, places=places, n_regions=n_regions, n_tasks=n_tasks, pins=pins, units=units
    )


def draw_prices(rng: np.random.Generator, n_places: int) -> Prices:
    """Draw prices: by who sends, any at all, often nothing, or bytes alone.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything.
    n_places : int
        Places.

    Returns
    -------
    Prices
        Seldom symmetric, or a metric. Sometimes nothing is counted between the last
        place and the first, as where one contains the other.
    """
    shape = (n_places, n_places)
    objective: _Ints = (
        np.broadcast_to(rng.choice([9, 12, 2, 8], size=(n_places, 1)), shape).copy(),
        rng.integers(1, 10**9, size=shape),
        rng.choice([0, 0, 9, 12], size=shape),
        np.ones(shape, dtype=np.int64),
    )[int(rng.integers(4))]
    np.fill_diagonal(objective, 0)
    ties = (~np.eye(n_places, dtype=bool)).astype(np.int64)
    if n_places > 2 and rng.random() < 0.2:
        for matrix in (objective, ties):
            matrix[0, -1] = matrix[-1, 0] = 0
    return Prices(objective=objective.astype(np.int64), ties=ties)


def _nbytes(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 5, 10, 50, 100]))


def _distinct(takers: list[str | int]) -> list[str | int]:
    return sorted(set(takers), key=str)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Best:
    """The best placement of a problem.

    Attributes
    ----------
    placed : ndarray of int64, shape (n_tasks,)
        One that costs least, ties by bytes, then by most tasks in the first region.
    cost : int
        By the objective, in the unit of the prices.
    ties : int
        By what decides ties.
    """

    placed: _Ints
    cost: int
    ties: int


def best_by_brute_force(problem: PlacementProblem, prices: Prices) -> Best:
    """Try every placement that pins and units allow.

    Shares no code with any solver, nor with what prices a placement.

    Parameters
    ----------
    problem : PlacementProblem
        Of few tasks: 10 in 3 regions are 59,049 placements, tried in a second.
    prices : Prices
        Of a byte from each place to each other.

    Returns
    -------
    Best

    Raises
    ------
    OverflowError
        If costs may not fit into 64 bits.
    """
    highest = int(problem.nbytes.sum()) * int(prices.objective.max(initial=0)) * problem.n_places
    if highest >= 2**63:
        raise OverflowError("Costs of this problem may not fit into 64 bits: take lower prices.")
    free, group_of = _groups(problem)
    best: Best | None = None
    total = problem.n_regions ** len(free)
    for start in range(0, total, _BATCH):
        placed = _placements(problem, free, group_of, start, min(start + _BATCH, total))
        costs = _costs(problem, placed, prices.objective)
        ties = _costs(problem, placed, prices.ties)
        outside = (placed != 0).sum(axis=1)
        first = int(np.lexsort((outside, ties, costs))[0])
        found = Best(placed=placed[first], cost=int(costs[first]), ties=int(ties[first]))
        if best is None or _rank(found) < _rank(best):
            best = found
    assert best is not None
    return best


def _rank(best: Best) -> tuple[int, int, int]:
    return best.cost, best.ties, int((best.placed != 0).sum())


def _groups(problem: PlacementProblem) -> tuple[list[int], list[int]]:
    """List what is to be placed: units and single tasks that no pin holds.

    Returns
    -------
    free : list of int
        Groups that may be anywhere.
    group_of : list of int
        Group of each task; ``-1 - place`` of those that are pinned.
    """
    units = [-1] * problem.n_tasks if problem.units is None else problem.units.tolist()
    pins = problem.pins.tolist()
    pinned = {unit: pin for unit, pin in zip(units, pins, strict=True) if unit >= 0 <= pin}
    group_of = []
    for task, (unit, pin) in enumerate(zip(units, pins, strict=True)):
        place = pin if pin >= 0 else pinned.get(unit, -1)
        first = units.index(unit) if unit >= 0 else task
        group_of.append(-1 - place if place >= 0 else first)
    return sorted({group for group in group_of if group >= 0}), group_of


def _placements(
    problem: PlacementProblem, free: list[int], group_of: list[int], start: int, stop: int
) -> _Ints:
    """List some of all placements, shape (stop - start, n_tasks)."""
    numbers = np.arange(start, stop, dtype=np.int64)
    digits = {
        group: numbers // problem.n_regions**place % problem.n_regions
        for place, group in enumerate(free)
    }
    placed = np.empty((len(numbers), problem.n_tasks), dtype=np.int64)
    for task, group in enumerate(group_of):
        placed[:, task] = digits[group] if group >= 0 else -1 - group
    return placed


def _costs(problem: PlacementProblem, placed: _Ints, prices: _Ints) -> _Ints:
    """Price placements, value by value, as the definition has it."""
    n_placements, n_places = len(placed), problem.n_places
    where = [np.full(n_placements, place) for place in range(n_places)] + list(placed.T)
    takers: dict[int, list[int]] = {}
    for value, taker in zip(problem.values.tolist(), problem.takers.tolist(), strict=True):
        takers.setdefault(value, []).append(taker)
    costs = np.zeros(n_placements, dtype=np.int64)
    for value, who in takers.items():
        made = where[problem.makers[value]]
        for place in range(n_places):
            needed = np.logical_or.reduce([where[taker] == place for taker in who])
            costs += needed * (made != place) * prices[made, place] * problem.nbytes[value]
    return costs
