"""Which usable region serves the data of each region."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from xr_locality.config import MissingEndpoint
from xr_locality.errors import EndpointError
from xr_locality.placement.costs import CostModel
from xr_locality.regions.region import LOCAL, Region

__all__ = ["host_regions"]


def host_regions(
    located: Iterable[Region],
    *,
    usable: Collection[Region],
    missing: MissingEndpoint,
    costs: CostModel,
    sources_in: Mapping[Region, int],
) -> tuple[dict[Region, Region], list[Exception]]:
    """Map each region that data lie in to the region whose endpoint serves them.

    Parameters
    ----------
    located : iterable of Region
        Regions that hold data.
    usable : collection of Region
        Regions with an endpoint; empty where none is configured at all, and
        then everything runs on this machine.
    missing : {"error", "nearest", "local"}
        What to do with a region that no endpoint serves.
    costs : CostModel
        Decides which endpoint is nearest.
    sources_in : mapping of Region to int
        Number of sources in each region, for the error.

    Returns
    -------
    hosts : dict of Region to Region
    problems : list of Exception
        An :class:`EndpointError` for each region that nothing serves.
    """
    hosts: dict[Region, Region] = {}
    problems: list[Exception] = []
    for region in sorted(set(located)):
        serving = [each for each in usable if region.overlaps(each)]
        if region.is_local or not usable:
            hosts[region] = LOCAL
        elif region in usable:
            hosts[region] = region
        elif serving:
            hosts[region] = min(serving)
        elif missing == "nearest":
            hosts[region] = min(usable, key=lambda each: _distance(costs, region, each))
        elif missing == "local":
            hosts[region] = LOCAL
        else:
            count = sources_in.get(region, 0)
            needed = f", needed by {count} source{'s' * (count != 1)}" if count else ""
            problems.append(
                EndpointError(
                    f"No endpoint for region {str(region)!r}{needed}. Set locality.endpoints or "
                    f"pass endpoints=; there are: {', '.join(map(str, sorted(usable)))}. "
                    "missing_endpoint='nearest' or 'local' would compute elsewhere.",
                    region=str(region),
                )
            )
    return hosts, problems


def _distance(costs: CostModel, source: Region, target: Region) -> tuple[float, float, Region]:
    gigabyte = 10**9
    return (
        costs.usd(source, target, gigabyte),
        costs.seconds(source, target, gigabyte),
        target,
    )
