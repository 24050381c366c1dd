"""Build a plan: survey the graph, find hosts, place tasks, split, price.

Pure: reads graphs and stores' metadata, opens no connection, sends no task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.config import Settings
from xr_locality.errors import BudgetError, RegionError, raise_together
from xr_locality.graph import view
from xr_locality.graph.collections import Bundle
from xr_locality.graph.sizes import SizeEstimator
from xr_locality.placement.costs import CostModel
from xr_locality.placement.problem import Cost
from xr_locality.plan.baselines import baselines
from xr_locality.plan.hosts import host_regions
from xr_locality.plan.model import Boundary, Partition, PlacementView, Plan, Transfer
from xr_locality.plan.place import Placed, place, signatures
from xr_locality.plan.reads import Reads
from xr_locality.plan.split import split, whole
from xr_locality.plan.survey import Survey, survey
from xr_locality.regions.detect import Chain
from xr_locality.regions.model import LOCAL, Region

__all__ = ["Circumstances", "build_plan"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
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
    """

    settings: Settings
    usable: tuple[Region, ...]
    chain: Chain
    costs: CostModel
    find_cluster: Callable[[str], Region | None]

    @property
    def client(self) -> Region:
        """The region that results go to."""
        return Region.parse(self.settings.client_region)

    def objective(self) -> Cost:
        """Get the cost that the placement keeps least."""
        return self.costs.objective(self.settings.objective)


def build_plan(bundle: Bundle, circumstances: Circumstances, *, session: Any = None) -> Plan:
    """Decide where everything in a bundle runs.

    Parameters
    ----------
    bundle : Bundle
        What is to be computed.
    circumstances : Circumstances
        Policy, endpoints, prices.
    session : Session, optional
        What will execute the plan.

    Returns
    -------
    Plan

    Raises
    ------
    RegionError
        If the region of a source is not known and policy says that it must be.
    EndpointError
        If a region has no endpoint, or a Future belongs to a foreign cluster.
    BudgetError
        If more would cross than ``max_egress`` allows.
    LocalityErrorGroup
        If several of these are wrong.
    """
    graph = bundle.graph()
    settings = circumstances.settings
    unknown = LOCAL if settings.unknown_region == "local" or not circumstances.usable else None
    found, problems = survey(
        graph,
        bundle.parts,
        chain=circumstances.chain,
        unknown=unknown,
        find_cluster=circumstances.find_cluster,
    )
    problems += _unknown_regions(found, unknown)
    located = {region for regions in found.layers.values() for region in regions}
    hosts, missing = host_regions(
        located | set(found.pins.values()),
        usable=circumstances.usable,
        missing=settings.missing_endpoint,
        costs=circumstances.costs,
        sources_in=_count(found),
    )
    problems += missing
    raise_together(problems, message="The graph cannot be placed:")
    decided = _decide(bundle, graph, found, hosts, circumstances)
    plan = _price(bundle, graph, found, hosts, circumstances, decided, session)
    _check_budget(plan)
    logger.info(
        "Planned %d partitions, %d boundary values, %d bytes to move",
        len(plan.partitions),
        len(plan.boundaries),
        plan.nbytes_moved,
    )
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """Where everything runs, before it is priced."""

    partitions: tuple[Partition, ...]
    boundaries: tuple[Boundary, ...]
    layers: Mapping[str, Region | Mapping[Key, Region]]
    estimator: SizeEstimator
    reads: Reads
    notes: tuple[str, ...]


def _decide(
    bundle: Bundle,
    graph: HighLevelGraph,
    found: Survey,
    hosts: Mapping[Region, Region],
    circumstances: Circumstances,
) -> _Decided:
    outputs = bundle.keys()
    estimator = SizeEstimator(graph=graph, parts=bundle.parts)
    reads = Reads(graph=graph, outputs=outputs, survey=found, estimator=estimator)
    regions = _regions_needed(graph, bundle, found, hosts)
    if len(regions) <= 1:
        region = next(iter(regions), LOCAL)
        return _together(graph, outputs, region, reads)
    culled = reads.culled = view.cull(graph, outputs)
    located = _located(found, hosts)
    order = tuple(layer.name for layer in culled.layers)
    needed = signatures(culled.dependencies, order, located)
    regions = frozenset().union(*needed.values())
    if len(regions) == 1:
        return _together(graph, outputs, next(iter(regions)), reads)
    usable = tuple(sorted({*circumstances.usable} & regions | regions))
    placed = place(
        culled,
        found,
        hosts=hosts,
        usable=usable,
        outputs=frozenset(outputs),
        client=circumstances.client,
        estimator=estimator,
        cost=circumstances.objective(),
        nbytes_cost=circumstances.costs.nbytes,
    )
    partitions, boundaries = split(culled, placed, outputs=outputs, estimator=estimator)
    decided = _Decided(
        partitions=partitions,
        boundaries=boundaries,
        layers=_with_values(culled, placed, found, hosts, partitions),
        estimator=estimator,
        reads=reads,
        notes=_guesses(placed, boundaries),
    )
    return _never_worse(decided, graph, outputs, found, circumstances)


