r"""The placement problem as numbers.

Tasks :math:`v \in V` are placed in regions :math:`p(v)`. The cost to keep least is

.. math::

    \sum_{u} s(u) \sum_{q \in Q(u)} c(p(u), q)

where :math:`c` prices a byte between two regions and :math:`Q(u)` is the set of
*other* regions that need the value of :math:`u`, the client's among them where
it is a result: a value crosses to a region once, however many tasks there take
it. Tasks that read stored data are pinned beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from xr_locality.errors import PlacementError
from xr_locality.regions.model import Region

__all__ = ["Cost", "Placement", "PlacementProblem", "total_cost"]

#: Prices ``(source, target, nbytes)``; what it measures is the run's objective.
Cost: TypeAlias = Callable[[Region, Region, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementProblem:
    """Tasks to place, each after those whose values it takes.

    Attributes
    ----------
    regions : tuple of Region
        Where tasks may run.
    nbytes : sequence of int, shape (n_tasks,)
        Bytes of each task's value.
    inputs : sequence of sequence of int, shape (n_tasks,)
        The tasks whose values each task takes, all at smaller positions.
    pins : mapping of int to Region
        Tasks that may run in one region only.
    units : sequence of sequence of int
        Groups of tasks that must run in one region together.
    results : frozenset of int
        Tasks whose values go to the client.
    client : Region
        Where results go.
    """

    regions: tuple[Region, ...]
    nbytes: Sequence[int]
    inputs: Sequence[Sequence[int]]
    pins: Mapping[int, Region]
    units: Sequence[Sequence[int]]
    results: frozenset[int]
    client: Region

    def __post_init__(self) -> None:
        for task, region in self.pins.items():
            if region not in self.regions:
                usable = ", ".join(map(str, self.regions))
                raise PlacementError(
                    f"Task {task} is pinned to region '{region}', where nothing can run. "
                    f"Usable regions: {usable}.",
                    region=region,
                )
        for unit in self.units:
            pinned = sorted({self.pins[task] for task in unit if task in self.pins})
            if len(pinned) > 1:
                raise PlacementError(
                    f"Tasks {', '.join(map(str, unit))} must run in one region together and are "
                    f"pinned to {' and '.join(map(str, pinned))}. A peer-to-peer shuffle cannot "
                    "be split: take the pins away, or choose another rechunk method.",
                    regions=tuple(pinned),
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A solution: the region of each task, and what it costs.

    Attributes
    ----------
    regions : tuple of Region, shape (n_tasks,)
        Where each task runs.
    cost : float
        The problem's objective at this placement.
    lower_bound : float
        No placement costs less than this.
    solver : str
        What found it.
    """

    regions: tuple[Region, ...]
    cost: float
    lower_bound: float
    solver: str


def total_cost(problem: PlacementProblem, placed: Sequence[Region], cost: Cost) -> float:
    """Evaluate the objective at a placement, each crossing value counted once.

    Parameters
    ----------
    problem : PlacementProblem
        The tasks.
    placed : sequence of Region, shape (n_tasks,)
        Where each runs.
    cost : callable
        Prices ``(source, target, nbytes)``.

    Returns
    -------
    float
        In the objective's own unit.
    """
    needed: list[set[Region]] = [set() for _ in placed]
    for task, region in enumerate(placed):
        for taken in problem.inputs[task]:
            needed[taken].add(region)
        if task in problem.results:
            needed[task].add(problem.client)
    return sum(
        cost(placed[task], target, problem.nbytes[task])
        for task, targets in enumerate(needed)
        for target in sorted(targets)
        if target != placed[task]
    )


def lower_bound(problem: PlacementProblem, cost: Cost) -> float:
    """Bound the objective from below: each result leaves the cheapest region there is."""
    return sum(
        min(
            cost(region, problem.client, problem.nbytes[task])
            for region in ((problem.pins[task],) if task in problem.pins else problem.regions)
        )
        for task in sorted(problem.results)
    )
