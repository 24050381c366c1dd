"""Estimate the bytes of each key's value, and say how sure we are.

What a layer's ``collection_annotations`` say is true for arrays that a user can
hold, and a hint for what lies between: a reduction's partials carry the chunks
of its input. So a rule for reductions comes first, then the annotations, and
what is left is a stated guess, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask._task_spec import Alias, Task, TaskRef
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer
from dask.typing import Key
from dask.utils import funcname

from xr_locality.graph import view
from xr_locality.graph.collections import Part

__all__ = ["GUESSED_NBYTES", "Size", "SizeEstimator"]

#: Bytes assumed for a value of which nothing is known: one page of a small array.
GUESSED_NBYTES = 1_000_000

#: Bytes of what a task says that has written a chunk.
_WRITTEN_NBYTES = 4

#: Arrays that one partial of a reduction holds: ``mean`` keeps a sum and a count.
_FIELDS = {
    "mean_chunk": 2,
    "mean_combine": 2,
    "moment_chunk": 3,
    "moment_combine": 3,
    "arg_chunk": 2,
    "arg_combine": 2,
}


@dataclass(frozen=True, slots=True)
class Size:
    """Estimated bytes of one value; ``guess`` says why when it is only a guess."""

    nbytes: int
    guess: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Estimated bytes of several values."""

    nbytes: Any
    guessed: Any
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunks:
    """Bytes of an array layer's blocks, by block index."""

    chunks: tuple[tuple[float, ...], ...]
    itemsize: int
    #: Axes that each block has reduced to length 1.
    reduced: frozenset[int] = frozenset()
    fields: int = 1

    def shape(self, index: tuple[Any, ...]) -> tuple[float, ...]:
        """Shape of one block; lengths that are not known are nan."""
        return tuple(
            1 if axis in self.reduced else lengths[block]
            for axis, (block, lengths) in enumerate(zip(index, self.chunks, strict=True))
        )

    def of(self, index: tuple[Any, ...]) -> float:
        """Bytes of one block."""
        return math.prod(self.shape(index)) * self.itemsize * self.fields


