"""Look through the objects of a dask graph for everything that reads from storage."""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta, tzinfo
from functools import lru_cache, partial
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
from dask._task_spec import Alias, Task, TaskRef

from xr_locality.regions.store import Store
from xr_locality.sources.base import Found, SourceFinder
from xr_locality.sources.finders import finders

__all__ = ["find_sources"]

logger = logging.getLogger(__name__)

# Far beyond any graph seen; they keep a strange object from being followed for ever.
_DEEPEST: Final = 100
_MOST_STRANGERS: Final = 100_000

_PLAIN: Final[tuple[type, ...]] = (
    str,
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
    PurePath,
    np.ndarray,
    np.generic,
    np.dtype,
    # Names of other tasks, which are looked at by themselves.
    Alias,
    TaskRef,
)
# Packages whose objects hold plain data, or lead to the whole of a process: a
# Future to its Client, a lock to its loop.
_OPAQUE: Final = frozenset(
    """_thread _weakref aiobotocore aiohttp asyncio botocore cftime concurrent distributed h5py
    logging multiprocessing netCDF4 numcodecs numpy pandas pyarrow random re socket ssl tornado
    threading weakref""".split()
)

_Children: TypeAlias = Callable[[Any], Iterable[object]]


def find_sources(objects: Iterable[object]) -> tuple[Found, ...]:
    """Find every storage location that some objects read from.

    Nothing is read and no network is contacted. The objects are looked through
    as they are: containers, dask's tasks, partials, closures, and whatever
    else holds other objects, until a registered finder knows one.

    Parameters
    ----------
    objects : iterable
        What a graph's layers hold: tasks, literal arguments, raw arrays.

    Returns
    -------
    tuple of Found
        One for each store, in the order first met.

    Examples
    --------
    >>> import zarr
    >>> array = zarr.create_array({}, name="tp", shape=(4,), dtype="f8")
    >>> [(found.detail, found.array_nbytes) for found in find_sources([{"a task": array}])]
    [("zarr array '/tp'", 32)]
    """
    walker = _Walker(finders())
    merged: dict[Store, Found] = {}
    for obj in objects:
        for found in walker.walk(obj):
            _merge(merged, found)
    return tuple(merged.values())


def _merge(merged: dict[Store, Found], found: Found) -> None:
    """Keep one of each store: the one of which more is known."""
    before = merged.setdefault(found.store, found)
    if before.array_nbytes is None and found.array_nbytes is not None:
        merged[found.store] = found


class _Walker:
    """One search: remembers what it has seen, so that cycles end and nothing is seen twice."""

    def __init__(self, finders: tuple[SourceFinder, ...]) -> None:
        self._finders = finders
        self._seen: dict[int, tuple[Found, ...]] = {}
        # What was seen is kept alive, so that no id is used again.
        self._kept: list[object] = []
        self._depth = 0
        self._strangers = 0
        self._stopped = False

    def walk(self, obj: object) -> tuple[Found, ...]:
        way = _way_into(type(obj))
        if way is None:
            return ()
        if not way.remembered:
            return self._inside(obj, way)
        if (known := self._seen.get(id(obj))) is not None:
            return known
        self._seen[id(obj)] = ()
        self._kept.append(obj)
        found = self._ask(obj) if way.stranger else None
        if found is None:
            found = self._inside(obj, way)
        if found:
            self._seen[id(obj)] = found
        return found

    def _ask(self, obj: object) -> tuple[Found, ...] | None:
        for finder in self._finders:
            if (found := finder.find(obj, self.walk)) is not None:
                return tuple(found)
        self._strangers += 1
        return None

    def _inside(self, obj: object, way: _Way) -> tuple[Found, ...]:
        inside = [child for child in way.children(obj) if _way_into(type(child)) is not None]
        if not inside:
            return ()
        if self._depth >= _DEEPEST or self._strangers >= _MOST_STRANGERS:
            if not self._stopped:
                logger.warning("Stopped looking for sources at an object of type %s", type(obj))
                self._stopped = True
            return ()
        merged: dict[Store, Found] = {}
        self._depth += 1
        try:
            for child in inside:
                for found in self.walk(child):
                    _merge(merged, found)
        finally:
            self._depth -= 1
        return tuple(merged.values())


class _Way(NamedTuple):
    """How to look into the objects of one type."""

    children: _Children
    #: Whether to keep the answer; not worth it for what a graph holds by the million.
    remembered: bool = True
    #: Whether the finders are to be asked first.
    stranger: bool = False


def _choose(kind: type[Any]) -> _Way | None:
    """Choose how to look into objects of a type; None if there is nothing to see."""
    if issubclass(kind, _PLAIN) or kind.__module__.partition(".")[0] in _OPAQUE:
        return None
    if kind in _CHILDREN:
        return _Way(_CHILDREN[kind], remembered=kind is not tuple)
    if issubclass(kind, Task):
        return _Way(_task, remembered=False)
    for parent in kind.__mro__:
        if parent in _CHILDREN:
            return _Way(_CHILDREN[parent], stranger=True)
    slots = tuple(
        descriptor
        for parent in kind.__mro__
        for descriptor in vars(parent).values()
        if type(descriptor) is _SLOT
    )
    return _Way(partial(_attributes, slots=slots), stranger=True)


_way_into: Final = cast(Callable[[type[Any]], _Way | None], lru_cache(maxsize=4096)(_choose))


class _Slotted:
    __slots__ = ("slot",)


_SLOT: Final = type(vars(_Slotted)["slot"])


def _task(task: Task) -> Iterable[object]:
    # Not all attributes: a task also holds the keys of everything that it needs.
    return (task.func, *task.args, *task.kwargs.values())


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
}
