"""How good are placements, and how fast, beside simpler ways to do the same work?"""

from __future__ import annotations

import os
from functools import cache

from xr_locality.placement.costs import CostModel
from xr_locality.placement.solve import solve
from xr_locality.testing.simulation import SHAPES, Simulated, cloud_regions, simulate
from xr_locality.testing.table import WorkloadRow, compare_workloads
from xr_locality.testing.workloads import WORKLOADS

WAYS = ("local", "best single region", "split by hand", "greedy forward", "plan")


class Placing:
    """How long does placing a synthetic graph take, and how far from the best is it?"""

    params = (["reduction", "mask-and-difference", "halo"], [2, 3, 30], [10**4, 10**5, 10**6])
    param_names = ("shape", "n_regions", "n_tasks")
    timeout = 1800

    def setup(self, shape: str, n_regions: int, n_tasks: int) -> None:
        """Make the graph."""
        large = n_tasks > 10**5 or (n_regions > 3 and n_tasks > 10**4)
        if shape != "reduction" and large and not os.environ.get("XR_LOCALITY_BENCH_FULL"):
            raise NotImplementedError("takes minutes: set XR_LOCALITY_BENCH_FULL=1")
        graph = SHAPES[shape](n_tasks, cloud_regions(n_regions))
        self.problem = graph.problem()
        self.prices = CostModel().prices("usd", self.problem.places)

    def time_solve(self, shape: str, n_regions: int, n_tasks: int) -> None:
        """Place it."""
        solve(self.problem, self.prices)

    time_solve.number = 1  # type: ignore[attr-defined]

    def peakmem_solve(self, shape: str, n_regions: int, n_tasks: int) -> None:
        """Place it."""
        solve(self.problem, self.prices)

    def track_gap(self, shape: str, n_regions: int, n_tasks: int) -> float:
        """By how much it may cost more than the best."""
        return solve(self.problem, self.prices).gap

    track_gap.unit = "of the cost"  # type: ignore[attr-defined]


class Ways:
    """What do the ways to do some synthetic work move?"""

    params = (sorted(SHAPES), [2, 3], list(WAYS))
    param_names = ("shape", "n_regions", "way")

    def track_nbytes(self, shape: str, n_regions: int, way: str) -> int:
        """Bytes that cross."""
        return _simulated(shape, n_regions).ways[way].nbytes

    track_nbytes.unit = "B"  # type: ignore[attr-defined]

    def track_usd(self, shape: str, n_regions: int, way: str) -> float:
        """What they cost."""
        return _simulated(shape, n_regions).ways[way].usd

    track_usd.unit = "USD"  # type: ignore[attr-defined]


class Workloads:
    """What do the ways to do each real workload move?"""

    params = (list(WORKLOADS), list(WAYS))
    param_names = ("workload", "way")

    def track_nbytes(self, workload: str, way: str) -> int:
        """Bytes that cross."""
        return _compared(workload).ways[way].nbytes

    track_nbytes.unit = "B"  # type: ignore[attr-defined]

    def track_usd(self, workload: str, way: str) -> float:
        """What they cost."""
        return _compared(workload).ways[way].usd

    track_usd.unit = "USD"  # type: ignore[attr-defined]


@cache
def _simulated(shape: str, n_regions: int) -> Simulated:
    return simulate(SHAPES[shape](10_000, cloud_regions(n_regions)))


@cache
def _compared(workload: str) -> WorkloadRow:
    (row,) = compare_workloads(n_tasks=5_000, names=[workload])
    return row
