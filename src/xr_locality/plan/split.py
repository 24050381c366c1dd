"""Split a placed graph into one partition for each region, and list the boundaries.

Whole layers stay whole and symbolic, and Blockwise layers are culled by output
key, so that dask still fuses each partition as it would fuse the work split by
hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.typing import Key

from xr_locality.graph import view
from xr_locality.graph.sizes import SizeEstimator
from xr_locality.graph.view import CulledGraph, CulledLayer
from xr_locality.plan.model import Boundary, Partition
from xr_locality.plan.place import Placed
from xr_locality.regions.model import Region

__all__ = ["split", "whole"]


def whole(graph: HighLevelGraph, outputs: Collection[Key], region: Region) -> Partition:
    """Make the one partition of a graph that runs in one region, layers untouched."""
    uploads = 0
    for layer in graph.layers.values():
        if isinstance(layer, MaterializedLayer):
            uploads += sum(_embedded_nbytes(value) for value in layer.mapping.values())
    return Partition(
        region=region,
        graph=graph,
        outputs=tuple(outputs),
        sends=(),
        fetches=(),
        needs={},
        fixed=frozenset(),
        n_tasks=view.count_tasks(graph),
        n_layers=len(graph.layers),
        upload_nbytes=uploads,
    )


def split(
    graph: CulledGraph, placed: Placed, *, outputs: Collection[Key], estimator: SizeEstimator
) -> tuple[tuple[Partition, ...], tuple[Boundary, ...]]:
    """Split a placed graph into partitions, and list the values that cross.

    Parameters
    ----------
    graph : CulledGraph
        What the outputs need.
    placed : Placed
        Where each task runs.
    outputs : collection of key
        Results.
    estimator : SizeEstimator
        Sizes of boundary values.

    Returns
    -------
    partitions : tuple of Partition
        In the order of their regions.
    boundaries : tuple of Boundary
        Each value once, with all regions that need it.
    """
    splitter = _Splitter(graph, placed, tuple(outputs))
    crossing = splitter.crossing()
    boundaries = tuple(
        Boundary(
            key=key,
            layer=splitter.layer_of[key].name,
            source=source,
            targets=tuple(sorted(targets)),
            nbytes=estimator.of(splitter.layer_of[key].name, key).nbytes,
        )
        for (key, source), targets in sorted(crossing.items(), key=lambda item: repr(item[0]))
    )
    partitions = tuple(splitter.partition(region, boundaries) for region in splitter.regions)
    return partitions, boundaries


@dataclass(slots=True)
class _Splitter:
    graph: CulledGraph
    placed: Placed
    outputs: tuple[Key, ...]
    layer_of: dict[Key, CulledLayer] = field(default_factory=dict)
    #: The partitions' regions, in order.
    regions: list[Region] = field(default_factory=list)

    def __post_init__(self) -> None:
        for culled in self.graph.layers:
            for key in culled.dependencies:
                self.layer_of[key] = culled
        self.regions += sorted(
            {each for culled in self.graph.layers for each in self.regions_of(culled)}
        )

    def regions_of(self, culled: CulledLayer) -> set[Region]:
        where = self.placed.layers.get(culled.name)
        if where is None:
            return set()
        return {where} if isinstance(where, Region) else set(where.values())

    def region_of(self, key: Key) -> Region | None:
        """Where a key's task runs; None for plain values, which run nowhere."""
        if key in self.placed.values:
            return None
        where = self.placed.layers[self.layer_of[key].name]
        return where if isinstance(where, Region) else where[key]

    def crossing(self) -> dict[tuple[Key, Region], set[Region]]:
        """Find the keys that one region makes and others need."""
        crossing: dict[tuple[Key, Region], set[Region]] = defaultdict(set)
        for culled in self.graph.layers:
            where = self.placed.layers.get(culled.name)
            if where is None or self._alone(culled, where):
                continue
            for key, takes in culled.dependencies.items():
                if key in self.placed.values:
                    continue
                region = where if isinstance(where, Region) else where[key]
                for dependency in takes:
                    source = self.region_of(dependency)
                    if source is not None and source != region:
                        crossing[dependency, source].add(region)
        return crossing

    def _alone(self, culled: CulledLayer, where: Region | Mapping[Key, Region]) -> bool:
        """Whether a layer and all it depends on lie in one region, so that nothing crosses."""
        return isinstance(where, Region) and all(
            self.placed.layers.get(name, where) == where
            for name in self.graph.dependencies[culled.name]
        )

    def partition(self, region: Region, boundaries: Iterable[Boundary]) -> Partition:
        fetches = tuple(boundary for boundary in boundaries if region in boundary.targets)
        sends = tuple(boundary.key for boundary in boundaries if boundary.source == region)
        fetched: dict[str, set[Key]] = defaultdict(set)
        for boundary in fetches:
            fetched[self.layer_of[boundary.key].name].add(boundary.key)
        layers: dict[str, Layer] = {}
        n_tasks, uploads, fixed, taken = 0, 0, set[Key](), set[Key]()
        for culled in self.graph.layers:
            keys = self._keys_in(culled, region)
            if not keys:
                continue
            n_tasks += len(keys)
            layer = culled.layer if len(keys) == len(culled.dependencies) else None
            if layer is None:
                layer = view.restrict(culled.layer, keys)
            if fetched.get(culled.name) and view.is_symbolic(layer):
                # The engine adds fetches to this layer, which must therefore list its tasks.
                layer = MaterializedLayer(dict(layer), annotations=layer.annotations)
            layers[culled.name] = layer
            if isinstance(layer, MaterializedLayer):
                fixed |= {key for key, value in layer.mapping.items() if view.is_future(value)}
            for key in keys:
                taken |= culled.dependencies[key] & self.placed.values
        # Results that are plain values come from the first partition.
        taken |= self.placed.values & {*self.outputs} if region == self.regions[0] else set()
        for culled in self.graph.layers:
            if used := culled.dependencies.keys() & taken:
                held = view.restrict(culled.layer, set(used))
                if culled.name in layers:
                    held = MaterializedLayer({**layers[culled.name], **held}, held.annotations)
                layers[culled.name] = held
                uploads += sum(_embedded_nbytes(culled.layer[key]) for key in used)
        dependencies = {name: self.graph.dependencies[name] & layers.keys() for name in layers}
        return Partition(
            region=region,
            graph=HighLevelGraph(layers, {name: set(each) for name, each in dependencies.items()}),
            outputs=tuple(
                key for key in self.outputs if (self.region_of(key) or self.regions[0]) == region
            ),
            sends=sends,
            fetches=fetches,
            needs={name: self.graph.dependencies[name] for name in layers},
            fixed=frozenset(fixed),
            n_tasks=n_tasks,
            n_layers=len(layers),
            upload_nbytes=uploads,
        )

    def _keys_in(self, culled: CulledLayer, region: Region) -> set[Key]:
        where = self.placed.layers.get(culled.name)
        if where is None:
            return set()
        if isinstance(where, Region):
            return culled.dependencies.keys() - self.placed.values if where == region else set()
        return {key for key, each in where.items() if each == region}


def _embedded_nbytes(value: object) -> int:
    """Bytes of an array that the graph itself holds; 0 for tasks, stores and Futures."""
    nbytes = getattr(getattr(value, "value", value), "nbytes", None)
    # Lazy arrays state the bytes they would have; only values in memory are sent.
    in_memory = hasattr(getattr(value, "value", value), "__array_interface__")
    return int(nbytes) if isinstance(nbytes, int) and in_memory else 0
