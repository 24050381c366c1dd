"""Overlap of an array's blocks as a rule: pieces of blocks, and blocks joined of pieces.

An overlapping layer cuts pieces of an array's blocks, and joins each block with pieces of
its neighbours. The number of blocks decides which, so a million such tasks are planned
without being made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product, repeat

import numpy as np
from dask.highlevelgraph import Layer
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.compat.dask_graph import OverlapFacts, overlap_facts, small_overlap
from xr_locality.graph.tasks import keys_taken

__all__ = ["Overlap", "overlap_of"]

_Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The keys of a layer that joins blocks with pieces of their neighbours.

    First come the pieces, then the joined blocks, both in C order. Along an axis each block
    has up to three pieces: what the block before takes of its start, the whole, and what the
    block after takes of its end.

    Attributes
    ----------
    array : str
        Name of the array that overlaps.
    pieces, blocks : str
        First words of the keys of pieces and of joined blocks.
    counts : tuple of int
        Blocks of the array by axis; at least one axis.
    depths : tuple of (int, int)
        By axis: items taken of the block before, and of the block after.
    """

    array: str
    pieces: str
    blocks: str
    counts: tuple[int, ...]
    depths: tuple[tuple[int, int], ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """From a whole block to the next one along each axis, in pieces."""
        return tuple(1 + bool(before) + bool(after) for before, after in self.depths)

    @property
    def grid(self) -> tuple[int, ...]:
        """Pieces along each axis."""
        return tuple(
            (count - 1) * step + 1 for count, step in zip(self.counts, self.steps, strict=True)
        )

    @property
    def n_pieces(self) -> int:
        """How many pieces there are."""
        return math.prod(self.grid)

    def __len__(self) -> int:
        return self.n_pieces + math.prod(self.counts)

    def keys_at(self, positions: _Positions) -> list[Key]:
        """Make the keys at some positions, ascending."""
        n_pieces = self.n_pieces
        cut = int(np.searchsorted(positions, n_pieces))
        places = [self._places(axis) for axis in range(len(self.counts))]
        pieces = [
            map(named.__getitem__, along.tolist())
            for named, along in zip(
                places, np.unravel_index(positions[:cut], self.grid), strict=True
            )
        ]
        blocks = np.unravel_index(positions[cut:] - n_pieces, self.counts)
        return [
            *zip(repeat(self.pieces), *pieces, strict=False),
            *zip(repeat(self.blocks), *(along.tolist() for along in blocks), strict=False),
        ]

    def find(self, keys: Sequence[Key]) -> _Positions:
        """Find the positions of keys; -1 for those of other layers."""
        return np.array([self._find(key) for key in keys], dtype=np.intp)

    def find_blocks(self, name: str, grid: tuple[int, ...], flat: _Positions) -> _Positions:
        """Find the positions of an array's blocks, given by their places in C order."""
        if grid != self.counts or name not in (self.blocks, self.pieces):
            return np.full(len(flat), -1, dtype=np.intp)
        return flat + self.n_pieces if name == self.blocks else self._wholes(flat)

    def cut_from(self, pieces: _Positions) -> _Positions:
        """Find the blocks that pieces are cut from, by their places in C order."""
        blocks = (
            self.block_along(axis, along)
            for axis, along in enumerate(np.unravel_index(pieces, self.grid))
        )
        return _flat(tuple(blocks), self.counts)

    def joined_of(self, blocks: _Positions) -> Iterator[tuple[_Positions, _Positions]]:
        """List the pieces that blocks are joined of, as pairs of pieces and who takes them.

        Parameters
        ----------
        blocks : ndarray of int, shape (n,)
            Places of joined blocks in C order.

        Yields
        ------
        pieces, takers : ndarray of int
            Positions of both in the layer.
        """
        where = np.unravel_index(blocks, self.counts)
        sides = [
            (0, *(side for side, depth in zip((-1, 1), each, strict=True) if depth))
            for each in self.depths
        ]
        for offsets in product(*sides):
            there = np.ones(len(blocks), dtype=bool)
            for side, along, count in zip(offsets, where, self.counts, strict=True):
                if side:
                    there &= along > 0 if side < 0 else along < count - 1
            pieces = tuple(
                along[there] * step + side * (step - 1)
                for side, along, step in zip(offsets, where, self.steps, strict=True)
            )
            yield _flat(pieces, self.grid), blocks[there] + self.n_pieces

    def block_along(self, axis: int, along: _Positions) -> _Positions:
        """Find the blocks that pieces along one axis are cut from."""
        before, step = self.depths[axis][0], self.steps[axis]
        return along // step + (along % step > bool(before))

    def lengths(self, axis: int, chunks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Get the lengths of all pieces along one axis.

        Parameters
        ----------
        axis : int
            Of the array.
        chunks : ndarray of int, shape (n_blocks,)
            Its blocks' lengths, in items.
        """
        before, after = self.depths[axis]
        along = np.arange(self.grid[axis])
        rest = along % self.steps[axis]
        most = np.where(rest > bool(before), after, before)
        whole = chunks[self.block_along(axis, along)]
        return np.where(rest == 0, whole, np.minimum(whole, most))

    def _wholes(self, blocks: _Positions) -> _Positions:
        where = np.unravel_index(blocks, self.counts)
        along = (each * step for each, step in zip(where, self.steps, strict=True))
        return _flat(tuple(along), self.grid)

    def _places(self, axis: int) -> list[float]:
        """Name the pieces along an axis: as dask does, to the last bit."""
        before, after = self.depths[axis]
        last = self.counts[axis] - 1
        named: list[float] = []
        for block in range(last + 1):
            if after and block > 0:
                named.append(block - 1 + 0.9)
            named.append(block)
            if before and block < last:
                named.append(block + 1 - 0.9)
        return named

    def _find(self, key: Key) -> int:
        if not isinstance(key, tuple) or len(key) != len(self.counts) + 1:
            return -1
        if key[0] not in (self.blocks, self.pieces):
            return -1
        of_pieces = key[0] == self.pieces
        position = 0
        for axis, place in enumerate(key[1:]):
            if not isinstance(place, int | float | np.integer):
                return -1
            along = self._along(axis, place) if of_pieces else int(place)
            count = self.grid[axis] if of_pieces else self.counts[axis]
            if not 0 <= along < count or not (of_pieces or along == place):
                return -1
            position = position * count + along
        return position if of_pieces else position + self.n_pieces

    def _along(self, axis: int, place: float) -> int:
        """Find a piece along an axis; -1 if there is none of that name."""
        block, (before, after) = round(place), self.depths[axis]
        whole = block * self.steps[axis]
        if place == block:
            return whole
        if place == block + 1 - 0.9:
            return whole + 1 if before else -1
        return whole - 1 if after and place == block - 1 + 0.9 else -1


def _flat(where: tuple[_Positions, ...], grid: tuple[int, ...]) -> _Positions:
    found: _Positions = np.ravel_multi_index(where, grid).astype(np.intp, copy=False)
    return found


def overlap_of(layer: Layer) -> Overlap | None:
    """Describe an overlapping layer by its rule; None for other layers.

    Also None where this version of dask cuts or names pieces in another way: such a layer
    is read task by task.
    """
    facts = overlap_facts(layer)
    if facts is None or not all(len(each) == 2 and min(each) >= 0 for each in facts.depths):
        return None
    few = tuple(min(len(lengths), 3) for lengths in facts.chunks)
    if not _follows_rule(few, tuple((min(a, 1), min(b, 1)) for a, b in facts.depths)):
        return None
    return _overlap(facts)


def _overlap(facts: OverlapFacts) -> Overlap:
    return Overlap(
        array=facts.array,
        pieces=f"getitem-{facts.token}",
        blocks=f"overlap-{facts.token}",
        counts=tuple(map(len, facts.chunks)),
        depths=tuple((before, after) for before, after in facts.depths),
    )


@cache
def _follows_rule(counts: tuple[int, ...], depths: tuple[tuple[int, int], ...]) -> bool:
    """Whether a small overlap that dask makes is the one of the rule."""
    facts, tasks = small_overlap(counts, depths)
    overlap = _overlap(facts)
    keys = overlap.keys_at(np.arange(len(overlap)))
    pieces = np.arange(overlap.n_pieces)
    blocks = np.stack(np.unravel_index(overlap.cut_from(pieces), counts), axis=-1).tolist()
    expected: dict[Key, set[Key]] = {key: set() for key in keys}
    for key, block in zip(keys, blocks, strict=False):
        expected[key].add((facts.array, *block))
    for made, taken in overlap.joined_of(np.arange(math.prod(counts))):
        for piece, joined in zip(made.tolist(), taken.tolist(), strict=True):
            expected[keys[joined]].add(keys[piece])
    return expected == {key: set(keys_taken([task], ())[0]) for key, task in tasks.items()}
