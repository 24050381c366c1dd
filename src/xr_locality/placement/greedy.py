r"""A simple rule: run each task where most of what it takes already is.

In order of the tasks, with :math:`I(v)` what a task takes,

.. math::

    p(v) = \arg\min_{q \in P(v)} \sum_{u \in I(v)} s(u) \, c(p(u), q)
           + [v \in results] \, s(v) \, c(q, client)

over the regions :math:`P(v)` of its inputs. A task whose inputs lie in one region
runs there. The rule is exact for graphs that only join reductions; it does not
look ahead, so it may lose to a cut on fan-outs and halos, and it is compared
with running everything in one region, which it never exceeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from xr_locality.placement.problem import (
    Cost,
    Placement,
    PlacementProblem,
    lower_bound,
    total_cost,
)
from xr_locality.regions.model import Region

__all__ = ["place_greedily", "place_together"]


def place_greedily(problem: PlacementProblem, cost: Cost) -> Placement:
    """Place each task beside the inputs that are dearest to move.

    Parameters
    ----------
    problem : PlacementProblem
        The tasks.
    cost : callable
        Prices ``(source, target, nbytes)``.

    Returns
    -------
    Placement
        Ties go to fewer bytes, then to the region that sorts first.
    """
    placed = _forward(problem, cost)
    regions = _backward(problem, placed)
    return Placement(
        regions=tuple(regions),
        cost=total_cost(problem, regions, cost),
        lower_bound=lower_bound(problem, cost),
        solver="greedy",
    )


def place_together(problem: PlacementProblem, region: Region, cost: Cost) -> Placement:
    """Place every task that is not pinned in one region."""
    regions = [problem.pins.get(task, region) for task in range(len(problem.nbytes))]
    for unit in problem.units:
        pinned = next((problem.pins[task] for task in unit if task in problem.pins), region)
        for task in unit:
            regions[task] = pinned
    return Placement(
        regions=tuple(regions),
        cost=total_cost(problem, regions, cost),
        lower_bound=lower_bound(problem, cost),
        solver=f"joined in {region}",
    )


def _forward(problem: PlacementProblem, cost: Cost) -> list[Region | None]:
    """Place tasks in order; those that take nothing located wait for their consumers."""
    unit_of = {task: unit for unit in problem.units for task in unit}
    placed: list[Region | None] = [None] * len(problem.nbytes)
    for task in range(len(placed)):
        if placed[task] is not None:
            continue
        together = unit_of.get(task, (task,))
        region = _choose(problem, together, placed, cost)
        for member in together:
            placed[member] = region
    return placed


def _choose(
    problem: PlacementProblem,
    together: Sequence[int],
    placed: Sequence[Region | None],
    cost: Cost,
) -> Region | None:
    for task in together:
        if task in problem.pins:
            return problem.pins[task]
    taken: dict[Region, int] = defaultdict(int)
    inputs = {source for task in together for source in problem.inputs[task]} - set(together)
    for source in sorted(inputs):
        if (region := placed[source]) is not None:
            taken[region] += problem.nbytes[source]
    if not taken:
        return None
    result = sum(problem.nbytes[task] for task in together if task in problem.results)

    def price(region: Region) -> tuple[float, int, Region]:
        moved = [(source, n) for source, n in sorted(taken.items()) if source != region]
        total = sum(cost(source, region, n) for source, n in moved)
        if result and region != problem.client:
            total += cost(region, problem.client, result)
        return total, sum(n for _, n in moved), region

    return min(sorted(taken), key=price)


def _backward(problem: PlacementProblem, placed: Sequence[Region | None]) -> list[Region]:
    """Place what takes nothing located where most tasks want it."""
    unit_of = {task: unit for unit in problem.units for task in unit}
    regions = list(placed)
    wanted: list[dict[Region, int]] = [defaultdict(int) for _ in regions]
    for task in reversed(range(len(regions))):
        if regions[task] is None:
            together = unit_of.get(task, (task,))
            chosen = _most_wanted([wanted[member] for member in together], _default(problem))
            for member in together:
                regions[member] = chosen
        region = regions[task]
        assert region is not None
        for source in problem.inputs[task]:
            wanted[source][region] += 1
    return [region for region in regions if region is not None]


def _most_wanted(votes: Sequence[Mapping[Region, int]], default: Region) -> Region:
    """Find the region with most votes; ties go to the one that sorts first."""
    counted: dict[Region, int] = defaultdict(int)
    for each in votes:
        for region, count in each.items():
            counted[region] += count
    return min(counted, key=lambda region: (-counted[region], region)) if counted else default


def _default(problem: PlacementProblem) -> Region:
    return problem.client if problem.client in problem.regions else min(problem.regions)
