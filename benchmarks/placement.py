"""How good are placements, and how fast, beside simpler ways to do the same work?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TypeAlias

from benchmarks.effort import sizes
from benchmarks.harness.simulation import SHAPES, cloud_regions, simulate
from benchmarks.harness.table import compare_workloads
from benchmarks.harness.ways import PricedWay
from benchmarks.harness.workloads import WORKLOADS
from xr_locality.placement.costs import CostModel
from xr_locality.placement.solve import solve

_Synthetic: TypeAlias = Mapping[tuple[str, int], Mapping[str, PricedWay]]
_Real: TypeAlias = Mapping[str, Mapping[str, PricedWay]]

WAYS = ("local", "best single region", "split by hand", "greedy forward", "plan")


class Placing:
    """How long does placing a synthetic graph take, and how far from the best is it?"""

    params = (
        ["reduction", "mask-and-difference", "halo"],
        [2, 3, 30],
        sizes(10**3, 10**4, full=(10**5, 10**6)),
    )
    param_names = ("shape", "n_regions", "n_tasks")
    timeout = 1800

    def setup(self, shape: str, n_regions: int, n_tasks: int) -> None:
        """Make the graph."""
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

    def setup_cache(self) -> _Synthetic:
        """Do all of it in every way."""
        return {
            (shape, n_regions): simulate(SHAPES[shape](10_000, cloud_regions(n_regions))).ways
            for shape, n_regions in product(*self.params[:2])
        }

    def track_nbytes(self, done: _Synthetic, shape: str, n_regions: int, way: str) -> int:
        """Bytes that cross."""
        return done[shape, n_regions][way].nbytes

    track_nbytes.unit = "B"  # type: ignore[attr-defined]

    def track_usd(self, done: _Synthetic, shape: str, n_regions: int, way: str) -> float:
        """What they cost."""
        return done[shape, n_regions][way].usd

    track_usd.unit = "USD"  # type: ignore[attr-defined]


class Workloads:
    """What do the ways to do each real workload move?"""

    params = (list(WORKLOADS), list(WAYS))
    param_names = ("workload", "way")

    def setup_cache(self) -> _Real:
        """Plan all of it in every way."""
        return {row.name: row.ways for row in compare_workloads(n_tasks=5_000)}

    def track_nbytes(self, compared: _Real, workload: str, way: str) -> int:
        """Bytes that cross."""
        return compared[workload][way].nbytes

    track_nbytes.unit = "B"  # type: ignore[attr-defined]

    def track_usd(self, compared: _Real, workload: str, way: str) -> float:
        """What they cost."""
        return compared[workload][way].usd

    track_usd.unit = "USD"  # type: ignore[attr-defined]
