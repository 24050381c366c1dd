"""Sizes of what some functions return, where running them on stand-ins cannot tell.

Where a literal is tied to the lengths of the real inputs, as a slice is, small
stand-ins lie. Each rule takes the descriptions of a call's arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
from dask.typing import Key

from xr_locality.compat.dask_graph import DataNode, GraphNode, NestedContainer, Task, TaskRef
from xr_locality.graph.sizes.calls import name_of, steps_of
from xr_locality.graph.sizes.descriptions import (
    Description,
    Known,
    Shaped,
    Unknown,
    describe,
    hold,
    leaves,
)

__all__ = ["has_rule", "is_as_stated", "piece_of_overlap", "rule_for"]

_Rule: TypeAlias = Callable[[list[Description], Mapping[str, Any]], Description]


def is_as_stated(function: Any) -> bool:
    """Whether a function's array is what its layer states, as an elementwise one's is."""
    return isinstance(function, np.ufunc) or name_of(function) in _AS_STATED


def has_rule(task: Task) -> bool:
    """Whether there is a rule for all that a task calls."""
    return all(name_of(function) in _RULES for function, _ in steps_of(task))


def rule_for(task: Task, inputs: Mapping[Key, Description]) -> Description | None:
    """Apply the rule for what a task calls; None where there is none.

    Parameters
    ----------
    task : Task
        Not a container.
    inputs : mapping to Description
        What it takes, by key.
    """
    steps = steps_of(task)
    if not has_rule(task):
        return None
    rules = [_RULES[name_of(function)] for function, _ in steps]
    arguments = [_argument(each, inputs) for each in task.args]
    for rule, (_, keywords) in zip(rules, steps, strict=True):
        result = rule(arguments, keywords)
        if result is None:
            return None
        arguments = [result]
    return arguments[0]


def _argument(item: Any, inputs: Mapping[Key, Description]) -> Description:
    """Describe an argument of a task."""
    if isinstance(item, TaskRef):
        return inputs[item.key]
    if isinstance(item, DataNode):
        return Known(value=item.value)
    if isinstance(item, NestedContainer):
        items = [_argument(each, inputs) for each in item.args]
        return items if item.klass is list else tuple(items) if item.klass is tuple else _OPAQUE
    if isinstance(item, Task):
        found = rule_for(item, inputs)
        return _OPAQUE if found is None else found
    if isinstance(item, GraphNode):
        (key,) = item.dependencies
        return inputs[key]
    return hold(item)


_OPAQUE: Final = Unknown(reason="it is made inside of a task")


def _value(item: Description) -> Any:
    """Get the value that a description of known values describes."""
    if isinstance(item, list | tuple):
        return type(item)(_value(each) for each in item)
    if isinstance(item, Known):
        return item.value
    raise LookupError


def _getitem(arguments: list[Description], _: Mapping[str, Any]) -> Description:
    """Take out of a container, or cut out of an array."""
    source, chosen = arguments[:2]
    try:
        index = _value(chosen)
        if isinstance(source, dict | list | tuple):
            return source[index]
        if isinstance(source, Known):
            # What a store's handle is asked for is read from it.
            return (
                Known(value=source.value[index]) if isinstance(source.value, np.ndarray) else None
            )
    except (LookupError, TypeError):
        return None
    if not isinstance(source, Shaped):
        return source
    return _cut(source, index)


def _get(arguments: list[Description], keywords: Mapping[str, Any]) -> Description:
    """Read a part of a store, whose handle knows its shape and dtype."""
    source = arguments[0]
    shape = getattr(source.value, "shape", None) if isinstance(source, Known) else None
    dtype = getattr(source.value, "dtype", None) if isinstance(source, Known) else None
    if isinstance(shape, tuple) and isinstance(dtype, np.dtype) and not dtype.hasobject:
        arguments = [Shaped(shape=shape, dtype=dtype), *arguments[1:]]
    return _getitem(arguments, keywords)


def _cut(source: Shaped, index: Any) -> Description:
    # Fields of structured arrays and views cost nothing; copies are made of single bytes.
    by_name = isinstance(index, str | list) and source.dtype.names is not None
    dtype = source.dtype if by_name else np.dtype("i1")
    try:
        cut = np.broadcast_to(np.zeros((), dtype), source.shape)[index]
    except (IndexError, TypeError, ValueError):
        return None
    if by_name:
        return replace(describe(cut), at_most=source.at_most)
    return replace(source, shape=cut.shape)


def _shuffled(arguments: list[Description], keywords: Mapping[str, Any]) -> Description:
    """Cut what goes to one block of a shuffled array: the index is the second of a pair."""
    source, pair = arguments[:2]
    if isinstance(pair, Known) and isinstance(pair.value, tuple):
        return _getitem([source, Known(value=pair.value[1])], keywords)
    return None


def _concatenated(arguments: list[Description], keywords: Mapping[str, Any]) -> Description:
    """Join nested lists of arrays along axes, as dask does before it combines partials."""
    return _join(arguments[0], tuple(keywords.get("axes") or ()))


def _join(arrays: Description, axes: tuple[int, ...]) -> Description:
    if not isinstance(arrays, list):
        return arrays
    if not axes:
        return arrays[0]
    parts = [_join(each, axes[1:]) for each in arrays] if len(axes) > 1 else arrays
    if not all(isinstance(each, Shaped) for each in parts):
        return None
    shape = list(parts[0].shape)
    if len({len(each.shape) for each in parts}) > 1 or axes[0] >= len(shape):
        return None
    shape[axes[0]] = sum(each.shape[axes[0]] for each in parts)
    dtype = np.result_type(*[each.dtype for each in parts])
    return Shaped(shape=tuple(shape), dtype=dtype, masked=any(each.masked for each in parts))


def _largest(arguments: list[Description], keywords: Mapping[str, Any]) -> Description:
    """Take the k largest along an axis: not more than there are."""
    source, k, axis = arguments[0], keywords.get("k"), keywords.get("axis")
    if len(arguments) > 1 and isinstance(arguments[1], Known):
        k = arguments[1].value
    axis = axis[0] if isinstance(axis, tuple | list) else axis
    if isinstance(source, Known | Unknown) or not isinstance(k, int) or not isinstance(axis, int):
        return None

    def cut(leaf: Any) -> Any:
        shape = list(leaf.shape)
        shape[axis] = min(shape[axis], abs(k))
        return replace(leaf, shape=tuple(shape))

    if isinstance(source, Shaped):
        return cut(source)
    found = list(leaves(source))
    if not isinstance(source, tuple) or not all(isinstance(each, Shaped) for each in found):
        return None
    # The values, and their places, which every block has for itself.
    first, places = found[0], found[1]
    cut_first = cut(first)
    return cut_first, Shaped(shape=cut_first.shape, dtype=places.dtype)


def _counts(arguments: list[Description], keywords: Mapping[str, Any]) -> Description:
    """Count labels: dask states lengths only where a minimum is given, and there it counts."""
    length = keywords.get("minlength", 0)
    weights = arguments[1] if len(arguments) > 1 else None
    dtype = np.dtype("f8" if isinstance(weights, Shaped) else "i8")
    return Shaped(shape=(length,), dtype=dtype) if length else None


def _container(arguments: list[Description], keywords: Mapping[str, Any]) -> Description:
    """Make a list or a tuple of values, as parts of legacy tasks do."""
    kind = keywords.get("typ", list)
    return kind(arguments) if kind in (list, tuple) else None


def _tuple(arguments: list[Description], _: Mapping[str, Any]) -> Description:
    """Make a tuple of a list."""
    return tuple(arguments[0]) if arguments and isinstance(arguments[0], list) else None


def _number(_: list[Description], __: Mapping[str, Any]) -> Description:
    """Return a number, as tasks of a peer-to-peer shuffle do."""
    return Known(value=0)


#: Functions whose arrays have the chunks and the dtype that their layers state.
_AS_STATED: Final = frozenset(
    [
        "dask.array.core.getter",
        "dask.array.core.getter_inline",
        "dask.array.core.getter_nofancy",
        "dask.array.chunk.astype",
        "dask.array.chunk.view",
        "dask.array.core.concatenate3",
        "dask.array.core.concatenate_axes",
        "dask.array.core.concatenate_shaped",
        "dask.array._shuffle.concatenate_arrays",
        "numpy.concatenate",
        "numpy.transpose",
        "numpy.broadcast_to",
        "dask.array.linalg._solve_triangular_lower",
        *(
            f"{module}.{name}"
            for module in ("operator", "_operator")
            for name in "abs add and_ eq floordiv ge gt inv invert le lshift lt mod mul ne neg "
            "not_ or_ pos pow rshift sub truediv xor".split()
        ),
    ]
)

_RULES: Final[Mapping[str, _Rule]] = {
    "_operator.getitem": _getitem,
    "operator.getitem": _getitem,
    "dask.array.chunk.getitem": _getitem,
    "dask.array._shuffle._getitem": _shuffled,
    "dask.array.core.getter": _get,
    "dask.array.core.getter_inline": _get,
    "dask.array.core.getter_nofancy": _get,
    "dask.array.core._concatenate2": _concatenated,
    "dask.array.chunk.topk": _largest,
    "dask.array.chunk.argtopk": _largest,
    "builtins.tuple": _tuple,
    "dask._task_spec._identity_cast": _container,
    "numpy.bincount": _counts,
    "distributed.shuffle._rechunk.rechunk_transfer": _number,
    "distributed.shuffle._shuffle.shuffle_transfer": _number,
    "distributed.shuffle._core.p2p_barrier": _number,
}


def piece_of_overlap(layer: Any, index: tuple[Any, ...], dtype: np.dtype[Any]) -> Description:
    """Describe what an overlapping layer cuts out of a neighbour, without making its tasks.

    Parameters
    ----------
    layer : ArrayOverlapLayer
        Pieces of its blocks are numbered ``n ± 0.1``: from before a block, or from behind.
    index : tuple of float
        The piece's.
    dtype : dtype
        Of the array.
    """
    shape = []
    for axis, place in enumerate(index):
        block = round(place)
        length = layer.chunks[axis][block]
        depth = layer.axes.get(axis, 0)
        before, behind = depth if isinstance(depth, tuple) else (depth, depth)
        if place != block:
            length = min(length, behind if place < block else before)
        if math.isnan(length):
            return Unknown(reason="its chunks are of unknown length")
        shape.append(int(length))
    return Shaped(shape=tuple(shape), dtype=dtype)
