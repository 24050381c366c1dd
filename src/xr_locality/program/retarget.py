"""Layers of a graph that read a copy of what they were made to read.

A layer holds arrays of zarr's, or xarray's arrays in files, inside objects of every kind.
Pickling goes through all of these without our knowing them; on the way each array that
has a copy is replaced by the copy, once that is found to agree in shape, type and chunks.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
from dask.highlevelgraph import HighLevelGraph, Layer

from xr_locality.errors import LocalityError, SourceError
from xr_locality.graph.layers import embedded_objects
from xr_locality.program.executable import replace_layers
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Replica
from xr_locality.runtime.object_references import LocalReference
from xr_locality.sources.search import find_sources

__all__ = ["Copies", "retarget", "swap"]


@dataclass(slots=True, kw_only=True, eq=False)
class Copies:
    """The replicas that one region reads instead of what its layers name."""

    #: By the stores that are replaced.
    replicas: dict[Store, Replica] = field(default_factory=dict)
    #: Names of the layers that hold these.
    layers: set[str] = field(default_factory=set)
    #: Copies of arrays, by what was replaced and the array's name in it.
    opened: dict[tuple[Store, str], Any] = field(default_factory=dict, repr=False)
    #: Arrays of reopened datasets, by the replica's store and the array's name.
    _inside: dict[Store, dict[str, Any]] = field(default_factory=dict, repr=False)

    def add(self, stores: Iterable[Store], replica: Replica, layers: Collection[str]) -> None:
        """Have a replica read instead of some stores, in some layers."""
        self.replicas.update(dict.fromkeys(stores, replica))
        self.layers.update(layers)

    def of(self, array: Any) -> Any | None:
        """Return the copy of an array; None if it has none, or is none."""
        if not _is_array(array):
            return None
        for found in find_sources([array]):
            replica = self.replicas.get(found.group)
            if replica is None:
                continue
            name = _name(array)
            key = (found.group, name)
            if key not in self.opened:
                copy = self._open(array, name, found.group, replica)
                _check(array, copy, name, replica)
                self.opened[key] = copy
            return self.opened[key]
        return None

    def _open(self, array: Any, name: str, group: Store, replica: Replica) -> Any:
        try:
            if replica.reopen is None:
                return _open_zarr(array, name, group, replica)
            inside = self._inside.get(replica.store)
            if inside is None:
                inside = self._inside[replica.store] = _arrays_in(replica.reopen())
            return inside[name]
        except LocalityError:
            raise
        except Exception as err:  # noqa: BLE001  # A store may raise anything.
            # And its words may quote a signed URL; its type cannot.
            raise SourceError(
                f"The replica {str(replica.store)!r} of {str(group)!r} cannot be opened: "
                f"{type(err).__name__} for {name!r}. Check its urlpath and storage_options in "
                "the catalog, or take it out.",
                url=replica.store.url,
            ) from None


def retarget(graph: HighLevelGraph, copies: Copies) -> HighLevelGraph:
    """Make a graph read copies.

    Parameters
    ----------
    graph : HighLevelGraph
        Layers that hold none of what is replaced are kept as they are.
    copies : Copies
        What to read instead of what.

    Returns
    -------
    HighLevelGraph

    Raises
    ------
    SourceError
        If a copy cannot be opened or does not agree with its original, or something reads
        the original in a way that is not known here.
    """
    graph = replace_layers(graph, copies.layers, lambda _, layer: swap(layer, copies.of))
    for name in sorted(copies.layers & graph.layers.keys()):
        for found in find_sources(embedded_objects(graph.layers[name])):
            if (replica := copies.replicas.get(found.group)) is not None:
                raise SourceError(
                    f"{str(found.group)!r} is read by {found.detail or 'something'} in a way that "
                    f"cannot be pointed to its replica {str(replica.store)!r}. Open the replica "
                    f"with to_dask(region={str(replica.region)!r}), or take it out of the catalog.",
                    url=found.group.url,
                )
    return graph


def swap(layer: Layer, instead: Callable[[Any], Any | None]) -> Layer:
    """Put other objects in the place of some that a layer holds.

    Parameters
    ----------
    layer : Layer
        Any.
    instead : callable
        Returns what to put in the place of an object; None to keep it.

    Returns
    -------
    Layer
        The same where nothing was replaced.
    """
    stream = io.BytesIO()
    pickler = _Pickler(stream, instead)
    pickler.dump(layer)
    if not pickler.replaced:
        return layer
    stream.seek(0)
    swapped: Layer = _Unpickler(stream, pickler.kept).load()
    return swapped


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # cloudpickle has no types.
    """Leaves out what is replaced, and keeps what is put in its place."""

    def __init__(self, stream: io.BytesIO, instead: Callable[[Any], Any | None]) -> None:
        super().__init__(stream)
        self._instead = instead
        self.kept: list[Any] = []
        self.replaced = False

    def persistent_id(self, obj: Any) -> int | None:
        """Name an object that is replaced; None for all else."""
        if isinstance(obj, LocalReference):
            # It would become what it refers to.
            instead: Any = obj
        else:
            instead = self._instead(obj)
            if instead is None:
                return None
            self.replaced = True
        self.kept.append(instead)
        return len(self.kept) - 1


class _Unpickler(pickle.Unpickler):
    """Puts in what was kept."""

    def __init__(self, stream: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(stream)
        self._kept = kept

    def persistent_load(self, pid: int) -> Any:
        """Return what a name stands for."""
        return self._kept[pid]


def _is_array(obj: Any) -> bool:
    import zarr
    from xarray.backends.common import BackendArray

    if isinstance(obj, zarr.Array):
        return True
    return isinstance(obj, BackendArray) and hasattr(obj, "variable_name")


def _name(array: Any) -> str:
    """Name an array inside its store, as its copies are named inside theirs."""
    place = getattr(array, "store_path", None)
    return str(array.variable_name if place is None else place.path)


def _open_zarr(array: Any, name: str, group: Store, replica: Replica) -> Any:
    """Open the same array of a replica that is laid out as the original is."""
    import zarr

    original = replica.original or group
    below = group.path.removeprefix(original.path).strip("/")
    url = "/".join(part.rstrip("/") for part in (replica.url, below) if part)
    options = dict(replica.storage_options) if replica.store.protocol != "file" else None
    return zarr.open_array(
        store=url,
        path=name,
        mode="r",
        zarr_format=array.metadata.zarr_format,
        storage_options=options or None,
    )


def _arrays_in(dataset: Any) -> dict[str, Any]:
    """Find the arrays that a dataset reads, by name."""
    arrays: dict[str, Any] = {}

    def note(array: Any) -> Any:
        if not _is_array(array):
            return None
        arrays.setdefault(_name(array), array)
        return array

    for layer in dataset.__dask_graph__().layers.values():
        if any(True for _ in find_sources(embedded_objects(layer))):
            _Pickler(io.BytesIO(), note).dump(layer)
    return arrays


def _check(array: Any, copy: Any, name: str, replica: Replica) -> None:
    for what in ("shape", "dtype", "chunks", "shards"):
        ours, theirs = getattr(array, what, None), getattr(copy, what, None)
        if ours != theirs:
            raise SourceError(
                f"The replica {str(replica.store)!r} is no copy: its array {name!r} has "
                f"{what} {theirs}, and the original's has {ours}. Take it out of the catalog's "
                "entry, or copy the data again.",
                url=replica.store.url,
            )
