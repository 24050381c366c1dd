"""Pick a solver, and never return worse than joining everything in one region."""

from __future__ import annotations

from xr_locality.placement.greedy import place_greedily, place_together
from xr_locality.placement.problem import Cost, Placement, PlacementProblem, total_cost

__all__ = ["solve"]


def solve(problem: PlacementProblem, *, cost: Cost, nbytes_cost: Cost) -> Placement:
    """Place tasks at low cost, and at no more than joining them in the best region costs.

    Parameters
    ----------
    problem : PlacementProblem
        The tasks.
    cost : callable
        Prices ``(source, target, nbytes)`` by the run's objective.
    nbytes_cost : callable
        Prices bytes alone; it breaks ties of `cost`.

    Returns
    -------
    Placement
        Deterministic: the same problem gives the same placement.
    """
    found = [place_greedily(problem, cost)]
    found += [place_together(problem, region, cost) for region in problem.regions]

    def rank(placement: Placement) -> tuple[float, float]:
        return placement.cost, total_cost(problem, placement.regions, nbytes_cost)

    return min(found, key=rank)
