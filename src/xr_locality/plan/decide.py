"""Decide where everything runs: in one region, or split over several."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.graph import view
from xr_locality.graph.collections import Bundle
from xr_locality.graph.sizes import SizeEstimator
from xr_locality.placement.problem import Cost
from xr_locality.plan.circumstances import Circumstances
from xr_locality.plan.model import Boundary, Moved, Partition
from xr_locality.plan.place import Placed, place, signatures
from xr_locality.plan.reads import Reads
from xr_locality.plan.split import split, whole
from xr_locality.plan.survey import Survey
from xr_locality.regions.model import LOCAL, Region

__all__ = ["Decided", "cost_of", "decide"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Where everything runs, before it is priced.

    Attributes
    ----------
    partitions : tuple of Partition
        In the order of their regions.
    boundaries : tuple of Boundary
        What crosses between them.
    layers : mapping of str to Region, or to a mapping of key to Region
        The placement.
    outputs : mapping of key to int
        Estimated bytes of each result.
    reads : Reads
        Stored bytes read of each source.
    notes : tuple of str
        What was guessed.
    """

    partitions: tuple[Partition, ...]
    boundaries: tuple[Boundary, ...]
    layers: Mapping[str, Region | Mapping[Key, Region]]
    outputs: Mapping[Key, int]
    reads: Reads
    notes: tuple[str, ...]


def decide(
    bundle: Bundle,
    graph: HighLevelGraph,
    found: Survey,
    hosts: Mapping[Region, Region],
    circumstances: Circumstances,
) -> Decided:
    """Decide where the tasks of a graph run.

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

    Returns
    -------
    Decided
        Costs no more, by the objective, than running everything in one region.
    """
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
    decided = Decided(
        partitions=partitions,
        boundaries=boundaries,
        layers=_with_values(culled, placed, found, hosts, partitions),
        outputs=_output_sizes(estimator, graph, outputs),
        reads=reads,
        notes=_guesses(placed, boundaries),
    )
    return _never_worse(decided, graph, outputs, found, circumstances)


def _never_worse(
    decided: Decided,
    graph: HighLevelGraph,
    outputs: list[Key],
    found: Survey,
    circumstances: Circumstances,
) -> Decided:
    """Run everything in one region where that costs less than what was decided."""
    if circumstances.settings.remote_read == "never" or found.pins:
        return decided
    if any(source.leaves != "always" for source in found.sources):
        return decided
    if any(view.is_future(value) for value in _materialised(graph)):
        return decided
    cost, client = circumstances.objective(), circumstances.client
    best, best_cost = decided, cost_of(_moved(decided, client), cost)
    for region in sorted({*circumstances.usable, *(each.region for each in decided.partitions)}):
        moved = {
            (source or LOCAL, region): nbytes
            for source, nbytes in decided.reads.by_region().items()
        }
        moved[region, client] = moved.get((region, client), 0) + sum(decided.outputs.values())
        total = cost_of(moved, cost)
        if total < best_cost:
            logger.info("Splitting costs %s, all in %s only %s", best_cost, region, total)
            best, best_cost = _together(graph, outputs, region, decided.reads), total
    return best


def cost_of(moved: Moved, cost: Cost) -> float:
    """Price what crosses: all that goes from one region to another at once."""
    return sum(
        cost(source, target, nbytes)
        for (source, target), nbytes in sorted(moved.items())
        if source != target
    )


def _moved(decided: Decided, client: Region) -> Moved:
    """Sum the boundary values and results of a split by pairs of regions."""
    moved: dict[tuple[Region, Region], int] = {}
    crossing = [
        (boundary.source, target, boundary.nbytes)
        for boundary in decided.boundaries
        for target in boundary.targets
    ]
    crossing += [
        (partition.region, client, decided.outputs[key])
        for partition in decided.partitions
        for key in partition.outputs
    ]
    for source, target, nbytes in crossing:
        moved[source, target] = moved.get((source, target), 0) + nbytes
    return moved


def _output_sizes(
    estimator: SizeEstimator, graph: HighLevelGraph, outputs: list[Key]
) -> dict[Key, int]:
    sizes: dict[Key, int] = {}
    for key in outputs:
        name = str(key[0] if isinstance(key, tuple) else key)
        if name not in graph.layers:
            name = next(each for each, layer in graph.layers.items() if key in layer)
        sizes[key] = estimator.of(name, key).nbytes
    return sizes


def _together(graph: HighLevelGraph, outputs: list[Key], region: Region, reads: Reads) -> Decided:
    return Decided(
        partitions=(whole(graph, outputs, region),),
        boundaries=(),
        layers=dict.fromkeys(graph.layers, region),
        outputs=_output_sizes(reads.estimator, graph, outputs),
        reads=reads,
        notes=(),
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
        tasks = layers.get(layer.name, {})
        if isinstance(tasks, Region):
            continue
        values = layer.dependencies.keys() - tasks.keys()
        if not values:
            continue
        regions = found.layers.get(layer.name)
        using = [part.region for part in partitions if layer.name in part.graph.layers]
        region = hosts[min(regions)] if regions else min(using)
        layers[layer.name] = {**dict.fromkeys(values, region), **tasks} if tasks else region
    return layers


def _materialised(graph: HighLevelGraph) -> list[Any]:
    return [
        value
        for layer in graph.layers.values()
        if not view.is_symbolic(layer)
        for value in layer.values()
    ]


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
