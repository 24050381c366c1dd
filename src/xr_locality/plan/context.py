"""What a plan depends on besides the graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from xr_locality.config import Settings
from xr_locality.placement.costs import Cost, CostModel
from xr_locality.placement.solve import Solver, solve
from xr_locality.regions.chain import Chain
from xr_locality.regions.region import Region

__all__ = ["PlanContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """What a plan depends on besides the graph.

    Attributes
    ----------
    settings : Settings
        The policy.
    usable : tuple of Region
        Regions with an endpoint.
    chain : Chain
        Ways to know a store's region.
    costs : CostModel
        Prices and bandwidths.
    find_cluster : callable
        Maps a scheduler's address to the region of its endpoint.
    solver : callable, optional
        What places tasks that lie in several regions. Another than the best there is
        serves to compare with.
    surveyed : callable, optional
        Told the regions that may run tasks as soon as they are known, while the
        placement is still being decided. It must start nothing that costs.
    results_stay : bool
        Whether results stay where they are made, as with ``persist``.
    """

    settings: Settings
    usable: tuple[Region, ...]
    chain: Chain
    costs: CostModel
    find_cluster: Callable[[str], Region | None]
    solver: Solver = solve
    surveyed: Callable[[Collection[Region]], None] | None = None
    results_stay: bool = False

    @property
    def client(self) -> Region:
        """The region that results go to."""
        return Region.parse(self.settings.client_region)

    def objective(self) -> Cost:
        """Get the cost that the placement keeps least."""
        return self.costs.objective(self.settings.objective)
