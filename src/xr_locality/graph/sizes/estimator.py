"""Estimate the bytes of each key's value, and say how sure we are.

Values at hand are measured; others are described by what their layers state, by
rules and by trying functions on small stand-ins (:mod:`describe`); what is left
is a stated guess, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer
from dask.typing import Key
from dask.utils import parse_bytes
from numpy.typing import NDArray

from xr_locality.compat.dask_expressions import meta_of, node_metas
from xr_locality.config import TrialFunctions
from xr_locality.graph.collections import Part, has_expression
from xr_locality.graph.layer_keys import key_name
from xr_locality.graph.layers import is_symbolic, writes_chunks
from xr_locality.graph.overlap import Overlap
from xr_locality.graph.sizes.blocks import Blocks, of_chunks
from xr_locality.graph.sizes.descriptions import (
    Description,
    Shaped,
    Unknown,
    leaves,
    measure,
    nbytes_of,
)
from xr_locality.graph.sizes.inference import Describer
from xr_locality.graph.sizes.stated import stated

__all__ = ["ANNOTATION", "GUESSED_NBYTES", "Size", "SizeEstimator", "Sizes"]

#: Bytes assumed for a value of which nothing is known: one page of a small array.
GUESSED_NBYTES: Final = 1_000_000

#: Name under which ``dask.annotate`` says the bytes of each value of a layer.
ANNOTATION: Final = "locality_nbytes"

#: Bytes of what a task says that has written a chunk.
_WRITTEN_NBYTES: Final = 4

_ADVICE: Final = f"; dask.annotate({ANNOTATION}=...) says better"


@dataclass(frozen=True, slots=True)
class Size:
    """Estimated bytes of one value; ``guess`` says why when it is only a guess."""

    nbytes: int
    guess: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Estimated bytes of several values.

    Attributes
    ----------
    nbytes : ndarray of int, shape (n,)
        At least 1.
    guessed : ndarray of bool, shape (n,), or None
        Which are only a guess; None where none is.
    why : str or None
        Why those are guessed, in the words of :attr:`Size.guess`; of several
        reasons, the first.
    """

    nbytes: NDArray[np.int64]
    guessed: NDArray[np.bool_] | None
    why: str | None


