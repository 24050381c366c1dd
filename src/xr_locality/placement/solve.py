"""Pick a solver, and say how far from the best its placement may be.

Two regions: one minimum cut, exact. More: exact where tasks form trees, or where few are
left for a mixed-integer program; otherwise the best of several starts, each improved by
exact cuts between two regions, with a certified bound. What a placement has together in
any case is joined first, so that solvers see only what is to be decided.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.bounds import isolating_bound
from xr_locality.placement.contraction import contract
from xr_locality.placement.forest import is_forest, place_forest
from xr_locality.placement.greedy import place_forward, place_together
from xr_locality.placement.milp import program_size, solve_program
from xr_locality.placement.mincut import minimum_cut
from xr_locality.placement.problem import PlacementProblem, Prices, evaluate
from xr_locality.placement.swaps import improve

__all__ = ["Placement", "Solver", "solve"]

logger = logging.getLogger(__name__)

_Ints = NDArray[np.int64]

#: Variables that a mixed-integer program may have: it then takes seconds at most.
_MOST_VARIABLES = 40_000
#: Cells of the tables of a pass over trees, which works with whole numbers of any length.
_MOST_CELLS = 5_000_000
#: Tasks of which each start is improved, not only the best.
_FEW_TASKS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """A solution: the place of each task, and what it costs.

    Attributes
    ----------
    placed : ndarray of int64, shape (n_tasks,)
        Place of each task.
    cost : int
        The objective, in the unit of the prices.
    lower_bound : int
        No placement costs less than this.
    solver : str
        What found it.
    """

    placed: _Ints
    cost: int
    lower_bound: int
    solver: str

    @property
    def gap(self) -> float:
        """How far the cost may be above the optimum, as a share of the cost; 0.0 is proven."""
        return (self.cost - self.lower_bound) / self.cost if self.cost else 0.0


#: Places the tasks of a problem.
Solver: TypeAlias = Callable[[PlacementProblem, Prices], Placement]


def solve(problem: PlacementProblem, prices: Prices) -> Placement:
    """Place tasks at the least cost, ties by bytes.

    Parameters
    ----------
    problem : PlacementProblem
        The tasks.
    prices : Prices
        Of a byte from each place to each other.

    Returns
    -------
    Placement
        Proven optimal for two regions, and never dearer than running everything that is
        not pinned in any one. Deterministic: the same problem gives the same placement.

    Raises
    ------
    PlacementError
        If the problem's pins cannot be kept.
    """
    problem.check()
    contracted = contract(problem, prices)
    small = contracted.problem
    logger.debug(
        "Joined %d tasks to %d, with %d values between them",
        problem.n_tasks,
        small.n_tasks,
        len(small.nbytes),
    )
    found = _solve(small, prices)
    return Placement(
        placed=contracted.expand(found.placed),
        cost=found.cost,
        lower_bound=found.lower_bound,
        solver=found.solver,
    )


def _solve(problem: PlacementProblem, prices: Prices) -> Placement:
    n_regions = problem.n_regions
    if problem.n_tasks == 0 or n_regions == 1:
        placed = np.zeros(problem.n_tasks, dtype=np.int64)
        return _proven(problem, prices, placed, "nothing to decide")
    if n_regions == 2:
        cut = minimum_cut(problem, prices, one=0, other=1)
        return Placement(
            placed=cut.placed, cost=cut.cost, lower_bound=cut.lower_bound, solver="minimum cut"
        )
    if problem.n_tasks * n_regions**2 <= _MOST_CELLS and is_forest(problem):
        return _proven(problem, prices, place_forest(problem, prices), "dynamic programming")
    return _search(problem, prices)


def _proven(problem: PlacementProblem, prices: Prices, placed: _Ints, solver: str) -> Placement:
    cost = evaluate(problem, placed, prices.objective)
    return Placement(placed=placed, cost=cost, lower_bound=cost, solver=solver)


def _search(problem: PlacementProblem, prices: Prices) -> Placement:
    """Take the best of several starts, improved, and bound the cost of all others."""

    def rank(placed: _Ints) -> tuple[int, int]:
        return (
            evaluate(problem, placed, prices.objective),
            evaluate(problem, placed, prices.ties),
        )

    starts = sorted(_starts(problem, prices), key=rank)
    # Improving a start takes a cut for each pair of regions: of many tasks, the best start only.
    few = problem.n_tasks <= _FEW_TASKS
    improved = [improve(problem, prices, start) for start in starts[: None if few else 1]]
    best = min(improved, key=rank)
    bound, solver = 0, "swaps between two regions"
    if program_size(problem) <= _MOST_VARIABLES:
        solved = solve_program(problem, prices, most=rank(best)[0])
        # Costs are whole.
        bound = math.ceil(solved.lower_bound)
        if solved.placed is not None:
            best = min(best, improve(problem, prices, solved.placed), key=rank)
            solver = "mixed-integer program"
    cost = rank(best)[0]
    if bound < cost:
        bound = max(bound, isolating_bound(problem, prices))
    # The program's bound has the tolerance of floats; so has a cost that meets it.
    if cost - bound <= _TOLERANCE * cost and solver == "mixed-integer program":
        bound = cost
    return Placement(placed=best, cost=cost, lower_bound=min(bound, cost), solver=solver)


#: Within this share of the cost, a bound of the mixed-integer program is met.
_TOLERANCE = 2e-6


def _starts(problem: PlacementProblem, prices: Prices) -> Iterator[_Ints]:
    """Each task beside its inputs, and everything in the best single region."""
    yield place_forward(problem, prices)
    together = [place_together(problem, region) for region in range(problem.n_regions)]
    yield min(together, key=lambda placed: evaluate(problem, placed, prices.objective))
