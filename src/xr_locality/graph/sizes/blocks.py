"""The blocks of an array layer, described together: a rule for each length.

A block's lengths add up from what each axis of the layer gives to them, so the
bytes of a million blocks are a few lookups and products of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xr_locality.graph.sizes.descriptions import Description, Shaped, leaves, map_leaves
from xr_locality.graph.sizes.trial import Affine

__all__ = ["Blocks", "Length", "of_chunks"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Length:
    """One length of a layer's blocks: a constant, and a part for each axis of blocks.

    Attributes
    ----------
    constant : int
        In items.
    terms : tuple of (int, ndarray)
        An axis of the layer's blocks, and for each block along it what it adds, in items.
    """

    constant: int
    terms: tuple[tuple[int, NDArray[np.int64]], ...] = ()

    def at(self, index: tuple[Any, ...]) -> int:
        """Get the length of one block."""
        return self.constant + sum(int(lengths[index[axis]]) for axis, lengths in self.terms)

    def of(self, indices: NDArray[np.intp]) -> NDArray[np.int64] | int:
        """Get the lengths of many blocks."""
        total: NDArray[np.int64] | int = self.constant
        for axis, lengths in self.terms:
            total = lengths[indices[:, axis]] + total
        return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """What a layer's blocks are, by their index.

    Attributes
    ----------
    numblocks : tuple of int
        Blocks along each axis.
    pattern : Description
        Of any block, with a :class:`Length` for each length.
    guess : str or None
        Why this is only a guess, if it is.
    """

    numblocks: tuple[int, ...]
    pattern: Description
    guess: str | None = None

    def holds(self, index: tuple[Any, ...]) -> bool:
        """Whether there is a block of an index."""
        return len(index) == len(self.numblocks) and all(
            isinstance(place, int | np.integer) and 0 <= place < count
            for place, count in zip(index, self.numblocks, strict=True)
        )

    def extreme(self, choose: Callable[[NDArray[np.int64]], Any]) -> tuple[int, ...]:
        """Find a block by its lengths along each axis, as with ``argmax`` the largest."""
        index = [0] * len(self.numblocks)
        for leaf in leaves(self.pattern):
            for length in leaf.shape if isinstance(leaf, Shaped) else ():
                for axis, lengths in length.terms:
                    index[axis] = int(choose(lengths))
        return tuple(index)

    def at(self, index: tuple[Any, ...]) -> Description:
        """Describe one block."""
        return map_leaves(lambda leaf: _shaped_at(leaf, index), self.pattern)

    def nbytes(self, indices: NDArray[np.intp]) -> NDArray[np.int64]:
        """Get the bytes of many blocks.

        Parameters
        ----------
        indices : ndarray of int, shape (n, ndim)
            Of the blocks.

        Returns
        -------
        ndarray of int, shape (n,)
            At least 0.
        """
        total = np.zeros(len(indices), dtype=np.int64)
        for leaf in leaves(self.pattern):
            if not isinstance(leaf, Shaped):
                total += leaf.nbytes
                continue
            product: Any = leaf.itemsize
            for length in leaf.shape:
                product = product * length.of(indices)
            total += product
        return total

    def total(self) -> int:
        """Sum the bytes of all blocks, without going through them."""
        blocks = math.prod(self.numblocks)
        total = 0
        for leaf in leaves(self.pattern):
            if not isinstance(leaf, Shaped):
                total += leaf.nbytes * blocks
                continue
            axes = [axis for length in leaf.shape for axis, _ in length.terms]
            if len(set(axes)) < len(axes) or any(len(each.terms) > 1 for each in leaf.shape):
                grid = np.stack(np.unravel_index(np.arange(blocks), self.numblocks), axis=1)
                alone = Blocks(numblocks=self.numblocks, pattern=leaf)
                total += int(alone.nbytes(grid).sum())
                continue
            each = leaf.itemsize * math.prod(
                self.numblocks[axis] for axis in range(len(self.numblocks)) if axis not in axes
            )
            for length in leaf.shape:
                counts = [self.numblocks[axis] for axis, _ in length.terms]
                each *= length.constant * math.prod(counts) + sum(
                    int(lengths.sum()) for _, lengths in length.terms
                )
            total += each
        return total


def of_chunks(
    chunks: tuple[tuple[int, ...], ...], dtype: np.dtype[Any], *, masked: bool = False
) -> Blocks:
    """Describe the blocks of an array of known chunks."""
    return Blocks(
        numblocks=tuple(map(len, chunks)),
        pattern=Shaped(
            shape=tuple(
                Length(constant=0, terms=((axis, np.asarray(lengths, dtype=np.int64)),))
                for axis, lengths in enumerate(chunks)
            ),
            dtype=dtype,
            masked=masked,
        ),
    )


def combine(affine: Affine, lengths: Mapping[Any, Length]) -> Length:
    """Write a learnt length with the lengths that it depends on."""
    constant, terms = affine.constant, dict[int, NDArray[np.int64]]()
    for name, slope in affine.slopes:
        constant += slope * lengths[name].constant
        for axis, values in lengths[name].terms:
            terms[axis] = terms.get(axis, np.int64(0)) + slope * values
    return Length(constant=constant, terms=tuple(sorted(terms.items(), key=lambda term: term[0])))


def _shaped_at(leaf: Any, index: tuple[Any, ...]) -> Any:
    if not isinstance(leaf, Shaped):
        return leaf
    shape = tuple(length.at(index) for length in leaf.shape)
    return replace(leaf, shape=shape)
