"""Split a placed graph into one partition for each region, and list the boundaries.

Whole layers stay whole and symbolic, and Blockwise layers are culled by output
key, so that dask still fuses each partition as it would fuse the work split by
hand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.compat.dask_graph import restrict_blocks
from xr_locality.graph.layers import count_tasks, embedded_nbytes, is_symbolic
from xr_locality.graph.task_table import LayerTasks, Structure
from xr_locality.plan.model import Boundary, Partition
from xr_locality.plan.place import Placed
from xr_locality.regions.region import Region
from xr_locality.runtime.collector import collector_paused

__all__ = ["split", "whole"]


def whole(graph: HighLevelGraph, outputs: Collection[Key], region: Region) -> Partition:
    """Make the one partition of a graph that runs in one region, layers untouched."""
    uploads = sum(
        embedded_nbytes(layer)
        for layer in graph.layers.values()
        if isinstance(layer, MaterializedLayer)
    )
    return Partition(
        region=region,
        graph=graph,
        outputs=tuple(outputs),
        sends=(),
        send_layers=frozenset(),
        fetches=(),
        needs={},
        fixed=frozenset(),
        n_tasks=count_tasks(graph),
        n_layers=len(graph.layers),
        upload_nbytes=uploads,
    )


@collector_paused()
def split(
    graph: HighLevelGraph,
    structure: Structure,
    placed: Placed,
    *,
    outputs: Sequence[Key],
    nbytes: NDArray[np.int64],
) -> tuple[tuple[Partition, ...], tuple[Boundary, ...]]:
    """Split a placed graph into partitions, and list the values that cross.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    structure : Structure
        Its tasks that the outputs need.
    placed : Placed
        Where each task runs.
    outputs : sequence of key
        Results, in the order of ``structure.outputs``.
    nbytes : ndarray of int64, shape (n_tasks,)
        Bytes of each task's value.

    Returns
    -------
    partitions : tuple of Partition
        In the order of their regions.
    boundaries : tuple of Boundary
        Each value once, with all regions that need it.
    """
    splitter = _Splitter(graph, structure, placed, tuple(outputs), nbytes)
    boundaries = splitter.boundaries()
    partitions = tuple(splitter.partition(place) for place in splitter.order)
    return partitions, boundaries


@dataclass(slots=True, eq=False)
class _Splitter:
    graph: HighLevelGraph
    structure: Structure
    placed: Placed
    outputs: tuple[Key, ...]
    nbytes: NDArray[np.int64]
    #: Places that run tasks, in the order of their regions.
    order: list[int] = field(init=False)
    #: The values that cross, by the numbers of the tasks that make them.
    crossing: dict[int, Boundary] = field(init=False)

    def __post_init__(self) -> None:
        places, where = self.placed.places, self.placed.where
        used = np.unique(where[where >= 0]).tolist()
        self.order = sorted(used, key=places.__getitem__)

    def boundaries(self) -> tuple[Boundary, ...]:
        structure, places, where = self.structure, self.placed.places, self.placed.where
        sources, targets = where[structure.made_by], where[structure.taken_by]
        crosses = (sources >= 0) & (sources != targets)
        pairs = np.unique(
            structure.made_by[crosses].astype(np.int64) * len(places) + targets[crosses]
        )
        needed: dict[int, list[Region]] = {}
        for number, target in zip(
            (pairs // len(places)).tolist(), (pairs % len(places)).tolist(), strict=True
        ):
            needed.setdefault(number, []).append(places[target])
        numbers = np.array(list(needed), dtype=np.intp)
        self.crossing = {}
        for layer, some in structure.by_layer(numbers):
            for number, key in zip(some.tolist(), layer.keys_of(some), strict=True):
                self.crossing[number] = Boundary(
                    key=key,
                    layer=layer.name,
                    source=places[where[number]],
                    targets=tuple(sorted(needed[number])),
                    nbytes=int(self.nbytes[number]),
                )
        return tuple(self.crossing.values())

    def partition(self, place: int) -> Partition:
        region, where = self.placed.places[place], self.placed.where
        fetches = [each for each in self.crossing.values() if region in each.targets]
        sent = [each for each in self.crossing.values() if each.source == region]
        fetched = {boundary.layer for boundary in fetches}
        first = place == self.order[0]
        taken = self._values_taken(place)
        layers: dict[str, Layer] = {}
        sizes: dict[str, int] = {}
        n_tasks = uploads = 0
        fixed: set[Key] = set()
        for layer in self.structure.layers:
            here = where[layer.start : layer.stop] == place
            n_here = int(here.sum())
            if n_here:
                n_tasks += n_here
                if fetches:
                    sizes[layer.name] = int(self.nbytes[layer.start : layer.stop][here].max())
                kept = self._part(layer, here)
                if layer.name in fetched and is_symbolic(kept):
                    # The engine adds fetches to this layer, which must therefore list its tasks.
                    kept = MaterializedLayer(dict(kept), annotations=kept.annotations)
                layers[layer.name] = kept
                if layer.futures is not None:
                    numbers = layer.start + (here & layer.futures).nonzero()[0]
                    fixed.update(layer.keys_of(numbers))
            if layer.values is not None and (used := taken[layer.start : layer.stop]).any():
                numbers = layer.start + used.nonzero()[0]
                uploads += int(self.nbytes[numbers].sum())
                held = {key: layer.layer[key] for key in layer.keys_of(numbers)}
                before: Mapping[Key, Any] = layers.get(layer.name, {})
                layers[layer.name] = MaterializedLayer({**before, **held}, layer.layer.annotations)
        # As the graph lists them: which tasks of a chain dask fuses depends on their order.
        layers = {name: layers[name] for name in self.graph.layers if name in layers}
        needs = self.structure.dependencies
        return Partition(
            region=region,
            graph=HighLevelGraph(
                layers, {name: set(needs[name] & layers.keys()) for name in layers}
            ),
            outputs=tuple(self._outputs_in(place, first=first)),
            sends=tuple(each.key for each in sent),
            send_layers=frozenset(each.layer for each in sent),
            fetches=tuple(fetches),
            needs={name: needs[name] for name in layers},
            fixed=frozenset(fixed),
            n_tasks=n_tasks,
            n_layers=len(layers),
            upload_nbytes=uploads,
            layer_nbytes=sizes,
        )

    def _part(self, layer: LayerTasks, here: NDArray[np.bool_]) -> Layer:
        """Keep a layer's tasks of one region; as it is, and symbolic, if they are all."""
        if layer.whole and here.all():
            return self.graph.layers[layer.name]
        numbers = layer.start + here.nonzero()[0]
        if isinstance(layer.layer, Blockwise):
            return restrict_blocks(layer.layer, map(tuple, layer.blocks(numbers).tolist()))
        tasks = {key: layer.layer[key] for key in layer.keys_of(numbers)}
        return MaterializedLayer(tasks, annotations=layer.layer.annotations)

    def _values_taken(self, place: int) -> NDArray[np.bool_]:
        """Tell which plain values the tasks in a region take; results come from the first."""
        structure, where = self.structure, self.placed.where
        taken = np.zeros(structure.n_tasks, dtype=bool)
        here = where[structure.taken_by] == place
        taken[structure.made_by[here]] = True
        for layer in structure.layers:
            if layer.constants and (where[layer.start : layer.stop] == place).any():
                taken[list(layer.constants)] = True
        if place == self.order[0]:
            taken[structure.outputs] = True
        return taken & (where < 0)

    def _outputs_in(self, place: int, *, first: bool) -> list[Key]:
        where = self.placed.where[self.structure.outputs]
        mine = (where == place) | (first & (where < 0))
        return [key for key, here in zip(self.outputs, mine.tolist(), strict=True) if here]
