"""How to look into the objects of each type that a graph may hold."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta, tzinfo
from functools import lru_cache, partial
from itertools import chain
from operator import attrgetter
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    NoneType,
)
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np

from xr_locality.compat.dask_graph import Alias, DataNode, Task, TaskRef
from xr_locality.sources.named_in_tasks import array_texts

# The names of dask that other finders need, from the one module that knows them.
__all__ = ["Task", "TaskRef", "Traversal", "traversal_of"]

_PLAIN: Final[tuple[type, ...]] = (
    bytes,
    bytearray,
    int,
    float,
    complex,
    NoneType,
    type(...),
    slice,
    range,
    type,
    ModuleType,
    BuiltinFunctionType,
    date,
    timedelta,
    tzinfo,
    enum.Enum,
    np.ndarray,
    np.generic,
    np.dtype,
    # Names of other tasks, which are looked at by themselves.
    Alias,
    TaskRef,
)
# Packages whose objects hold plain data, or lead to the whole of a process, such
# as a lock to its loop, or to thousands of objects, such as a compiled function.
_OPAQUE: Final = frozenset(
    """_thread _weakref aiobotocore aiohttp asyncio botocore cftime concurrent llvmlite logging
    multiprocessing numba numcodecs numpy pandas random re socket ssl threading tornado
    weakref""".split()
)
# Packages whose objects a finder may know, and nobody looks into: a Future leads
# to its Client.
_CLOSED: Final = frozenset("distributed h5py netCDF4 pyarrow rasterio".split())

# Tasks of one function have as many arguments as one another; what has more is a list of keys.
_FEW_FIELDS: Final = 8

_Children: TypeAlias = Callable[[Any], Iterable[object]]
_Spread: TypeAlias = Callable[[Sequence[Any]], Iterable[Sequence[object]]]


class Traversal(NamedTuple):
    """How to look into the objects of one type."""

    #: What one of them holds.
    children: _Children
    #: What many of them hold but plain data, in groups of what is likely to be of one
    #: type, and by the interpreter's own loops. None for all but the types that a
    #: graph holds by the million.
    spread: _Spread | None = None
    #: Whether to keep what was found; not worth it for tasks and tuples.
    remembered: bool = True
    #: Whether the finders are to be asked first.
    stranger: bool = False
    #: Whether it is a text or a path, which may name a store.
    names: bool = False


def _choose(kind: type[Any]) -> Traversal | None:
    if issubclass(kind, str | PurePath) and not issubclass(kind, enum.Enum):
        return Traversal(_nothing, remembered=False, names=True)
    if kind is np.ndarray:
        return Traversal(array_texts, spread=_spread_arrays, remembered=False)
    if kind is np.memmap:
        return Traversal(_nothing, stranger=True)
    package = kind.__module__.partition(".")[0]
    if package == "distributed" and kind.__name__ == "Future":
        # A reference to its own key, too; a finder knows whose it is.
        return Traversal(_nothing, stranger=True)
    if issubclass(kind, _PLAIN) or package in _OPAQUE or package.startswith("_cython"):
        return None
    if package in _CLOSED:
        return Traversal(_nothing, stranger=True)
    if kind in _CHILDREN:
        return Traversal(_CHILDREN[kind], spread=_SPREAD.get(kind), remembered=kind is not tuple)
    if issubclass(kind, Task):
        return Traversal(_task, spread=_spread_tasks, remembered=False)
    for parent in kind.__mro__:
        if parent in _CHILDREN:
            return Traversal(_CHILDREN[parent], stranger=True)
    slots = tuple(
        descriptor
        for parent in kind.__mro__
        for descriptor in vars(parent).values()
        if type(descriptor) is _SLOT
    )
    return Traversal(partial(_attributes, slots=slots), stranger=True)


#: Chooses how to look into objects of a type; None if there is nothing to see.
traversal_of: Final = cast(
    Callable[[type[Any]], Traversal | None], lru_cache(maxsize=4096)(_choose)
)


class _Slotted:
    __slots__ = ("slot",)


_SLOT: Final = type(vars(_Slotted)["slot"])
_FUNC: Final = attrgetter("func")
_ARGS: Final = attrgetter("args")
_KWARGS: Final = attrgetter("kwargs")
_VALUE: Final = attrgetter("value")
_DTYPE: Final = attrgetter("dtype")
_FIELDS: Final = attrgetter("fields")


def _nothing(obj: object) -> Iterable[object]:
    return ()


def _task(task: Task) -> Iterable[object]:
    # Not all attributes: a task also holds the keys of everything that it needs.
    return (task.func, *task.args, *task.kwargs.values())


def _node(node: DataNode) -> Iterable[object]:
    return (node.value,)


def _items(container: Iterable[object]) -> Iterable[object]:
    return container


def _values(mapping: Mapping[object, object]) -> Iterable[object]:
    return list(mapping.values())


def _partial(call: partial[Any]) -> Iterable[object]:
    return (call.func, call.args, call.keywords)


def _method(method: MethodType) -> Iterable[object]:
    return (method.__func__, method.__self__)


def _function(function: FunctionType) -> Iterable[object]:
    yield function.__defaults__
    yield function.__kwdefaults__
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # A name that the enclosing function has not set yet.
            continue


def _attributes(obj: object, *, slots: tuple[Any, ...]) -> Iterable[object]:
    # Never getattr: a property may compute, open or connect.
    try:
        state = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        state = {}
    yield from list(state.values())
    for slot in slots:
        try:
            yield slot.__get__(obj)
        except AttributeError:  # Not set.
            continue


def _spread_tasks(tasks: Sequence[Any]) -> Iterator[Sequence[object]]:
    yield list(map(_FUNC, tasks))
    yield from _spread(list(map(_ARGS, tasks)))
    yield from _spread_mappings(list(filter(None, map(_KWARGS, tasks))))


def _spread_arrays(arrays: Sequence[Any]) -> Iterator[Sequence[object]]:
    if any(map(_FIELDS, map(_DTYPE, arrays))):
        yield list(chain.from_iterable(map(array_texts, arrays)))


def _spread_nodes(nodes: Sequence[Any]) -> Iterator[Sequence[object]]:
    yield list(map(_VALUE, nodes))


def _spread_mappings(mappings: Sequence[Any]) -> Iterator[Sequence[object]]:
    return _spread(list(map(dict.values, mappings)))


def _spread(containers: Sequence[Any]) -> Iterator[Sequence[object]]:
    if not containers:
        return
    # As the first is, so are most: keys hold plain data, tasks do not.
    if not _holds_more(containers[0]) and not _holds_more(chain.from_iterable(containers)):
        return
    if len(containers[0]) <= _FEW_FIELDS:
        try:
            # The functions of all tasks, their first arguments, and so on.
            fields: list[tuple[object, ...]] = list(zip(*containers, strict=True))
        except ValueError:
            fields = [tuple(chain.from_iterable(containers))]  # Some are longer than others.
        yield from fields
    else:
        yield list(chain.from_iterable(containers))


def _holds_more(objects: Iterable[object]) -> bool:
    return any(map(traversal_of, set(map(type, objects))))


_CHILDREN: Final[dict[type, _Children]] = {
    dict: _values,
    MappingProxyType: _values,
    list: _items,
    tuple: _items,
    set: _items,
    frozenset: _items,
    deque: _items,
    partial: _partial,
    MethodType: _method,
    FunctionType: _function,
    DataNode: _node,
}
_SPREAD: Final[dict[type, _Spread]] = {
    dict: _spread_mappings,
    list: _spread,
    tuple: _spread,
    set: _spread,
    frozenset: _spread,
    DataNode: _spread_nodes,
}
