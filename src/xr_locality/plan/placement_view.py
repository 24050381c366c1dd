"""Where each key runs, as mappings that list no keys until somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.graph.layer_keys import key_name
from xr_locality.graph.task_table import LayerTasks
from xr_locality.regions.region import Region

__all__ = ["LayerPlacement", "PlacementView"]


class LayerPlacement(Mapping[Key, Region]):
    """Maps the needed keys of one layer to regions.

    Parameters
    ----------
    layer : LayerTasks
        The layer.
    places : tuple of Region
        What the numbers in `where` mean.
    where : ndarray of int, shape (n_tasks,)
        Place of each task of the layer; negative for plain values.
    beside : Region or None
        Where plain values are.
    """

    def __init__(
        self,
        layer: LayerTasks,
        places: tuple[Region, ...],
        where: NDArray[np.int64],
        beside: Region | None,
    ) -> None:
        self._layer = layer
        self._places = places
        self._where = where
        self._beside = beside

    def __getitem__(self, key: Key) -> Region:
        number = self._layer.number(key)
        if number is None:
            raise KeyError(key)
        return self._region(int(self._where[number - self._layer.start]))

    def _region(self, place: int) -> Region:
        if place >= 0:
            return self._places[place]
        assert self._beside is not None
        return self._beside

    def __iter__(self) -> Iterator[Key]:
        return iter(self._layer.keys_of(np.arange(self._layer.start, self._layer.stop)))

    def __len__(self) -> int:
        return len(self._layer)

    def __repr__(self) -> str:
        return f"<LayerPlacement of {len(self)} keys>"


class PlacementView(Mapping[Key, Region]):
    """Maps each key of the unoptimised graph to its region, without listing the keys.

    Parameters
    ----------
    graph : HighLevelGraph
        The graph placed.
    layers : mapping of str to Region, or to a mapping of key to Region
        The region of each layer, or of each key where a layer mixes regions.
    """

    def __init__(
        self, graph: HighLevelGraph, layers: Mapping[str, Region | Mapping[Key, Region]]
    ) -> None:
        self._graph = graph
        self._layers = layers

    def __getitem__(self, key: Key) -> Region:
        name = key_name(key)
        placed = self._layers.get(name) if isinstance(name, str) else None
        if placed is not None and (found := self._look_up(placed, str(name), key)) is not None:
            return found
        for name, placed in self._layers.items():
            if (found := self._look_up(placed, name, key)) is not None:
                return found
        raise KeyError(key)

    def _look_up(
        self, placed: Region | Mapping[Key, Region], layer: str, key: Key
    ) -> Region | None:
        if not isinstance(placed, Region):
            return placed.get(key)
        return placed if key in self._graph.layers[layer] else None

    def __iter__(self) -> Iterator[Key]:
        for name, placed in self._layers.items():
            yield from self._graph.layers[name] if isinstance(placed, Region) else placed

    def __len__(self) -> int:
        return sum(
            len(self._graph.layers[name]) if isinstance(placed, Region) else len(placed)
            for name, placed in self._layers.items()
        )

    def __repr__(self) -> str:
        return f"<PlacementView of {len(self._layers)} layers>"
