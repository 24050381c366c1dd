"""Keys of a layer by their positions, and the names that keys begin with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Protocol

import numpy as np
from dask.typing import Key
from numpy.typing import NDArray

__all__ = ["ListedKeys", "Names", "key_name"]


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


def key_name(key: Any) -> Any:
    """Return the name that a key begins with, by which its layer may be found."""
    return key[0] if isinstance(key, tuple) and key else key
