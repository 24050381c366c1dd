"""Descriptions of values: what decides their bytes, without the values.

A description has the structure of the value, as a reduction's partial is a
dict of arrays and ``qr`` returns a tuple of two, and says of each array its
shape and dtype.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from dask.utils import is_namedtuple_instance

__all__ = [
    "Description",
    "Known",
    "Packed",
    "Shaped",
    "Unknown",
    "build",
    "describe",
    "hold",
    "is_unknown",
    "leaves",
    "map_leaves",
    "measure",
    "nbytes_of",
]

#: Items of a long list that are measured; the others are taken to be like them.
_MEASURED_ITEMS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """An array.

    Attributes
    ----------
    shape : tuple
        Its lengths, in items. In patterns of many values, what stands for a length.
    dtype : dtype
        Of its items; without Python objects.
    masked : bool
        Whether it has a mask, of a byte an item.
    at_most : bool
        Whether its lengths depend on values, and are the most that they can be.
    """

    shape: tuple[Any, ...]
    dtype: np.dtype[Any]
    masked: bool = False
    at_most: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of one item and its mask."""
        return int(self.dtype.itemsize) + self.masked

    @property
    def nbytes(self) -> int:
        """Bytes of an array whose lengths are numbers."""
        return int(math.prod(self.shape)) * self.itemsize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A value that is at hand, as the graph holds it."""

    value: Any

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return measure(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A value of which nothing is known, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An object that holds nothing but arrays, as flox's partials of a variance are.

    Attributes
    ----------
    kind : type
        Of the object; makes it of its arrays.
    items : tuple of Description
        The arrays.
    """

    kind: Any
    items: tuple[Any, ...]


#: Types of such objects, by module and name, with the attribute that holds the arrays.
_PACKED: Final = {"flox.multiarray.MultiArray": "arrays"}

#: A :class:`Shaped`, :class:`Known` or :class:`Unknown`, or a dict, list, tuple or
#: :class:`Packed` of descriptions.
Description: TypeAlias = Any


def describe(value: Any) -> Description:
    """Describe a value that some function returned.

    Arrays of Python objects are unknown, and so is what is neither an array, a
    number nor a container of them.
    """
    if isinstance(value, dict):
        return {name: describe(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return _like(value, [describe(each) for each in value])
    if (items := _packed_items(value)) is not None:
        return Packed(kind=type(value), items=tuple(describe(each) for each in items))
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            return Unknown(reason="its values are Python objects")
        masked = isinstance(value, np.ma.MaskedArray) and value.mask is not np.ma.nomask
        return Shaped(shape=value.shape, dtype=value.dtype, masked=masked)
    if isinstance(value, bool | int | float | complex | str | bytes | slice | type(None) | range):
        return Known(value=value)
    return Unknown(reason=f"it is a {type(value).__name__}")


def hold(value: Any) -> Description:
    """Describe a value by itself, but for containers."""
    if isinstance(value, dict):
        return {name: hold(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return _like(value, [hold(each) for each in value])
    if (items := _packed_items(value)) is not None:
        return Packed(kind=type(value), items=tuple(hold(each) for each in items))
    return Known(value=value)


def build(description: Description) -> Any:
    """Make the objects that packed arrays stand for."""
    if isinstance(description, dict):
        return {name: build(each) for name, each in description.items()}
    if isinstance(description, Packed):
        return description.kind(tuple(build(each) for each in description.items))
    if isinstance(description, list | tuple):
        return _like(description, [build(each) for each in description])
    return description


def leaves(description: Description) -> Iterator[Any]:
    """List what a description says of arrays and other single values."""
    if isinstance(description, dict):
        for each in description.values():
            yield from leaves(each)
    elif isinstance(description, list | tuple | Packed):
        for each in description.items if isinstance(description, Packed) else description:
            yield from leaves(each)
    else:
        yield description


def is_unknown(description: Description) -> bool:
    """Whether something in a value is unknown."""
    return any(isinstance(leaf, Unknown) for leaf in leaves(description))


def map_leaves(change: Callable[..., Any], *descriptions: Description) -> Description:
    """Change the leaves of descriptions of one structure into one.

    Raises
    ------
    ValueError
        If their structures differ.
    """
    first = descriptions[0]
    if not all(_same_structure(first, each) for each in descriptions):
        raise ValueError("The values differ in their structure.")
    if isinstance(first, dict):
        return {name: map_leaves(change, *[each[name] for each in descriptions]) for name in first}
    if isinstance(first, Packed):
        items = map_leaves(change, *[each.items for each in descriptions])
        return Packed(kind=first.kind, items=items)
    if isinstance(first, list | tuple):
        return _like(first, [map_leaves(change, *each) for each in zip(*descriptions, strict=True)])
    return change(*descriptions)


def _same_structure(left: Description, right: Description) -> bool:
    """Whether two descriptions are containers of the same kind, or both single values."""
    if isinstance(left, dict):
        return isinstance(right, dict) and list(left) == list(right)
    if isinstance(left, Packed):
        return isinstance(right, Packed) and left.kind is right.kind
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right)
    return not isinstance(right, dict | list | tuple | Packed)


def nbytes_of(description: Description) -> int | Unknown:
    """Sum the bytes of a described value; what makes them unknown, if something does."""
    total = 0
    for leaf in leaves(description):
        if isinstance(leaf, Unknown):
            return leaf
        total += leaf.nbytes
    return total


def measure(value: Any) -> int:
    """Measure a value that is at hand, in bytes.

    Handles of stored arrays count with their own size, not with that of the data.
    """
    if isinstance(value, dict):
        return _measure_all(list(value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return _measure_all(list(value))
    if isinstance(value, bool | int | float | complex | slice | np.generic | type(None)):
        return int(np.asarray(value).nbytes)
    if isinstance(value, str | bytes):
        return len(value)
    if (items := _packed_items(value)) is not None:
        return _measure_all(list(items))
    nbytes = getattr(value, "nbytes", None)
    if isinstance(nbytes, int | np.integer) and hasattr(value, "__array_ufunc__"):
        mask = getattr(value, "mask", np.ma.nomask) if isinstance(value, np.ma.MaskedArray) else 0
        return int(nbytes) + int(getattr(mask, "nbytes", 0) if mask is not np.ma.nomask else 0)
    if isinstance(nbytes, int | np.integer) and "Pandas" in type(value).__name__:
        # What xarray wraps an index in.
        return int(nbytes)
    usage = getattr(value, "memory_usage", None)
    if callable(usage) and type(value).__module__.partition(".")[0] == "pandas":
        return int(np.sum(usage(deep=True)))
    return sys.getsizeof(value)


def _measure_all(values: list[Any]) -> int:
    measured = sum(map(measure, values[:_MEASURED_ITEMS]))
    return measured * len(values) // min(len(values), _MEASURED_ITEMS) if values else 0


def _packed_items(value: Any) -> Any:
    kind = type(value)
    attribute = _PACKED.get(f"{kind.__module__}.{kind.__qualname__}")
    return None if attribute is None else getattr(value, attribute)


def _like(original: Any, items: list[Any]) -> Any:
    """Make a list, tuple or named tuple like another."""
    if is_namedtuple_instance(original):
        return type(original)(*items)
    return tuple(items) if isinstance(original, tuple) else items
