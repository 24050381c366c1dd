"""Decide where everything runs: in one region, by layers alone, or task by task."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.graph.collections import Bundle
from xr_locality.graph.layers import ancestors, is_small
from xr_locality.graph.sizes.estimator import SizeEstimator
from xr_locality.placement.costs import Cost
from xr_locality.plan.context import PlanContext
from xr_locality.plan.model import Boundary, Moved, Partition
from xr_locality.plan.place import Placed, RemoteRead, place
from xr_locality.plan.placement_view import LayerPlacement
from xr_locality.plan.read_estimates import Reads, SizedTasks
from xr_locality.plan.replicas import PricesOf, ReplicaRead, nearest
from xr_locality.plan.results import Results
from xr_locality.plan.split import split, whole
from xr_locality.plan.survey import Survey
from xr_locality.regions.region import LOCAL, Region

__all__ = ["Decided", "cost_of", "decide"]

logger = logging.getLogger(__name__)

#: Tasks up to which a graph over one region is gone through task by task where its layers
#: alone do not prove that its region is the best place for it.
_FEW_TASKS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    results : Results
        Bytes of what is brought to the client.
    reads : Reads
        Stored bytes read of each source.
    remote : tuple of RemoteRead
        Sources of which stored bytes are read from another region.
    slack : float
        By how much this may cost more than the best, at most, in the objective's unit; 0
        where it is proven to cost least.
    solver : str
        What placed the tasks.
    notes : tuple of str
        What was guessed.
    """

    partitions: tuple[Partition, ...]
    boundaries: tuple[Boundary, ...]
    layers: Mapping[str, Region | Mapping[Key, Region]]
    results: Results
    reads: Reads
    remote: tuple[RemoteRead, ...]
    slack: float
    solver: str
    notes: tuple[str, ...]


