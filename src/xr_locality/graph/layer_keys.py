"""The keys of a layer by position: listed, or by the rule that an overlap follows.

An overlapping layer cuts pieces of an array's blocks, and joins each block with pieces of
its neighbours. Which these are follows from the number of blocks, so a million such tasks
need not be made to be planned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product, repeat
from typing import Protocol

import numpy as np
from dask.typing import Key
from numpy.typing import NDArray

__all__ = ["ListedKeys", "Names", "Overlap"]

_Positions = NDArray[np.intp]


class Names(Protocol):
    """The keys of one layer, each at a position."""

    def __len__(self) -> int: ...

    def keys_at(self, positions: _Positions) -> list[Key]:
        """Make the keys at some positions."""

    def find(self, keys: Sequence[Key]) -> _Positions:
        """Find the positions of keys; -1 for those of other layers."""

    def find_blocks(self, name: str, grid: tuple[int, ...], flat: _Positions) -> _Positions:
        """Find the positions of an array's blocks, given by their places in C order."""


@dataclass(slots=True, eq=False)
class ListedKeys:
    """Keys in the order of a layer's mapping."""

    keys: Sequence[Key]
    _index: dict[Key, int] | None = None
    _blocks: dict[str, tuple[tuple[int, ...], _Positions]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def keys_at(self, positions: _Positions) -> list[Key]:
        """Get the keys at some positions."""
        return [self.keys[position] for position in positions.tolist()]

    def find(self, keys: Sequence[Key]) -> _Positions:
        """Find the positions of keys; -1 for those of other layers."""
        if self._index is None:
            self._index = dict(zip(self.keys, range(len(self.keys)), strict=True))
        return np.fromiter(map(self._index.get, keys, repeat(-1)), dtype=np.intp, count=len(keys))

    def find_blocks(self, name: str, grid: tuple[int, ...], flat: _Positions) -> _Positions:
        """Find the positions of an array's blocks, given by their places in C order."""
        known = self._blocks.get(name)
        if known is None or known[0] != grid:
            known = self._blocks[name] = grid, self._place_blocks(name, grid)
        return known[1][flat]

    def forget(self) -> None:
        """Free what was made to find keys."""
        self._index = None
        self._blocks.clear()

    def _place_blocks(self, name: str, grid: tuple[int, ...]) -> _Positions:
        if not grid:
            return np.array([self.find([(name,), name]).max()], dtype=np.intp)
        mine = [
            (key[1:], position)
            for position, key in enumerate(self.keys)
            if isinstance(key, tuple) and key[0] == name and len(key) == len(grid) + 1
        ]
        places = np.full(math.prod(grid), -1, dtype=np.intp)
        if mine:
            blocks, positions = zip(*mine, strict=True)
            places[np.ravel_multi_index(np.array(blocks, dtype=np.intp).T, grid)] = positions
        return places


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
