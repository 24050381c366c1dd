"""The structure of a graph as arrays: which tasks some outputs need, and what each takes.

A million tasks are numbers here, not a million objects. Blockwise layers are
never materialised: which block takes which follows from their indices. Keys are
made only for those tasks that somebody asks for by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from dask.highlevelgraph import Layer
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.graph.layer_keys import Names, key_name

__all__ = ["LayerTasks", "Structure", "block_position"]

_Positions = NDArray[np.intp]

_NOTHING: _Positions = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerTasks:
    """The tasks of one layer that some outputs need.

    A task has a number in its :class:`Structure`, and a position in its layer: the
    place of its block in C order, or of its key in the layer's mapping.

    Attributes
    ----------
    name : str
        The layer's name in the graph.
    layer : Layer
        As in the graph; symbolic layers but Blockwise and overlapping ones are materialised.
    start : int
        Number of the layer's first task; the others follow.
    positions : ndarray of int, shape (n_tasks,)
        Which of the layer's tasks these are, ascending.
    size : int
        How many tasks the layer has, needed or not.
    grid : tuple of int or None
        Numbers of blocks by axis of a Blockwise layer.
    names : Names or None
        All keys of another layer, by position.
    values : ndarray of bool, shape (n_tasks,), or None
        Which are plain values (stores, arrays), not tasks; None where none is.
    futures : ndarray of bool, shape (n_tasks,), or None
        Which are distributed Futures; they are no values.
    constants : tuple of int
        Numbers of the plain values that every task of the layer takes. They are
        not among the structure's edges.
    """

    name: str
    layer: Layer
    start: int
    positions: _Positions
    size: int
    grid: tuple[int, ...] | None
    names: Names | None
    values: NDArray[np.bool_] | None
    futures: NDArray[np.bool_] | None
    constants: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def stop(self) -> int:
        """Number after the layer's last task."""
        return self.start + len(self.positions)

    @property
    def whole(self) -> bool:
        """Whether all of the layer's tasks are needed."""
        return len(self.positions) == self.size

    @property
    def only_values(self) -> bool:
        """Whether the layer holds plain values and no tasks."""
        return self.values is not None and bool(self.values.all())

    def number(self, key: Key) -> int | None:
        """Find the number of a key's task; None if it is not among them."""
        if self.names is not None:
            position: int | None = int(self.names.find([key])[0])
        else:
            assert self.grid is not None
            position = block_position(key, self.layer.output, self.grid)  # type: ignore[attr-defined]
        if position is None or position < 0:
            return None
        rank = int(np.searchsorted(self.positions, position))
        found = rank < len(self.positions) and self.positions[rank] == position
        return self.start + rank if found else None

    def blocks(self, numbers: _Positions) -> NDArray[np.intp]:
        """Return the block indices of some tasks of a Blockwise layer, shape (n, ndim)."""
        assert self.grid is not None
        positions = self.positions[numbers - self.start]
        if not self.grid:
            return np.empty((len(positions), 0), dtype=np.intp)
        return np.stack(np.unravel_index(positions, self.grid), axis=-1)

    def keys_of(self, numbers: _Positions) -> list[Key]:
        """Make the keys of some of the layer's tasks."""
        if self.names is not None:
            return self.names.keys_at(self.positions[numbers - self.start])
        output = self.layer.output  # type: ignore[attr-defined]
        return [(output, *block) for block in self.blocks(numbers).tolist()]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """Tasks by number, and which value each takes.

    Attributes
    ----------
    layers : tuple of LayerTasks
        Each after those it depends on; a layer of which nothing is needed is absent.
    dependencies : mapping of str to frozenset of str
        For each layer, those of the others that it depends on.
    made_by, taken_by : ndarray of int32, shape (n_edges,)
        The task that makes a value, and one that takes it; each pair once.
    outputs : ndarray of int, shape (n_outputs,)
        Numbers of the outputs, in the order they were asked for.
    """

    layers: tuple[LayerTasks, ...]
    dependencies: Mapping[str, frozenset[str]]
    made_by: NDArray[np.int32]
    taken_by: NDArray[np.int32]
    outputs: _Positions
    _starts: _Positions = field(repr=False)

    def find(self, key: Key) -> int | None:
        """Find the number of a key's task; None if it is not needed."""
        name = key_name(key)
        named = [each for each in self.layers if each.name == name]
        for layer in (*named, *self.layers):
            if (number := layer.number(key)) is not None:
                return number
        return None

    @property
    def n_tasks(self) -> int:
        """How many tasks and plain values there are."""
        return self.layers[-1].stop if self.layers else 0

    def layer_of(self, number: int) -> LayerTasks:
        """Find the layer of a task."""
        return self.layers[int(np.searchsorted(self._starts, number, side="right")) - 1]

    def key(self, number: int) -> Key:
        """Make the key of a task."""
        return self.layer_of(number).keys_of(np.array([number]))[0]

    def by_layer(self, numbers: _Positions) -> Iterator[tuple[LayerTasks, _Positions]]:
        """Group ascending numbers of tasks by their layers."""
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        for place in np.unique(places):
            yield self.layers[place], numbers[places == place]

    def flags(self, name: str) -> NDArray[np.bool_]:
        """Join the layers' ``values`` or ``futures``, shape (n_tasks,)."""
        joined = np.zeros(self.n_tasks, dtype=bool)
        for layer in self.layers:
            if (flags := getattr(layer, name)) is not None:
                joined[layer.start : layer.stop] = flags
        return joined


def block_position(key: Key, output: str, grid: tuple[int, ...]) -> int | None:
    """Find a block's place in a grid in C order; None for other keys."""
    if not (isinstance(key, tuple) and len(key) == len(grid) + 1 and key[0] == output):
        return None
    position = 0
    for number, count in zip(key[1:], grid, strict=True):
        if not (isinstance(number, int | np.integer) and 0 <= number < count):
            return None
        position = position * count + int(number)
    return position
