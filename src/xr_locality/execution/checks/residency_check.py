"""Checks again, before anything is sent, that nothing leaves a region which may not."""

from __future__ import annotations

from collections.abc import Iterator

from dask.highlevelgraph import HighLevelGraph

from xr_locality.errors import raise_together
from xr_locality.graph.layers import embedded_objects
from xr_locality.plan.model import Partition, PlanRecord, Transfer
from xr_locality.plan.residency import Residency
from xr_locality.plan.survey import Source
from xr_locality.regions.region import Region
from xr_locality.sources.search import find_sources

__all__ = ["check_residency"]


def check_residency(plan: PlanRecord, *, relay: bool, keep: bool) -> Residency:
    """Refuse a plan that would take from a region what may not leave it.

    What the partitions would do is looked at, not what the plan says of it: a plan
    may have been made or changed by hand.

    Parameters
    ----------
    plan : PlanRecord
        What is about to run.
    relay : bool
        Whether values between regions go by way of the client.
    keep : bool
        Whether results stay where they are made.

    Returns
    -------
    Residency
        For single values, when they are about to cross.

    Raises
    ------
    SourceError
        If something would leave a region that may not.
    LocalityErrorGroup
        If several sources would.
    """
    if all(source.leaves == "always" for source in plan.sources):
        return Residency.of((), HighLevelGraph({}, {}))
    residency = Residency.of(plan.sources, plan.bundle.graph())
    problems = residency.problems(
        transfer
        for partition in plan.partitions
        for transfer in _crossing(partition, residency.kept, plan.client, relay=relay, keep=keep)
    )
    raise_together(problems, message="The plan moves what may not be moved:")
    return residency


def _crossing(
    partition: Partition, kept: tuple[Source, ...], client: Region, *, relay: bool, keep: bool
) -> Iterator[Transfer]:
    """List what a partition has cross: what it reads, what it fetches, what it returns."""
    for source in kept:
        if source.region is not None and _reads(partition, source):
            yield Transfer(
                source=source.region,
                target=partition.region,
                key=source.url,
                nbytes=0,
                why="remote-read",
            )
    for boundary in partition.fetches:
        for target in (client, partition.region) if relay else (partition.region,):
            yield Transfer(
                source=boundary.source,
                target=target,
                key=boundary.key,
                nbytes=boundary.nbytes,
                why="boundary",
            )
    for key in () if keep else partition.outputs:
        yield Transfer(source=partition.region, target=client, key=key, nbytes=0, why="result")


def _reads(partition: Partition, source: Source) -> bool:
    """Whether a partition's own layers hold a source, and not a copy of it."""
    groups = {found.group for found in source.found}
    return any(
        found.group in groups
        for name in partition.graph.layers.keys() & source.layers.keys()
        for found in find_sources(embedded_objects(partition.graph.layers[name]))
    )
