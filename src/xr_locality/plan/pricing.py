"""Price what was decided: everything that crosses, its cost, and a bound on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from dask.highlevelgraph import HighLevelGraph

from xr_locality.graph.collections import Bundle
from xr_locality.placement.prices import GB
from xr_locality.plan.baselines import baselines
from xr_locality.plan.context import PlanContext
from xr_locality.plan.decide import Decided, cost_of
from xr_locality.plan.model import Boundary, PlanRecord
from xr_locality.plan.placement_view import PlacementView
from xr_locality.plan.replicas import choose
from xr_locality.plan.survey import Survey
from xr_locality.plan.transfers import Crossings, Transfers
from xr_locality.regions.region import LOCAL, Region

__all__ = ["price"]


def price(
    bundle: Bundle,
    graph: HighLevelGraph,
    *,
    found: Survey,
    context: PlanContext,
    decided: Decided,
) -> PlanRecord:
    """Make the plan of what was decided.

    Parameters
    ----------
    bundle : Bundle
        What is to be computed.
    graph : HighLevelGraph
        Its merged graph.
    found : Survey
        Where the data lie.
    context : PlanContext
        Policy, endpoints, prices.
    decided : Decided
        Where everything runs.

    Returns
    -------
    PlanRecord
    """
    costs, client = context.costs, context.client
    transfers = Transfers(
        (
            *_boundaries(decided),
            *_remote_reads(decided),
            *_with_the_client(decided, client, results_stay=context.results_stay),
        )
    )
    moved = transfers.moved()
    cost = sum(
        nbytes * _per_byte(context, source, target)
        for (source, target), nbytes in moved.items()
        if source != target
    )
    bound = max(0.0, cost - decided.slack)
    return PlanRecord(
        regions=tuple(partition.region for partition in decided.partitions),
        sources=found.sources,
        placement=PlacementView(graph, decided.layers),
        transfers=transfers,
        usd=cost_of(moved, costs.usd),
        seconds=cost_of(moved, costs.seconds),
        objective=context.settings.objective,
        lower_bound=bound,
        gap=(cost - bound) / cost if cost else 0.0,
        solver=decided.solver,
        unknowns=(
            *_doubts(found, context),
            *decided.notes,
            *_guessed_results(decided, context),
            *decided.reads.guesses.values(),
        ),
        client=client,
        prices_as_of=costs.as_of(sorted(moved)) or "no list price is used",
        partitions=decided.partitions,
        boundaries=decided.boundaries,
        bundle=bundle,
        costs=costs,
        reads=decided.reads,
        replicas=choose(
            found.sources,
            [(partition.region, partition.graph.layers) for partition in decided.partitions],
            partial(costs.prices, context.settings.objective),
        ),
        budget=context.settings.budget,
        other_ways=partial(
            baselines,
            decided.reads,
            usable=context.usable or (LOCAL,),
            results=0 if context.results_stay else decided.results.total,
            uploads=decided.partitions[0].upload_nbytes if len(decided.partitions) == 1 else None,
            client=client,
            costs=costs,
        ),
    )


def _per_byte(context: PlanContext, source: Region, target: Region) -> float:
    """Price one byte by the objective; seconds without round trips, as placement counts them."""
    costs = context.costs
    return {
        "usd": lambda: costs.usd(source, target, GB) / GB,
        "bytes": lambda: costs.nbytes(source, target, 1),
        "seconds": lambda: 1 / costs.bytes_per_second(source, target),
    }[context.settings.objective]()


def _boundaries(decided: Decided) -> Iterator[Crossings]:
    grouped: dict[tuple[Region, Region], list[Boundary]] = {}
    for boundary in decided.boundaries:
        for target in boundary.targets:
            grouped.setdefault((boundary.source, target), []).append(boundary)
    for (source, target), boundaries in grouped.items():
        sizes = [boundary.nbytes for boundary in boundaries]
        yield Crossings(
            source=source,
            target=target,
            why="boundary",
            keys=[boundary.key for boundary in boundaries],
            nbytes=sum(sizes),
            sizes=partial(_same, sizes),
        )


def _same(sizes: Sequence[int]) -> Sequence[int]:
    return sizes


def _remote_reads(decided: Decided) -> Iterator[Crossings]:
    """List the sources that are read from another region than they lie in."""
    for read in decided.remote:
        yield Crossings(
            source=read.origin,
            target=read.target,
            why="remote-read",
            keys=(read.url,),
            nbytes=read.nbytes,
            sizes=partial(_same, (read.nbytes,)),
        )


def _with_the_client(
    decided: Decided, client: Region, *, results_stay: bool
) -> Iterator[Crossings]:
    """List what goes to the client, and what it sends along with the graph."""
    results = decided.results
    alone = len(decided.partitions) == 1
    for partition in decided.partitions:
        if partition.region == client:
            continue
        if partition.upload_nbytes:
            yield Crossings(
                source=client,
                target=partition.region,
                why="upload",
                keys=("arrays embedded in the graph",),
                nbytes=partition.upload_nbytes,
                sizes=partial(_same, (partition.upload_nbytes,)),
            )
        if partition.outputs and not results_stay:
            sizes = partial(results.nbytes_of, partition.outputs)
            yield Crossings(
                source=partition.region,
                target=client,
                why="result",
                keys=partition.outputs,
                nbytes=results.total if alone else sum(sizes()),
                sizes=sizes,
            )


def _guessed_results(decided: Decided, context: PlanContext) -> Iterator[str]:
    """Say if the bytes of what comes to the client are only a guess."""
    away = any(partition.region != context.client for partition in decided.partitions)
    if away and not context.results_stay and (why := decided.results.guess) is not None:
        yield f"the size of results: {why}"


#: Links that are listed one by one.
_MOST_LINKS = 10


def _doubts(found: Survey, context: PlanContext) -> tuple[str, ...]:
    """Say what is not known about the sources."""
    doubts = [
        f"the region of {source.url}: read from '{LOCAL}'; say it with xr_locality.tag()"
        for source in found.sources
        if source.region is None
    ]
    if not context.usable and any(source.region not in (None, LOCAL) for source in found.sources):
        doubts.append("no endpoint is configured: everything runs on this machine")
    doubts += [
        f"request charges of {source.url}: its reader pays them, and they are in no price here"
        for source in found.sources
        if source.requester_pays
    ]
    doubts += [
        f"whether a task reads {link}, which is among its arguments; if it does, say the region "
        "in locality.rules"
        for link in found.links[:_MOST_LINKS]
    ]
    return tuple(doubts)
