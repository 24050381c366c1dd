"""Replicas: which copy of a source each region reads.

A source's bytes cost a region what they cost from the nearest of its copies. Placement
counts on that, and which copy that is follows from where the tasks run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from xr_locality.placement.problem import Prices
from xr_locality.plan.survey import Source, Survey
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.tag import Replica

__all__ = ["PricesOf", "ReplicaRead", "choose", "host_replicas", "nearest"]

#: Prices a byte between places.
PricesOf: TypeAlias = Callable[[Sequence[Region]], Prices]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRead:
    """What a region reads of a source that has replicas.

    Attributes
    ----------
    source : Source
        As the graph names it.
    target : Region
        Where tasks read it.
    replica : Replica or None
        What they read; None for the original.
    """

    source: Source
    target: Region
    replica: Replica | None

    @property
    def url(self) -> str:
        """What is read; never with credentials."""
        return self.source.url if self.replica is None else self.replica.store.url

    @property
    def region(self) -> Region:
        """Where it lies."""
        return (self.source.region or LOCAL) if self.replica is None else self.replica.region


def nearest(source: Source, target: Region, prices: PricesOf) -> Replica | None:
    """Choose what a region reads of a source: what costs it least, the original in doubt.

    Parameters
    ----------
    source : Source
        With or without replicas.
    target : Region
        Where it is read.
    prices : callable
        Prices a byte between places, by the objective.

    Returns
    -------
    Replica or None
        None for the original.
    """
    if not source.replicas:
        return None
    priced = prices((*source.regions, target))
    costs = [
        (int(priced.objective[n, -1]), int(priced.ties[n, -1]), n)
        for n in range(len(source.regions))
    ]
    return (None, *source.replicas)[min(costs)[2]]


def choose(
    sources: Iterable[Source],
    reading: Iterable[tuple[Region, Collection[str]]],
    prices: PricesOf,
) -> tuple[ReplicaRead, ...]:
    """Choose what each region reads of the sources that have replicas.

    Parameters
    ----------
    sources : iterable of Source
        All that are read.
    reading : iterable of (Region, collection of str)
        The names of the layers that each region has.
    prices : callable
        Prices a byte between places, by the objective.
    """
    pairs = list(reading)
    return tuple(
        ReplicaRead(source=source, target=region, replica=nearest(source, region, prices))
        for source in sources
        if source.replicas
        for region, layers in pairs
        if not set(layers).isdisjoint(source.layers)
    )


def host_replicas(
    found: Survey,
    hosts: Mapping[Region, Region],
    problems: Sequence[Exception],
    *,
    usable: Collection[Region],
) -> tuple[dict[Region, Region], list[Exception]]:
    """Add the regions of replicas to those that hold data, where an endpoint serves them.

    Of the regions of one source, one with an endpoint is enough.

    Parameters
    ----------
    found : Survey
        What is read.
    hosts : mapping of Region to Region
        The region that serves the data of each region.
    problems : sequence of Exception
        An EndpointError for each region that nothing serves.
    usable : collection of Region
        Regions with an endpoint.

    Returns
    -------
    hosts : dict of Region to Region
    problems : list of Exception
        Those that no replica solves.
    """
    copied = [source for source in found.sources if source.replicas]
    served: dict[Region, Region] = {}
    for region in sorted({region for source in copied for region in source.regions}):
        serving = [each for each in usable if each.overlaps(region)]
        if serving:
            served[region] = region if region in serving else min(serving)
    with_replicas = {**served, **hosts}
    solved: set[str] = set()
    for region in sorted({source.region for source in copied if source.region} - served.keys()):
        needing = [source for source in found.sources if source.region == region]
        ways = [next((each for each in one.regions if each in served), None) for one in needing]
        if region not in found.pinned and ways and None not in ways:
            # Where its readers go that must go somewhere; the others go where it costs least.
            with_replicas[region] = served[min(way for way in ways if way is not None)]
            solved.add(str(region))
    return with_replicas, [
        problem for problem in problems if getattr(problem, "region", None) not in solved
    ]