@dataclass(slots=True)
class SizeEstimator:
    """Estimates the bytes of any key of a graph.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    parts : tuple of Part
        The collections computed: the chunks that a collection states are exact.
    """

    graph: HighLevelGraph
    parts: tuple[Part, ...]
    _layers: dict[str, _Chunks | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in self.parts:
            chunks, dtype = getattr(part.collection, "chunks", None), _dtype(part.collection)
            if chunks is not None and dtype is not None:
                self._layers[part.collection.name] = _Chunks(chunks=chunks, itemsize=dtype.itemsize)

    def of(self, layer: str, key: Key, value: object = None) -> Size:
        """Estimate one key's value.

        Parameters
        ----------
        layer : str
            Name of the layer that makes the key.
        key : key
            The key.
        value : object, optional
            The value itself where the graph holds it: an array's size is exact.
        """
        nbytes = getattr(value, "nbytes", None)
        if isinstance(nbytes, int):
            return Size(max(nbytes, 1))
        if view.writes(self.graph.layers[layer]):
            return Size(_WRITTEN_NBYTES)
        known = self._known(layer)
        if isinstance(known, str):
            return Size(GUESSED_NBYTES, known)
        if isinstance(key, tuple) and key[0] == layer and len(key) - 1 == len(known.chunks):
            return _size_of_block(layer, key, known)
        return self._size_of_piece(layer, key, known)

    def of_keys(self, layer: str, keys: Any) -> Sizes:
        """Estimate several keys' values."""
        sizes = [self.of(layer, key) for key in keys]
        guessed = np.array([each.guess is not None for each in sizes], dtype=bool)
        why = next((each.guess for each in sizes if each.guess), None)
        return Sizes(
            nbytes=np.array([each.nbytes for each in sizes], dtype=np.int64),
            guessed=guessed if guessed.any() else None,
            why=why,
        )

    def of_blocks(self, layer: str, indices: Any) -> Sizes:
        """Estimate several blocks."""
        return self.of_keys(layer, [(layer, *each) for each in indices.tolist()])

    def _known(self, layer: str) -> _Chunks | str:
        if layer not in self._layers:
            self._layers[layer] = _describe(self.graph.layers[layer])
        return self._layers[layer]

    def _size_of_piece(self, layer: str, key: Key, known: _Chunks) -> Size:
        """Estimate what rechunking and overlapping cut out of a block."""
        shape = self._shape_of_piece(self.graph.layers[layer].get(key))
        if shape is not None and not any(map(math.isnan, shape)):
            return Size(max(int(math.prod(shape)) * known.itemsize, 1))
        mean = known.of((0,) * len(known.chunks)) if known.chunks else GUESSED_NBYTES
        nbytes = GUESSED_NBYTES if math.isnan(mean) else max(int(mean), 1)
        return Size(nbytes, f"layer {layer!r} cuts pieces of a size that it does not state")

    def _shape_of_piece(self, task: object) -> tuple[float, ...] | None:
        """Shape of what a task slices out of a block, or of the block that it names."""
        match task:
            case Task(func=function, args=(TaskRef(key=source), tuple(index))):
                pass
            case Alias(target=source):
                return self._shape_of(source)
            case (function, tuple(source), tuple(index)) if callable(function):
                pass
            case (str(), *_):
                return self._shape_of(task)  # type: ignore[arg-type]
            case _:
                return None
        shape = self._shape_of(source)
        if shape is None or funcname(function) != "getitem":
            return None
        return _sliced(shape, index)

    def _shape_of(self, key: Key) -> tuple[float, ...] | None:
        name = key[0] if isinstance(key, tuple) else None
        if not isinstance(name, str) or not isinstance(key, tuple):
            return None
        known = self._known(name) if name in self.graph.layers else None
        if not isinstance(known, _Chunks) or len(known.chunks) != len(key) - 1:
            return None
        return known.shape(key[1:])


def _size_of_block(layer: str, key: tuple[Any, ...], known: _Chunks) -> Size:
    try:
        nbytes = known.of(key[1:])
    except (IndexError, TypeError):
        return Size(GUESSED_NBYTES, f"layer {layer!r} makes more blocks than it states")
    if math.isnan(nbytes):
        return Size(GUESSED_NBYTES, f"layer {layer!r} has chunks of unknown length")
    return Size(max(int(nbytes), 1))


def _sliced(shape: tuple[float, ...], index: tuple[Any, ...]) -> tuple[float, ...] | None:
    """Lengths of what slices cut out of a block; None where that is not known."""
    if len(index) != len(shape) or any(math.isnan(length) for length in shape):
        return None
    if not all(isinstance(each, slice) for each in index):
        return None
    return tuple(
        len(range(*each.indices(int(length)))) for each, length in zip(index, shape, strict=True)
    )


def _describe(layer: Layer) -> _Chunks | str:
    """Describe the blocks of an array layer, or say why that cannot be."""
    stated = layer.collection_annotations or {}
    chunks, dtype = stated.get("chunks"), stated.get("dtype")
    if chunks is None or dtype is None:
        return "its layer states neither chunks nor a dtype"
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        return "its values are Python objects"
    reduced, fields = _reduction(layer)
    return _Chunks(
        chunks=tuple(chunks),
        itemsize=dtype.itemsize,
        reduced=frozenset(axis % len(chunks) for axis in reduced if chunks),
        fields=fields,
    )


def _reduction(layer: Layer) -> tuple[tuple[int, ...], int]:
    """Find the axes that a reduction's partials have reduced, and their fields."""
    function, keywords = _function_of(layer)
    if function is None or keywords.get("keepdims") is not True:
        return (), 1
    axis = keywords.get("axis")
    axes = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    return tuple(int(each) for each in axes), _FIELDS.get(funcname(function), 1)


def _function_of(layer: Layer) -> tuple[Any, Mapping[str, Any]]:
    """Get the function that a layer's tasks call, with its keyword arguments."""
    function: Any
    if isinstance(layer, Blockwise):
        function, keywords = layer.task.func, dict(layer.task.kwargs)
        for argument in layer.task.args:
            if callable(argument):
                function = argument
    else:
        task = next(iter(layer.values()), None)
        function = task[0] if isinstance(task, tuple) and task else getattr(task, "func", None)
        keywords = dict(getattr(task, "kwargs", None) or {})
    while hasattr(function, "func") and hasattr(function, "keywords"):
        keywords = {**function.keywords, **keywords}
        function = function.func
    return function, keywords


def _dtype(collection: Any) -> np.dtype[Any] | None:
    dtype = getattr(collection, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) and not dtype.hasobject else None