def _never_worse(
    decided: _Decided,
    graph: HighLevelGraph,
    outputs: list[Key],
    found: Survey,
    circumstances: Circumstances,
) -> _Decided:
    """Run everything in one region where that costs less than what was decided."""
    if circumstances.settings.remote_read == "never" or found.pins:
        return decided
    if any(source.leaves != "always" for source in found.sources):
        return decided
    if any(view.is_future(value) for value in _materialised(graph)):
        return decided
    cost = circumstances.objective()
    best_cost = sum(
        cost(boundary.source, target, boundary.nbytes)
        for boundary in decided.boundaries
        for target in boundary.targets
    ) + _results_cost(decided, graph, circumstances.client, cost)
    best = decided
    for region in sorted(partition.region for partition in decided.partitions):
        together = _together(graph, outputs, region, decided.reads)
        remote = sum(
            cost(source or LOCAL, region, nbytes)
            for source, nbytes in decided.reads.by_region().items()
            if source != region
        )
        total = remote + _results_cost(together, graph, circumstances.client, cost)
        if total < best_cost:
            logger.info("Splitting costs %s, all in %s only %s", best_cost, region, total)
            best, best_cost = together, total
    return best


def _results_cost(
    decided: _Decided, graph: HighLevelGraph, client: Region, cost: Cost
) -> float:
    return sum(
        cost(partition.region, client, _nbytes_of(decided.estimator, graph, key))
        for partition in decided.partitions
        if partition.region != client
        for key in partition.outputs
    )


def _nbytes_of(estimator: SizeEstimator, graph: HighLevelGraph, key: Key) -> int:
    name = str(key[0] if isinstance(key, tuple) else key)
    if name not in graph.layers:
        name = next(each for each, layer in graph.layers.items() if key in layer)
    return estimator.of(name, key).nbytes


def _together(
    graph: HighLevelGraph, outputs: list[Key], region: Region, reads: Reads
) -> _Decided:
    return _Decided(
        partitions=(whole(graph, outputs, region),),
        boundaries=(),
        layers=dict.fromkeys(graph.layers, region),
        estimator=reads.estimator,
        reads=reads,
        notes=(),
    )


def _price(
    bundle: Bundle,
    graph: HighLevelGraph,
    found: Survey,
    hosts: Mapping[Region, Region],
    circumstances: Circumstances,
    decided: _Decided,
    session: Any,
) -> Plan:
    client, costs = circumstances.client, circumstances.costs
    alone = decided.partitions[0].region if len(decided.partitions) == 1 else None
    transfers = [
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
    for source in found.sources:
        reader = alone or hosts[source.region or LOCAL]
        if source.region is not None and source.region != reader:
            transfers.append(
                Transfer(
                    source=source.region,
                    target=reader,
                    key=source.url,
                    nbytes=decided.reads.nbytes(source),
                    why="remote-read",
                )
            )
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
                nbytes=_nbytes_of(decided.estimator, graph, key),
                why="result",
            )
            for key in partition.outputs
        ]
    crossed = {(each.source, each.target) for each in transfers}
    usd = sum(costs.usd(each.source, each.target, each.nbytes) for each in transfers)
    seconds = sum(costs.seconds(each.source, each.target, each.nbytes) for each in transfers)
    objective = circumstances.settings.objective
    cost = circumstances.objective()
    total = sum(cost(each.source, each.target, each.nbytes) for each in transfers)
    bound = sum(
        cost(each.source, each.target, each.nbytes) for each in transfers if each.why != "boundary"
    )
    results = sum(
        _nbytes_of(decided.estimator, graph, key)
        for partition in decided.partitions
        for key in partition.outputs
    )
    compare = partial(
        baselines,
        decided.reads,
        usable=circumstances.usable or (LOCAL,),
        results=results,
        client=client,
        costs=costs,
    )
    return Plan(
        regions=tuple(partition.region for partition in decided.partitions),
        sources=found.sources,
        placement=PlacementView(graph, decided.layers),
        transfers=tuple(transfers),
        usd=usd,
        seconds=seconds,
        objective=objective,
        lower_bound=bound if len(decided.partitions) > 1 else total,
        gap=(total - bound) / total if total and len(decided.partitions) > 1 else 0.0,
        unknowns=(
            *_doubts(found, circumstances),
            *decided.notes,
            *decided.reads.guesses.values(),
        ),
        client=client,
        prices_as_of=costs.as_of(sorted(crossed)) or "no list price is used",
        partitions=decided.partitions,
        boundaries=decided.boundaries,
        bundle=bundle,
        budget=circumstances.settings.budget,
        compare=compare,
        session=session,
    )


