"""Take apart what a user wants computed, and put the results together again.

A Dataset is planned and run as its arrays, as xarray's own ``compute`` does:
one graph for the whole Dataset fails in dask when a variable derives from
another, and an array says more about itself than a Dataset's graph does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeAlias

import dask.array as da
import xarray as xr
from dask.base import is_dask_collection, unpack_collections
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from dask.utils import is_namedtuple_instance

from xr_locality.compat.dask_array import (
    LoweredArray,
    is_array_expression,
    lower,
    refuse_query_planning,
)
from xr_locality.compat.dask_expressions import is_expression
from xr_locality.compat.xarray_variables import data_of, in_memory
from xr_locality.graph.persisted import reveal

__all__ = ["Bundle", "Part", "has_expression", "part_of_expression", "unpack"]

_XarrayObject: TypeAlias = xr.DataTree | xr.Dataset | xr.DataArray | xr.Variable


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
    layer : str or None
        The layer that makes the output keys, where the collection does not say.
    """

    collection: Any
    graph: HighLevelGraph
    keys: list[Any]
    variable: str | None
    layer: str | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that make the output keys."""
        if self.layer is not None:
            return (self.layer,)
        stated: tuple[str, ...] = getattr(self.collection, "__dask_layers__", tuple)()
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
    """Gathers collections, each once, and hands out their positions."""

    #: Each collection, with the name of the xarray variable that it is, if it is one.
    found: list[tuple[Any, str | None]] = field(default_factory=list)
    positions: dict[Hashable, int] = field(default_factory=dict)

    def add(self, collection: Any, *, variable: str | None = None) -> int:
        identity = _identity(collection)
        if (position := self.positions.get(identity)) is None:
            position = self.positions[identity] = len(self.found)
            self.found.append((collection, variable))
        return position


def _identity(collection: Any) -> Hashable:
    """Say what two collections share if they are one: arrays may be copied without their data."""
    if isinstance(collection, da.Array):
        return collection.name, collection.chunks, collection.dtype
    return id(collection)


class _Hidden:
    """Makes an xarray object look like a dask collection while containers are traversed.

    dask does not know a DataTree, nor a Dataset of lazy variables without chunks, and
    takes two arrays that differ in their encoding alone for one.
    """

    def __init__(self, item: _XarrayObject) -> None:
        self.item = item

    def __dask_graph__(self) -> dict[Key, Any]:
        return {}

    def __dask_tokenize__(self) -> int:
        return id(self.item)


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
    collections, repack = unpack_collections(*[_hide(item) for item in objects])
    collector = _Collector()
    rebuilders = [_take_apart(item, collector) for item in collections]
    parts = make_parts(collector.found)

    def rebuild(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(repack([make(values) for make in rebuilders]))

    return Bundle(parts=parts, rebuild=rebuild)


def make_parts(collections: Sequence[tuple[Any, str | None]]) -> tuple[Part, ...]:
    """Make a part of each dask collection, with the name of the variable that it is.

    Arrays that are expressions (dask-array's) are optimised together, so that what they
    share is computed once.
    """
    arrays = [each for each, _ in collections if is_array_expression(each)]
    lowered = iter(lower([each.expr for each in arrays]))
    return tuple(
        part_of_expression(collection, next(lowered), variable=variable)
        if is_array_expression(collection)
        else make_part(collection, variable=variable)
        for collection, variable in collections
    )


def part_of_expression(collection: Any, array: LoweredArray, *, variable: str | None) -> Part:
    """Make a part of an array of dask-array."""
    return Part(
        collection=collection,
        graph=reveal(array.graph),
        keys=array.keys,
        variable=variable,
        layer=array.layer,
    )


def make_part(collection: Any, *, variable: str | None = None) -> Part:
    """Make a part of one dask collection.

    A DataFrame is an expression: it is optimised without fusing, or column
    projections would be lost when its graph is split.
    """
    refuse_query_planning(collection)
    if has_expression(collection):
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


def has_expression(collection: Any) -> bool:
    """Whether a collection is an expression, as DataFrames are, and not a graph."""
    # A Delayed makes another Delayed of any attribute that it is asked for.
    return is_expression(getattr(collection, "expr", None))


def _variables_of(item: _XarrayObject) -> dict[Hashable, tuple[str, xr.Variable]]:
    """List an object's variables, coordinates included, with their names.

    The keys are those of the same variables of the object's copies. A DataArray
    may have a coordinate of its own name.
    """
    if isinstance(item, xr.DataTree):
        return {
            (path, name): (str(name), variable)
            for path, node in item.subtree_with_keys
            for name, variable in node.variables.items()
        }
    if isinstance(item, xr.Dataset):
        return {name: (str(name), variable) for name, variable in item.variables.items()}
    if isinstance(item, xr.DataArray):
        own = _NAMELESS if item.name is None else str(item.name)
        named: dict[Hashable, tuple[str, xr.Variable]] = {"values": (own, item.variable)}
        for name, coord in item.coords.items():
            named["coordinate", name] = (str(name), coord.variable)
        return named
    return {"values": (_NAMELESS, item)}


#: Name of a variable that has none.
_NAMELESS = "<array>"


def _layer_name(collection: Any) -> str:
    return str(next(iter(flatten([collection.__dask_keys__()]))))


def _take_apart(item: Any, collector: _Collector) -> Callable[[Sequence[Any]], Any]:
    """Collect the parts of one dask collection; return how to rebuild it."""
    if isinstance(item, _Hidden):
        item = item.item
    if not isinstance(item, _XarrayObject):
        position = collector.add(item)
        return lambda values: values[position]
    places: dict[Hashable, int] = {}
    for key, (name, variable) in _variables_of(item).items():
        lazy = _lazy_array(variable)
        if lazy is not None:
            places[key] = collector.add(lazy, variable=name)

    def rebuild(values: Sequence[Any]) -> Any:
        new = item.copy(deep=False)
        for key, (_, variable) in _variables_of(new).items():
            if key in places:
                variable.data = values[places[key]]
        return new

    return rebuild


def _lazy_array(variable: xr.Variable) -> Any | None:
    """Get a variable's dask array; None where its values are in memory already."""
    if is_dask_collection(data := data_of(variable)):
        return data
    return None if in_memory(variable) else data_of(variable.chunk())


def _nest(keys: Any, values: Mapping[Key, Any]) -> Any:
    if isinstance(keys, list):
        return [_nest(key, values) for key in keys]
    return values[keys]


def _hide(item: Any) -> Any:
    """Hide lazy xarray objects, in the containers that dask looks into."""
    kind = type(item)
    if isinstance(item, _XarrayObject):
        return _Hidden(item) if _is_lazy(item) else item
    if kind in (list, tuple, set):
        return kind(_hide(each) for each in item)
    if kind in (dict, OrderedDict):
        return kind((name, _hide(each)) for name, each in item.items())
    if is_dask_collection(item):
        return item
    if is_dataclass(item) and not isinstance(item, type):
        return kind(*[_hide(getattr(item, each.name)) for each in fields(item)])
    if is_namedtuple_instance(item):
        return kind(*map(_hide, item))
    return item


def _is_lazy(item: _XarrayObject) -> bool:
    variables = (variable for _, variable in _variables_of(item).values())
    return any(is_dask_collection(data_of(each)) or not in_memory(each) for each in variables)
