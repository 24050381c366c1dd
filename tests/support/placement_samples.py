"""Problems that placement is tested on, and how many: the numbers are here alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import settings

from support.problems import draw_prices, draw_problem
from xr_locality.placement.problem import PlacementProblem, Prices

#: Hypothesis finds and shrinks what is odd; the same examples in every run.
PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)

#: Problems in two regions, of up to 10 tasks, compared with brute force.
N_TWO_REGIONS = 2400
#: Problems in three and four regions, of up to 7 and 5 tasks: each runs a mixed-integer program.
N_MORE_REGIONS = 800
#: Graphs of which the maximum flow is compared with networkx.
N_FLOWS = 400
#: Problems of hundreds of tasks, whose cut is compared with networkx.
N_MIDDLING = 6


def problems(
    count: int, *, n_regions: int, most_tasks: int, pinned: bool = True
) -> Iterator[tuple[int, PlacementProblem, Prices]]:
    """Draw problems with prices, from seeds that are given with them."""
    for seed in range(count):
        rng = np.random.default_rng([n_regions, seed])
        n_tasks = int(rng.integers(1, most_tasks + 1))
        problem = draw_problem(rng, n_regions=n_regions, n_tasks=n_tasks, pinned=pinned)
        yield seed, problem, draw_prices(rng, problem.n_places)


def costs_of(problem: PlacementProblem, placed: np.ndarray, prices: Prices) -> tuple[int, int]:
    """Price a placement by the objective and by ties, a value after another."""
    where = [*range(problem.n_places), *np.asarray(placed).tolist()]
    crossing = {
        (value, where[taker])
        for value, taker in zip(problem.values.tolist(), problem.takers.tolist(), strict=True)
    }
    totals = [0, 0]
    for value, target in crossing:
        for place, matrix in enumerate((prices.objective, prices.ties)):
            price = int(matrix[where[problem.makers[value]], target])
            totals[place] += int(problem.nbytes[value]) * price
    return totals[0], totals[1]


def is_allowed(problem: PlacementProblem, placed: np.ndarray) -> bool:
    """Whether a placement keeps pins, units and regions."""
    pinned = problem.pins >= 0
    if not (placed[pinned] == problem.pins[pinned]).all():
        return False
    if not ((placed >= 0) & (placed < problem.n_regions)).all():
        return False
    units = [] if problem.units is None else np.unique(problem.units[problem.units >= 0])
    return all(len(np.unique(placed[problem.units == unit])) == 1 for unit in units)
