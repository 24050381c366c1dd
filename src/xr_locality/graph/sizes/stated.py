"""What layers state of their blocks, and whether that fits what blocks are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dask.highlevelgraph import Layer

from xr_locality.graph.sizes.blocks import Blocks, Length, of_chunks
from xr_locality.graph.sizes.descriptions import (
    Description,
    Known,
    Shaped,
    Unknown,
    describe,
    leaves,
    map_leaves,
)

__all__ = ["fitted", "same_bytes", "stated"]


#: Packages whose arrays hold each item in its place, and what functions return that
#: return several arrays.
_DENSE = frozenset({"cupy", "numpy", "tuple"})


def stated(layer: Layer) -> Blocks | Unknown:
    """Read what a layer states of its blocks, which may be a hint only.

    Returns
    -------
    Blocks or Unknown
        With an empty reason where it states nothing.
    """
    annotations = layer.collection_annotations or {}
    chunks, dtype = annotations.get("chunks"), annotations.get("dtype")
    if chunks is None or dtype is None:
        return Unknown(reason="")
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        return Unknown(reason="its values are Python objects")
    if any(math.isnan(sum(lengths)) for lengths in chunks):
        return Unknown(reason="it has chunks of unknown length")
    kind = str(annotations.get("chunk_type", "numpy.ndarray"))
    blocks = of_chunks(chunks, dtype, masked=kind.endswith("MaskedArray"))
    if kind.partition(".")[0] in _DENSE:
        return blocks
    return replace(blocks, guess=f"its chunks are of type {kind}")


def fitted(blocks: Blocks, samples: Sequence[tuple[tuple[int, ...], Description]]) -> Blocks | None:
    """Fit what a layer states to what some of its blocks are.

    Parameters
    ----------
    blocks : Blocks
        Of one array, as the layer states them.
    samples : sequence of (index, Description)
        Some of its blocks.

    Returns
    -------
    Blocks or None
        Of the samples' structure: each array has the stated lengths, and perhaps
        further axes that are the same in all samples. None where they disagree.
    """
    statement = blocks.pattern.shape
    dims = len(statement)
    expected = [tuple(length.at(index) for length in statement) for index, _ in samples]

    def fit(*each: Any) -> Any:
        arrays = [_as_array(leaf) for leaf in each]
        first = arrays[0]
        for array, lengths in zip(arrays, expected, strict=True):
            if not isinstance(first, Shaped) or not isinstance(array, Shaped):
                raise ValueError("values that are not arrays")
            if (array.dtype, array.shape[dims:]) != (first.dtype, first.shape[dims:]):
                raise ValueError("arrays that differ")
            if array.shape[:dims] != lengths:
                raise ValueError("lengths that are not those stated")
        return replace(
            first,
            shape=(*statement, *(Length(constant=length) for length in first.shape[dims:])),
            masked=blocks.pattern.masked or any(array.masked for array in arrays),
            at_most=any(array.at_most for array in arrays),
        )

    try:
        pattern = map_leaves(fit, *[description for _, description in samples])
    except ValueError:
        return None
    return replace(blocks, pattern=pattern)


def same_bytes(left: Description, right: Description) -> bool:
    """Whether two descriptions are of one structure and of the same bytes."""
    try:
        pairs = map_leaves(lambda *each: Known(value=_equal(*each)), left, right)
    except ValueError:
        return False
    return all(leaf.value for leaf in leaves(pairs))


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return False
    return bool(left.nbytes == right.nbytes)


def _as_array(leaf: Any) -> Any:
    """Describe a value at hand as other arrays are."""
    return describe(leaf.value) if isinstance(leaf, Known) else leaf