def _check_budget(plan: Plan) -> None:
    budget = plan.budget
    if budget is None:
        return
    over_usd = budget.usd is not None and plan.usd > budget.usd
    over_nbytes = budget.nbytes is not None and plan.nbytes_moved > budget.nbytes
    if over_usd or over_nbytes:
        limit = f"{budget.usd} USD" if budget.usd is not None else f"{budget.nbytes} bytes"
        raise BudgetError(
            f"The plan moves {plan.nbytes_moved} bytes for {plan.usd:.6g} USD, more than "
            f"max_egress allows ({limit}). Nothing was started. Raise max_egress, or look at "
            "plan().explain() with max_egress='unlimited' for what crosses.",
            nbytes=plan.nbytes_moved,
            usd=plan.usd,
        )


def _located(found: Survey, hosts: Mapping[Region, Region]) -> dict[str, set[Region]]:
    located = {name: {hosts[region] for region in each} for name, each in found.layers.items()}
    for name, pin in found.pins.items():
        located.setdefault(name, set()).add(hosts[pin])
    return located


def _regions_needed(
    graph: HighLevelGraph, bundle: Bundle, found: Survey, hosts: Mapping[Region, Region]
) -> frozenset[Region]:
    """Gather the regions of all layers that the outputs need, before culling by key."""
    located = _located(found, hosts)
    names = {name for part in bundle.parts for name in view.ancestors(graph, part.layers)}
    return frozenset(region for name in names for region in located.get(name, ()))


def _with_values(
    culled: view.CulledGraph,
    placed: Placed,
    found: Survey,
    hosts: Mapping[Region, Region],
    partitions: tuple[Partition, ...],
) -> dict[str, Region | Mapping[Key, Region]]:
    """Complete the placement with plain values: beside their data, or where they are used."""
    layers = dict(placed.layers)
    for layer in culled.layers:
        if layer.name in layers:
            continue
        regions = found.layers.get(layer.name)
        using = [part.region for part in partitions if layer.name in part.graph.layers]
        layers[layer.name] = hosts[min(regions)] if regions else min(using)
    return layers


def _materialised(graph: HighLevelGraph) -> list[Any]:
    return [
        value
        for layer in graph.layers.values()
        if not view.is_symbolic(layer)
        for value in layer.values()
    ]


def _unknown_regions(found: Survey, unknown: Region | None) -> list[Exception]:
    if unknown is not None:
        return []
    return [
        RegionError(
            f"The region of {source.url!r} is not known. Say it with xr_locality.tag(obj, region), "
            "in the catalog (metadata: locality: region:), or in locality.rules; "
            "unknown_region='local' reads such data on this machine.",
            url=source.url,
        )
        for source in found.sources
        if source.region is None
    ]


def _count(found: Survey) -> dict[Region, int]:
    counts: dict[Region, int] = {}
    for source in found.sources:
        if source.region is not None:
            counts[source.region] = counts.get(source.region, 0) + 1
    return counts


def _guesses(placed: Placed, boundaries: tuple[Boundary, ...]) -> tuple[str, ...]:
    """Say which sizes of boundary values were guessed, once for each reason."""
    reasons: dict[str, int] = {}
    for boundary in boundaries:
        size = placed.sizes.get(boundary.key)
        if size is not None and size.guess is not None:
            reasons[size.guess] = reasons.get(size.guess, 0) + 1
    return tuple(
        f"the size of {count} boundary value{'s' * (count != 1)}: {reason}"
        for reason, count in reasons.items()
    )


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


