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
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer
from dask.typing import Key
from dask.utils import funcname

from xr_locality.graph.collections import Part

__all__ = ["GUESSED_NBYTES", "Size", "SizeEstimator"]

#: Bytes assumed for a value of which nothing is known: one page of a small array.
GUESSED_NBYTES = 1_000_000

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
class _Chunks:
    """Bytes of an array layer's blocks, by block index."""

    chunks: tuple[tuple[float, ...], ...]
    itemsize: int
    #: Axes that each block has reduced to length 1.
    reduced: frozenset[int] = frozenset()
    fields: int = 1

    def of(self, index: tuple[Any, ...]) -> float:
        lengths = (
            1 if axis in self.reduced else lengths[block]
            for axis, (block, lengths) in enumerate(zip(index, self.chunks, strict=True))
        )
        return math.prod(lengths) * self.itemsize * self.fields


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
        known = self._layers.get(layer)
        if known is None:
            known = self._layers[layer] = _describe(self.graph.layers[layer])
        if isinstance(known, str):
            return Size(GUESSED_NBYTES, known)
        return _size_of_block(layer, key, known)


def _size_of_block(layer: str, key: Key, known: _Chunks) -> Size:
    if not isinstance(key, tuple) or key[0] != layer or len(key) - 1 != len(known.chunks):
        # Intermediate keys of a rechunk, for example: pieces of the layer's blocks.
        mean = known.of((0,) * len(known.chunks)) if known.chunks else GUESSED_NBYTES
        nbytes = GUESSED_NBYTES if math.isnan(mean) else max(int(mean), 1)
        return Size(nbytes, f"{key!r} is a piece of an array whose size is not stated")
    try:
        nbytes_exact = known.of(key[1:])
    except (IndexError, TypeError):
        return Size(GUESSED_NBYTES, f"{key!r} lies outside the chunks that its layer states")
    if math.isnan(nbytes_exact):
        return Size(GUESSED_NBYTES, f"layer {layer!r} has chunks of unknown length")
    return Size(max(int(nbytes_exact), 1))


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
