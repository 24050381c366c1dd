r"""What no placement in many regions can cost less than.

For each region :math:`i`, a two-sided question: which tasks run in :math:`i`, and which
anywhere else? A value that crosses from :math:`m` to :math:`q` is charged once to the
question of :math:`m`, at the least price of leaving it, and once to that of :math:`q`, at
the least price of entering it; twice where its other end is no region. So the answers,
each one minimum cut, together charge no more than twice what any placement costs: half
their sum bounds it (the isolating cuts of Dahlhaus et al., 1994, with directed prices and
values that are counted once).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xr_locality.placement.mincut import minimum_cut
from xr_locality.placement.problem import PlacementProblem, Prices, distinct

__all__ = ["isolating_bound"]

_Ints = NDArray[np.int64]


def isolating_bound(problem: PlacementProblem, prices: Prices) -> int:
    """Bound the cost of any placement from below.

    Parameters
    ----------
    problem : PlacementProblem
        Without pins and units.
    prices : Prices
        Of a byte from each place to each other.

    Returns
    -------
    int
        In the unit of the prices.
    """
    total = sum(_isolate(problem, prices.objective, region) for region in range(problem.n_regions))
    return -(-total // 2)


def _isolate(problem: PlacementProblem, prices: _Ints, region: int) -> int:
    """Bound what one region's question is charged."""
    n_places, n_regions = problem.n_places, problem.n_regions
    others = [each for each in range(n_regions) if each != region]
    rest = n_places
    charged = np.zeros((n_places + 1, n_places + 1), dtype=np.int64)
    charged[region, rest] = prices[region, others].min(initial=_LARGE)
    charged[rest, region] = prices[others, region].min(initial=_LARGE)
    charged[region, :n_regions] = prices[region, :n_regions]
    charged[:n_regions, region] = prices[:n_regions, region]
    # A place where nothing runs asks no question of its own.
    charged[region, n_regions:n_places] = 2 * prices[region, n_regions:]
    charged[n_regions:n_places, region] = 2 * prices[n_regions:, region]
    values, takers = _elsewhere(problem, region)
    asked = replace(
        problem,
        places=(*problem.places, problem.places[region]),
        makers=_shift(problem.makers, n_places),
        values=values,
        takers=takers,
    )
    return minimum_cut(asked, Prices.of(charged), one=region, other=rest).lower_bound


def _elsewhere(problem: PlacementProblem, region: int) -> tuple[_Ints, _Ints]:
    """Join what takes a value in the other regions, where tasks take it too.

    A task may turn out to be in the very region that needs the value anyway, and it would
    be charged twice for leaving.
    """
    n_places, rest = problem.n_places, problem.n_places
    of_tasks = np.bincount(
        problem.values[problem.takers >= n_places], minlength=len(problem.nbytes)
    )
    other = (problem.takers < problem.n_regions) & (problem.takers != region)
    joined = other & (of_tasks[problem.values] > 0)
    takers = np.where(joined, rest, _shift(problem.takers, n_places))
    n_entities = n_places + 1 + problem.n_tasks
    pairs = distinct(problem.values * n_entities + takers)
    return pairs // n_entities, pairs % n_entities


#: No price is as high, and sums of it still fit.
_LARGE = 2**40


def _shift(entities: _Ints, n_places: int) -> _Ints:
    """Make room for one more place."""
    return np.where(entities >= n_places, entities + 1, entities)
