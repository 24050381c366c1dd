"""Take apart what a user wants computed, and put the results together again.

A Dataset is planned and run as its arrays, as xarray's own ``compute`` does:
one graph for the whole Dataset fails in dask when a variable derives from
another, and an array says more about itself than a Dataset's graph does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr
from dask.base import is_dask_collection, unpack_collections
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

from xr_locality.graph.held import reveal

__all__ = ["Bundle", "Part", "unpack", "variables_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One dask collection of what is computed: an array, a DataFrame, a Delayed.

    Attributes
    ----------
    collection : dask collection
        What the graph came from.
    graph : HighLevelGraph
        Its graph, not optimised.
    keys : list
        Its output keys, nested as the collection nests them.
    variable : str or None
        Name of the xarray variable that this is, if it is one.
    """

    collection: Any
    graph: HighLevelGraph
    keys: list[Any]
    variable: str | None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that make the output keys."""
        stated = getattr(self.collection, "__dask_layers__", tuple)()
        known = tuple(name for name in stated if name in self.graph.layers)
        return known or tuple(self.graph.layers)

    def flat_keys(self) -> list[Key]:
        """List the output keys without their nesting."""
        return list(flatten([self.keys]))

    def assemble(self, values: Mapping[Key, Any]) -> Any:
        """Make the concrete value from the values of the output keys."""
        postcompute, extra = self.collection.__dask_postcompute__()
        return postcompute(_nest(self.keys, values), *extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The parts of some objects, and how to rebuild the objects.

    Attributes
    ----------
    parts : tuple of Part
        What has to be computed, without repetition.
    rebuild : callable
        Takes one value (or replacing collection) for each part and returns the
        objects, as a tuple.
    """

    parts: tuple[Part, ...]
    rebuild: Callable[[Sequence[Any]], tuple[Any, ...]]

    def graph(self) -> HighLevelGraph:
        """Merge the parts' graphs; layers that parts share stand once."""
        return HighLevelGraph.merge(*(part.graph for part in self.parts))

    def keys(self) -> list[Key]:
        """List the output keys of all parts, each once, in order."""
        return list(dict.fromkeys(key for part in self.parts for key in part.flat_keys()))

    def assemble(self, values: Mapping[Key, Any]) -> tuple[Any, ...]:
        """Rebuild the objects from the values of all output keys."""
        return self.rebuild([part.assemble(values) for part in self.parts])


@dataclass(slots=True)
class _Collector:
    """Gathers parts, each collection once, and hands out their positions."""

    parts: list[Part] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)

    def add(self, collection: Any, *, variable: str | None = None) -> int:
        if (position := self.positions.get(id(collection))) is None:
            position = self.positions[id(collection)] = len(self.parts)
            self.parts.append(make_part(collection, variable=variable))
        return position


@dataclass
class _Tree:
    """Stands for a DataTree, which has no dask protocol, while containers are traversed."""

    nodes: dict[str, xr.Dataset]
    name: str | None


def unpack(*objects: Any) -> Bundle:
    """Find the dask collections in objects and in containers of objects.

    Parameters
    ----------
    *objects : Any
        Datasets, DataArrays, DataTrees, Variables, dask Arrays, DataFrames, Bags,
        Delayeds, and lists, tuples, sets, dicts and dataclasses of them. Anything
        else is handed back as it is, as ``dask.compute`` does.

    Returns
    -------
    Bundle
        Lazy variables that are not dask arrays (``chunks=None``) become arrays of
        one chunk, so that they too are read beside their data.
    """
    collections, repack = unpack_collections(*[_hide_trees(item) for item in objects])
    collector = _Collector()
    rebuilders = [_take_apart(item, collector) for item in collections]

    def rebuild(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(_show_trees(item) for item in repack([make(values) for make in rebuilders]))

    return Bundle(parts=tuple(collector.parts), rebuild=rebuild)


def make_part(collection: Any, *, variable: str | None = None) -> Part:
    """Make a part of one dask collection.

    A DataFrame is an expression: it is optimised without fusing, or column
    projections would be lost when its graph is split.
    """
    if hasattr(collection, "expr") and hasattr(collection, "optimize"):
        collection = collection.optimize(fuse=False)
    graph = collection.__dask_graph__()
    if not isinstance(graph, HighLevelGraph):
        graph = HighLevelGraph.from_collections(_layer_name(collection), graph)
    return Part(
        collection=collection,
        graph=reveal(graph),
        keys=collection.__dask_keys__(),
        variable=variable,
    )


def variables_of(item: Any) -> dict[str, xr.Variable]:
    """Name the variables of a Dataset, DataArray or Variable, coordinates included."""
    if isinstance(item, xr.Dataset):
        return {str(name): variable for name, variable in item.variables.items()}
    if isinstance(item, xr.DataArray):
        named = {str(name): coord.variable for name, coord in item.coords.items()}
        return {**named, _ARRAY if item.name is None else str(item.name): item.variable}
    return {_ARRAY: item}


#: Name of a variable that has none.
_ARRAY = "<array>"


def _layer_name(collection: Any) -> str:
    return str(next(iter(flatten([collection.__dask_keys__()]))))


def _take_apart(item: Any, collector: _Collector) -> Callable[[Sequence[Any]], Any]:
    """Collect the parts of one dask collection; return how to rebuild it."""
    if not isinstance(item, xr.Dataset | xr.DataArray | xr.Variable):
        position = collector.add(item)
        return lambda values: values[position]
    places: dict[str, int] = {}
    for name, variable in variables_of(item).items():
        lazy = _lazy_array(variable)
        if lazy is not None:
            places[name] = collector.add(lazy, variable=name)

    def rebuild(values: Sequence[Any]) -> Any:
        new = item.copy(deep=False)
        for name, variable in variables_of(new).items():
            if name in places:
                variable.data = values[places[name]]
        return new

    return rebuild


def _lazy_array(variable: xr.Variable) -> Any | None:
    """Get a variable's dask array; None where its values are in memory already."""
    if is_dask_collection(variable._data):
        return variable._data
    # What xarray itself asks before it loads a variable; there is no public way to tell.
    if variable._in_memory:
        return None
    return variable.chunk()._data


def _nest(keys: Any, values: Mapping[Key, Any]) -> Any:
    if isinstance(keys, list):
        return [_nest(key, values) for key in keys]
    return values[keys]


def _hide_trees(item: Any) -> Any:
    if isinstance(item, xr.DataTree):
        nodes = {node.path: node.to_dataset(inherit=False) for node in item.subtree}
        return _Tree(nodes, item.name)
    if type(item) in (list, tuple, set):
        return type(item)(_hide_trees(each) for each in item)
    if type(item) is dict:
        return {name: _hide_trees(each) for name, each in item.items()}
    return item


def _show_trees(item: Any) -> Any:
    if isinstance(item, _Tree):
        return xr.DataTree.from_dict(item.nodes, name=item.name)
    if type(item) in (list, tuple, set):
        return type(item)(_show_trees(each) for each in item)
    if type(item) is dict:
        return {name: _show_trees(each) for name, each in item.items()}
    return item

