"""Context of a plan, gathered from the settings and the endpoints of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from xr_locality.config import Settings
from xr_locality.placement.costs import CostModel
from xr_locality.plan.context import PlanContext
from xr_locality.regions.allowed import Allowed
from xr_locality.regions.chain import Chain
from xr_locality.regions.region import Region

if TYPE_CHECKING:
    from xr_locality.endpoints import Endpoint

__all__ = ["endpoints_of", "find_region", "gather_context"]


def gather_context(
    settings: Settings,
    *,
    endpoints: Mapping[Region, Endpoint | None],
    of_call: bool,
    find_cluster: Callable[[str], Region | None],
) -> PlanContext:
    """Gather the context of a plan: all that it depends on besides the graph.

    Parameters
    ----------
    settings : Settings
        Settings of the plan.
    endpoints : mapping of Region to Endpoint or None
        Endpoints of the session.
    of_call : bool
        Whether the settings have endpoints that were given for this plan alone.
    find_cluster : callable
        Returns the region of the session whose scheduler has an address.
    """
    allowed = Allowed.parse(settings.allowed_regions)
    find = find_cluster
    if of_call:
        own = endpoints_of(settings)
        usable = tuple(sorted(own))

        def find(scheduler_address: str) -> Region | None:
            return find_region(own, scheduler_address) or find_cluster(scheduler_address)
    else:
        usable = tuple(region for region in sorted(endpoints) if allowed.permits(region))
        if endpoints and not usable:
            # Never a silent local compute.
            raise allowed.problem(min(endpoints))
    return PlanContext(
        settings=settings,
        usable=usable,
        chain=Chain.from_settings(settings),
        costs=CostModel(settings.prices, links=settings.links),
        find_cluster=find,
    )


def endpoints_of(settings: Settings) -> dict[Region, Endpoint | None]:
    """Make the endpoints that settings describe."""
    from xr_locality.endpoints import to_endpoints

    return to_endpoints(settings.endpoints, allowed=Allowed.parse(settings.allowed_regions))


def find_region(
    endpoints: Mapping[Region, Endpoint | None], scheduler_address: str
) -> Region | None:
    """Return the region whose endpoint has a scheduler's address; None if there is none."""
    from xr_locality.endpoints import EndpointPool

    return EndpointPool(endpoints).find(scheduler_address)