@dataclass(slots=True)
class SizeEstimator:
    """Estimates the bytes of any key of a graph.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    parts : tuple of Part
        The collections computed: the chunks that a collection states are exact.
    trials : {"known", "all", "never"}
        Whose functions may be tried on small arrays.

    Notes
    -----
    A user says better with ``dask.annotate(locality_nbytes=...)`` around what makes
    the layer: bytes of each of its values, as an int, as text (``"10 MB"``), or as a
    function of the key.
    """

    graph: HighLevelGraph
    parts: tuple[Part, ...]
    trials: TrialFunctions = "known"
    _describer: Describer = field(init=False)
    #: Bytes of single values by the first word of their keys: what DataFrames are reduced to.
    _scalars: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in self.parts:
            if has_expression(part.collection):
                self._scalars |= _scalars(part.collection.expr)
        results: dict[str, Blocks] = {}
        for part in self.parts:
            chunks, dtype = getattr(part.collection, "chunks", None), _dtype(part.collection)
            if chunks is None or dtype is None or np.isnan(sum(map(sum, chunks))):
                continue
            meta = meta_of(part.collection)
            masked = isinstance(meta, np.ma.MaskedArray)
            results[part.collection.name] = of_chunks(chunks, dtype, masked=masked)
        self._describer = Describer(self.graph, results, self.trials)

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
        if isinstance(getattr(value, "nbytes", None), int):
            return Size(max(measure(value), 1))
        said = self._said(layer)
        if said is not None:
            return Size(said(key))
        if self._scalars and (nbytes := self._scalars.get(key_name(key))) is not None:
            return Size(nbytes)
        return self._size(layer, self._describer.key(layer, key))

    def of_keys(self, layer: str, keys: Sequence[Key]) -> Sizes:
        """Estimate the values of several keys of a layer.

        Parameters
        ----------
        layer : str
            Name of the layer that makes the keys.
        keys : sequence of key, length n
            The keys.
        """
        known = self._describer.layer(layer)
        if (
            self._said(layer) is None
            and isinstance(known, Blocks)
            and all(
                isinstance(key, tuple) and key[0] == layer and known.holds(key[1:]) for key in keys
            )
        ):
            indices = np.array([key[1:] for key in keys], dtype=np.intp)  # type: ignore[index]
            return self.of_blocks(layer, indices.reshape(len(keys), len(known.numblocks)))
        sizes = [self.of(layer, key) for key in keys]
        guessed = np.array([size.guess is not None for size in sizes], dtype=bool)
        return Sizes(
            nbytes=np.array([size.nbytes for size in sizes], dtype=np.int64),
            guessed=guessed if guessed.any() else None,
            why=next((size.guess for size in sizes if size.guess is not None), None),
        )

    def of_blocks(self, layer: str, indices: NDArray[np.intp]) -> Sizes:
        """Estimate the values of several blocks of an array layer.

        Parameters
        ----------
        layer : str
            Its name; the keys are ``(layer, *index)``.
        indices : ndarray of int, shape (n, ndim)
            Of the blocks.
        """
        said, known = self._said(layer), self._describer.layer(layer)
        if said is not None or known is None:
            return self.of_keys(layer, [(layer, *index) for index in indices.tolist()])
        guess = self._guess(layer, known.pattern)
        return Sizes(
            nbytes=np.maximum(known.nbytes(indices), 1),
            guessed=None if guess is None else np.ones(len(indices), dtype=bool),
            why=guess,
        )

    def of_overlap(self, layer: str, overlap: Overlap, positions: NDArray[np.intp]) -> Sizes:
        """Estimate the values of several tasks of an overlapping layer.

        Parameters
        ----------
        layer : str
            Its name.
        overlap : Overlap
            The rule that it follows.
        positions : ndarray of int, shape (n,)
            Of the tasks, ascending.
        """
        chunks: Any = self.graph.layers[layer].chunks  # type: ignore[attr-defined]
        known = self._describer.layer(layer)
        if (
            self._said(layer) is not None
            or known is None
            or not isinstance(known.pattern, Shaped)
            or layer != overlap.blocks
            or np.isnan([length for lengths in chunks for length in lengths]).any()
        ):
            return self.of_keys(layer, overlap.keys_at(positions))
        cut = int(np.searchsorted(positions, overlap.n_pieces))
        grid = np.unravel_index(positions[:cut], overlap.grid)
        pieces = np.full(cut, known.pattern.dtype.itemsize, dtype=np.int64)
        for axis, along in enumerate(grid):
            pieces *= overlap.lengths(axis, np.asarray(chunks[axis], dtype=np.int64))[along]
        blocks = np.unravel_index(positions[cut:] - overlap.n_pieces, overlap.counts)
        joined = self.of_blocks(layer, np.stack(blocks, axis=-1))
        guess = self._guess(layer, known.pattern)
        return Sizes(
            nbytes=np.concatenate([np.maximum(pieces, 1), joined.nbytes]),
            guessed=None if guess is None else np.ones(len(positions), dtype=bool),
            why=guess,
        )

    def total(self, layer: str) -> Size:
        """Sum the bytes of all of a layer's blocks, without going through them where it can.

        Layers whose tasks have to be looked at one by one are; symbolic ones of which
        nothing is known count as one guessed value.
        """
        said, known = self._said(layer), self._describer.layer(layer)
        if said is None and known is not None:
            return Size(max(known.total(), 1), self._guess(layer, known.pattern))
        here = self.graph.layers[layer]
        if is_symbolic(here) and not isinstance(here, Blockwise):
            return self._size(layer, _NOTHING)
        keys = here.get_output_keys() if isinstance(here, Blockwise) else here
        sizes = self.of_keys(layer, sorted(keys, key=repr))
        return Size(max(int(sizes.nbytes.sum()), 1), sizes.why)

    def _said(self, layer: str) -> Callable[[Key], int] | None:
        """Get the bytes that a layer's annotations give to each key, if they do."""
        here = self.graph.layers[layer]
        said = (here.annotations or {}).get(ANNOTATION)
        if said is None:
            return (lambda _: _WRITTEN_NBYTES) if writes_chunks(here) else None
        if callable(said):
            return lambda key: max(int(parse_bytes(said(key))), 1)
        nbytes = max(int(parse_bytes(said)), 1)
        return lambda _: nbytes

    def _size(self, layer: str, description: Description) -> Size:
        nbytes = nbytes_of(description)
        if not isinstance(nbytes, Unknown):
            return Size(max(nbytes, 1), self._guess(layer, description))
        known = self._describer.layer(layer)
        # Of pieces that a layer cuts: as if each were a block.
        of_block = known.total() // max(math.prod(known.numblocks), 1) if known else GUESSED_NBYTES
        reason = stated_reason(self.graph.layers[layer]) or nbytes.reason or _NOTHING.reason
        return Size(max(of_block, 1), f"layer {layer!r}: {reason}{_ADVICE}")

    def _guess(self, layer: str, description: Description) -> str | None:
        """Say why what is known of a layer's values is only a guess, if so."""
        if any(isinstance(leaf, Shaped) and leaf.at_most for leaf in leaves(description)):
            reason: str | None = "lengths depend on values, and count as the most that they can be"
        else:
            known = self._describer.layer(layer)
            reason = known.guess if known else None
        return None if reason is None else f"layer {layer!r}: {reason}{_ADVICE}"


_NOTHING: Final = Unknown(reason="it states neither chunks nor a dtype")


def stated_reason(layer: Layer) -> str:
    """Get why what a layer states does not give sizes, if it states something."""
    blocks = stated(layer)
    return blocks.reason if isinstance(blocks, Unknown) else ""


def _scalars(expression: Any) -> dict[str, int]:
    """Measure the results of an expression's nodes that are single values, by their names."""
    return {
        name: max(measure(meta), 1)
        for name, meta in node_metas(expression)
        if isinstance(meta, (np.generic, bool, int, float, complex))
    }


def _dtype(collection: Any) -> np.dtype[Any] | None:
    dtype = getattr(collection, "dtype", None)
    return dtype if isinstance(dtype, np.dtype) and not dtype.hasobject else None