def decide(
    bundle: Bundle,
    graph: HighLevelGraph,
    found: Survey,
    hosts: Mapping[Region, Region],
    context: PlanContext,
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
    context : PlanContext
        Policy, endpoints, prices.

    Returns
    -------
    Decided
        Costs no more, by the objective, than running everything in one region.
    """
    outputs = bundle.keys()
    estimator = SizeEstimator(
        graph=graph, parts=bundle.parts, trials=context.settings.trial_functions
    )
    reads = Reads(graph=graph, outputs=outputs, survey=found, estimator=estimator)
    results = Results(bundle, graph, estimator)
    decision = _Decision(bundle, graph, found, hosts, context, reads, results)
    regions = decision.regions_needed()
    if len(regions) <= 1:
        region = next(iter(regions), hosts.get(LOCAL, LOCAL))
        return decision.in_one(region)
    return decision.task_by_task()


@dataclass(frozen=True, slots=True, eq=False)
class _Decision:
    bundle: Bundle
    graph: HighLevelGraph
    found: Survey
    hosts: Mapping[Region, Region]
    context: PlanContext
    reads: Reads
    results: Results

    @property
    def prices(self) -> PricesOf:
        """Prices a byte between places, by the objective."""
        context = self.context
        return partial(context.costs.prices, context.settings.objective)

    def regions_needed(self) -> frozenset[Region]:
        """Gather the regions of all layers that the outputs need, before culling by key."""
        located = {
            name: {self.hosts[region] for region in each}
            for name, each in self.found.layers.items()
        }
        for name, pin in self.found.pins.items():
            located.setdefault(name, set()).add(self.hosts[pin])
        for name in self.found.local_keys:
            located.setdefault(name, set()).add(self.hosts[LOCAL])
        names = ancestors(self.graph, {name for part in self.bundle.parts for name in part.layers})
        return frozenset(region for name in names for region in located.get(name, ()))

    def in_one(self, region: Region) -> Decided:
        """Run everything where all data lie, if layers alone show that this is best.

        Results must leave some region, and what is embedded in the graph must enter one:
        where both are cheapest, nothing can be saved. If elsewhere is cheaper, tasks decide.
        """
        costs, client = self.context.objective(), self.context.client
        candidates = {region, *self.context.usable}
        gigabyte = 10**9
        leave = {each: costs(each, client, gigabyte) for each in candidates}
        enter = {each: costs(client, each, gigabyte) for each in candidates}
        stay = self.context.results_stay
        if (stay or leave[region] <= min(leave.values())) and enter[region] <= min(enter.values()):
            return self.together(region, remote=self._read_from(region))
        if is_small(self.graph, most=_FEW_TASKS):
            return self.task_by_task()
        best = self._cheapest_alone(region)
        together = self.together(best, remote=self._read_from(best))
        # Results leave some region at least, and stored bytes may stay where they are.
        sent = [costs(each, client, self.returned) for each in (best, *candidates)]
        read = [costs(each.origin, each.target, each.nbytes) for each in together.remote]
        return replace(together, slack=sent[0] - min(sent) + sum(read))

    @property
    def returned(self) -> int:
        """Bytes that are brought to the client."""
        return 0 if self.context.results_stay else self.results.total

    def _read_from(self, region: Region) -> tuple[RemoteRead, ...]:
        reads = (
            ReplicaRead(source=source, target=region, replica=nearest(source, region, self.prices))
            for source in self.found.sources
            if source.region is not None
        )
        return tuple(
            RemoteRead(
                source=read.source,
                origin=read.region,
                url=read.url,
                target=region,
                nbytes=nbytes,
            )
            for read in reads
            if not read.region.overlaps(region) and (nbytes := self.reads.nbytes(read.source))
        )

    def _cheapest_alone(self, region: Region) -> Region:
        """Find the one region in which everything costs least, without going to tasks."""
        if self.context.settings.remote_read == "never" or self.found.pinned:
            return region
        kept = [source for source in self.found.sources if source.leaves != "always"]
        if not all(each.overlaps(host) for each, host in self.hosts.items()):
            return region
        cost, client = self.context.objective(), self.context.client

        def total(each: Region) -> float:
            moved = {(each, client): self.returned}
            for read in self._read_from(each):
                pair = read.origin, each
                moved[pair] = moved.get(pair, 0) + read.nbytes
            return cost_of(moved, cost)

        # Asking stores costs: only regions from which results alone would be cheaper.
        limit = total(region)
        rivals = [
            each
            for each in sorted({*self.context.usable})
            if cost_of({(each, client): self.returned}, cost) < limit
            and all(any(home.overlaps(each) for home in source.regions) for source in kept)
        ]
        return min([region, *rivals], key=total)

    def task_by_task(self) -> Decided:
        """Place each task, all together if that is best."""
        context, reads = self.context, self.reads
        placed = place(
            reads,
            hosts=self.hosts,
            usable=context.usable,
            client=context.client,
            prices=self.prices,
            remote_read=context.settings.remote_read == "allowed",
            solver=context.solver,
            results_stay=context.results_stay,
        )
        solution = placed.solution
        slack = (solution.cost - solution.lower_bound) * placed.unit
        used = np.unique(placed.where[placed.where >= 0])
        if len(used) <= 1:
            region = placed.places[int(used[0])] if used.size else LOCAL
            together = self.together(region, remote=placed.remote)
            return replace(together, slack=slack, solver=solution.solver)
        partitions, boundaries = split(
            self.graph, reads.structure, placed, outputs=reads.outputs, nbytes=reads.sizes.nbytes
        )
        return Decided(
            partitions=partitions,
            boundaries=boundaries,
            layers=dict(self._layers(placed, partitions)),
            results=self.results,
            reads=reads,
            remote=placed.remote,
            slack=slack,
            solver=solution.solver,
            notes=_guesses(placed, reads, reads.sizes),
        )

    def _layers(
        self, placed: Placed, partitions: tuple[Partition, ...]
    ) -> Iterator[tuple[str, Region | Mapping[Key, Region]]]:
        """Say of each layer where it runs; plain values are beside their data or their users."""
        for layer in self.reads.structure.layers:
            where = placed.where[layer.start : layer.stop]
            tasks = where[where >= 0]
            values = (where < 0).any()
            beside: Region | None = None
            if values:
                regions = self.found.layers.get(layer.name)
                using = [each.region for each in partitions if layer.name in each.graph.layers]
                beside = self.hosts[min(regions)] if regions else min(using)
            if not tasks.size and beside is not None:
                yield layer.name, beside
            elif not values and (tasks == tasks[0]).all():
                yield layer.name, placed.places[int(tasks[0])]
            else:
                yield layer.name, LayerPlacement(layer, placed.places, where, beside)

    def together(self, region: Region, *, remote: tuple[RemoteRead, ...]) -> Decided:
        """Run everything in one region, layers untouched."""
        return Decided(
            partitions=(whole(self.graph, self.reads.outputs, region),),
            boundaries=(),
            layers=dict.fromkeys(self.graph.layers, region),
            results=self.results,
            reads=self.reads,
            remote=remote,
            slack=0.0,
            solver="layers alone",
            notes=(),
        )


def cost_of(moved: Moved, cost: Cost) -> float:
    """Price what crosses: all that goes from one region to another at once."""
    return sum(
        cost(source, target, nbytes)
        for (source, target), nbytes in sorted(moved.items())
        if source != target
    )


def _guesses(placed: Placed, reads: Reads, sizes: SizedTasks) -> tuple[str, ...]:
    """Say which sizes of boundary values were guessed, once for each reason."""
    structure, where = reads.structure, placed.where
    sources = where[structure.made_by]
    crosses = (sources >= 0) & (sources != where[structure.taken_by])
    guessed = np.unique(structure.made_by[crosses & sizes.guessed[structure.made_by]])
    reasons: dict[str, int] = {}
    for layer, numbers in structure.by_layer(guessed.astype(np.intp)):
        why = sizes.why[layer.name]
        reasons[why] = reasons.get(why, 0) + len(numbers)
    return tuple(
        f"the size of {count} boundary value{'s' * (count != 1)}: {reason}"
        for reason, count in reasons.items()
    )
