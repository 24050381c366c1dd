"""Price what was decided: everything that crosses, its cost, and a bound on it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dask.highlevelgraph import HighLevelGraph

from xr_locality.graph.collections import Bundle
from xr_locality.plan.baselines import baselines
from xr_locality.plan.circumstances import Circumstances
from xr_locality.plan.decide import Decided, cost_of
from xr_locality.plan.model import PlacementView, Plan, Transfer, sum_moved
from xr_locality.plan.survey import Survey
from xr_locality.regions.model import LOCAL, Region

__all__ = ["price"]


def price(
    bundle: Bundle,
    graph: HighLevelGraph,
    *,
    found: Survey,
    hosts: Mapping[Region, Region],
    circumstances: Circumstances,
    decided: Decided,
    session: Any,
) -> Plan:
    """Make the plan of what was decided.

    Parameters
    ----------
    bundle : Bundle
        What is to be computed.
    graph : HighLevelGraph
        Its merged graph.
    found : Survey
        Where the data lie.
    hosts : mapping of Region to Region
        The region that serves the data of each region.
    circumstances : Circumstances
        Policy, endpoints, prices.
    decided : Decided
        Where everything runs.
    session : Session or None
        What will execute the plan.

    Returns
    -------
    Plan
    """
    costs, client = circumstances.costs, circumstances.client
    transfers = (
        *_boundaries(decided),
        *_remote_reads(found, hosts, decided),
        *_with_the_client(decided, client),
    )
    moved = sum_moved(transfers)
    cost = cost_of(moved, circumstances.objective())
    bound = min(cost, _bound(decided, circumstances))
    return Plan(
        regions=tuple(partition.region for partition in decided.partitions),
        sources=found.sources,
        placement=PlacementView(graph, decided.layers),
        transfers=transfers,
        usd=cost_of(moved, costs.usd),
        seconds=cost_of(moved, costs.seconds),
        objective=circumstances.settings.objective,
        lower_bound=bound,
        gap=(cost - bound) / cost if cost else 0.0,
        unknowns=(
            *_doubts(found, circumstances),
            *decided.notes,
            *decided.reads.guesses.values(),
        ),
        client=client,
        prices_as_of=costs.as_of(sorted(moved)) or "no list price is used",
        partitions=decided.partitions,
        boundaries=decided.boundaries,
        bundle=bundle,
        costs=costs,
        reads=decided.reads,
        budget=circumstances.settings.budget,
        compare=partial(
            baselines,
            decided.reads,
            usable=circumstances.usable or (LOCAL,),
            results=sum(decided.outputs.values()),
            client=client,
            costs=costs,
        ),
        session=session,
    )


def _boundaries(decided: Decided) -> list[Transfer]:
    return [
        Transfer(
            source=boundary.source,
            target=target,
            key=boundary.key,
            nbytes=boundary.nbytes,
            why="boundary",
        )
        for boundary in decided.boundaries
        for target in boundary.targets
    ]


def _remote_reads(
    found: Survey, hosts: Mapping[Region, Region], decided: Decided
) -> list[Transfer]:
    """List the sources that are read from another region than they lie in."""
    alone = decided.partitions[0].region if len(decided.partitions) == 1 else None
    readers = [(each, alone or hosts[each.region or LOCAL]) for each in found.sources]
    return [
        Transfer(
            source=source.region,
            target=reader,
            key=source.url,
            nbytes=decided.reads.nbytes(source),
            why="remote-read",
        )
        for source, reader in readers
        if source.region is not None and source.region != reader and decided.reads.nbytes(source)
    ]


def _with_the_client(decided: Decided, client: Region) -> list[Transfer]:
    """List what goes to the client, and what it sends along with the graph."""
    transfers: list[Transfer] = []
    for partition in decided.partitions:
        if partition.region == client:
            continue
        if partition.upload_nbytes:
            transfers.append(
                Transfer(
                    source=client,
                    target=partition.region,
                    key="arrays embedded in the graph",
                    nbytes=partition.upload_nbytes,
                    why="upload",
                )
            )
        transfers += [
            Transfer(
                source=partition.region,
                target=client,
                key=key,
                nbytes=decided.outputs[key],
                why="result",
            )
            for key in partition.outputs
        ]
    return transfers


def _bound(decided: Decided, circumstances: Circumstances) -> float:
    """Bound the cost from below: all results leave the cheapest region there is."""
    cost, client = circumstances.objective(), circumstances.client
    nbytes = sum(decided.outputs.values())
    regions = {*circumstances.usable, *(each.region for each in decided.partitions)}
    return min(cost_of({(region, client): nbytes}, cost) for region in regions)


def _doubts(found: Survey, circumstances: Circumstances) -> tuple[str, ...]:
    """Say what is not known about the sources."""
    doubts = [
        f"the region of {source.url}: read from '{LOCAL}'; say it with xr_locality.tag()"
        for source in found.sources
        if source.region is None
    ]
    if not circumstances.usable and any(
        source.region not in (None, LOCAL) for source in found.sources
    ):
        doubts.append("no endpoint is configured: everything runs on this machine")
    return tuple(doubts)
