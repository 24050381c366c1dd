"""Find the tasks that some outputs need, from the outputs back, as arrays.

Which block of a Blockwise layer takes which follows from the layer's indices, and which
pieces an overlapping layer joins from its depths; only layers that are materialised already
are gone through task by task.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.compat.dask_graph import (
    BlockwiseArgument,
    blockwise_arguments,
    is_future,
    keys_of_io,
)
from xr_locality.graph.layer_keys import ListedKeys, key_name
from xr_locality.graph.layers import kinds_of, toposort_layers
from xr_locality.graph.overlap import Overlap, overlap_of
from xr_locality.graph.task_table import LayerTasks, Structure, block_position
from xr_locality.graph.tasks import is_block_key, is_value, keys_taken
from xr_locality.runtime.collector import collector_paused

__all__ = ["structure_of"]

_Positions = NDArray[np.intp]


@collector_paused()
def structure_of(graph: HighLevelGraph, outputs: Iterable[Key]) -> Structure:
    """Find the tasks that some outputs need, and what each takes.

    Parameters
    ----------
    graph : HighLevelGraph
        Not optimised.
    outputs : iterable of key
        The values wanted.

    Returns
    -------
    Structure
    """
    return _Builder(graph).build(list(outputs))


@dataclass(slots=True, eq=False)
class _Draft:
    """One layer while its needed tasks are being found."""

    name: str
    layer: Layer
    rank: int
    size: int
    grid: tuple[int, ...] | None
    names: ListedKeys | Overlap | None = None
    needed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    #: What of these has been followed to what it takes.
    done: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    constants: list[tuple[_Draft, int]] = field(default_factory=list)
    #: Pairs of the draft that makes values, their positions, and positions here.
    edges: list[tuple[_Draft, NDArray[np.int32], NDArray[np.int32]]] = field(default_factory=list)

    def pending(self) -> _Positions:
        """List the needed tasks whose own needs are not known yet."""
        return (self.needed & ~self.done).nonzero()[0]

    def find_blocks(self, name: str, grid: tuple[int, ...], flat: _Positions) -> _Positions:
        """Find the positions of blocks, given by their places in a grid in C order."""
        return flat if self.names is None else self.names.find_blocks(name, grid, flat)


class _Builder:
    """Walks the layers from the outputs back, marking what is needed."""

    def __init__(self, graph: HighLevelGraph) -> None:
        self.graph = graph
        self.drafts: dict[str, _Draft] = {}
        order = toposort_layers(graph)
        self.rank = {name: rank for rank, name in enumerate(order)}
        self.order = order

    def draft(self, name: str) -> _Draft:
        if name not in self.drafts:
            layer = self.graph.layers[name]
            if isinstance(layer, Blockwise):
                grid = tuple(int(layer.dims[index]) for index in layer.output_indices)
                draft = _Draft(name, layer, self.rank[name], math.prod(grid), grid)
            elif (overlap := overlap_of(layer)) is not None:
                draft = _Draft(name, layer, self.rank[name], len(overlap), None, overlap)
            else:
                if not isinstance(layer, MaterializedLayer):
                    layer = MaterializedLayer(dict(layer), annotations=layer.annotations)
                keys = ListedKeys(list(layer.mapping))
                draft = _Draft(name, layer, self.rank[name], len(keys), None, keys)
            draft.needed = np.zeros(draft.size, dtype=bool)
            draft.done = np.zeros(draft.size, dtype=bool)
            self.drafts[name] = draft
        return self.drafts[name]

    def build(self, outputs: list[Key]) -> Structure:
        wanted = self._find_all(outputs, tuple(self.graph.layers))
        for draft, positions, _ in wanted:
            draft.needed[positions] = True
        # One pass, from the outputs back, for all graphs but those whose layers take from
        # each other, as the three of an LU decomposition do.
        while True:
            waiting = [
                self.drafts[name]
                for name in reversed(self.order)
                if name in self.drafts and self.drafts[name].pending().size
            ]
            if not waiting:
                break
            self._follow_from(waiting[0].rank)
        return self._number(outputs, wanted)

    def _follow_from(self, rank: int) -> None:
        """Mark what layers take, from one of them back to the first."""
        for name in reversed(self.order[: rank + 1]):
            draft = self.drafts.get(name)
            if draft is None or not (here := draft.pending()).size:
                continue
            draft.done[here] = True
            if draft.grid is not None:
                self._follow_blocks(draft, here)
            elif isinstance(draft.names, Overlap):
                self._follow_overlap(draft, draft.names)
            else:
                self._follow_tasks(draft, here)

    def _find_all(
        self, keys: Sequence[Key], candidates: Sequence[str]
    ) -> list[tuple[_Draft, _Positions, _Positions]]:
        """Find the layers of some keys.

        Returns
        -------
        list of (draft, positions, which)
            `which` counts in `keys`. Keys of no layer are left out.
        """
        names = [key_name(key) for key in keys]
        found: list[tuple[_Draft, _Positions, _Positions]] = []
        if len(distinct := set(names)) == 1:
            return list(self._find_named(distinct.pop(), keys, np.arange(len(keys)), candidates))
        places: dict[Any, list[int]] = defaultdict(list)
        for number, name in enumerate(names):
            places[name].append(number)
        for name, numbers in places.items():
            named = [keys[number] for number in numbers]
            found += self._find_named(name, named, np.array(numbers), candidates)
        return found

    def _find_named(
        self, name: Any, keys: Sequence[Key], which: _Positions, candidates: Sequence[str]
    ) -> Iterator[tuple[_Draft, _Positions, _Positions]]:
        """Find keys that share their first word, in the layer of that name or in others."""
        homes = [name] if isinstance(name, str) and name in self.graph.layers else []
        homes += [each for each in candidates if each != name]
        for home in homes:
            draft = self.draft(home)
            positions = _positions(draft, keys)
            hit = positions >= 0
            if hit.any():
                yield draft, positions[hit], which[hit]
                if hit.all():
                    return
                keys = [key for key, known in zip(keys, hit, strict=True) if not known]
                which = which[~hit]

    def _follow_blocks(self, draft: _Draft, here: _Positions) -> None:
        """Mark what the needed blocks of a Blockwise layer take."""
        layer, grid = draft.layer, draft.grid
        assert isinstance(layer, Blockwise)
        assert grid is not None
        coordinates = dict(
            zip(layer.output_indices, np.unravel_index(here, grid) if grid else (), strict=True)
        )
        candidates = self._candidates(draft)
        for argument in blockwise_arguments(layer):
            if argument.grid is None:
                for maker, positions, _ in self._find_all([argument.name], candidates):
                    self._take_constant(draft, maker, int(positions[0]), here)
                continue
            flat, takers = _blocks_taken(argument, coordinates, here, layer.dims)
            self._take_blocks(draft, str(argument.name), argument.grid, flat, takers)
        for keys, takers in keys_of_io(layer, here, grid):
            for maker, positions, which in self._find_all(keys, candidates):
                self._take(draft, maker, positions, takers[which])

    def _follow_overlap(self, draft: _Draft, overlap: Overlap) -> None:
        """Mark the pieces that the needed blocks are joined of, and what these are cut from."""
        joined = draft.needed[overlap.n_pieces :].nonzero()[0]
        for pieces, takers in overlap.joined_of(joined):
            self._take(draft, draft, pieces, takers)
        pieces = draft.needed[: overlap.n_pieces].nonzero()[0]
        flat = overlap.cut_from(pieces)
        self._take_blocks(draft, overlap.array, overlap.counts, flat, pieces)
        draft.done |= draft.needed

    def _take_blocks(
        self,
        draft: _Draft,
        array: str,
        grid: tuple[int, ...],
        flat: _Positions,
        takers: _Positions,
    ) -> None:
        """Take blocks of an array, given by their places in its grid in C order."""
        for maker in self._makers(array, self._candidates(draft)):
            positions = maker.find_blocks(array, grid, flat)
            known = positions >= 0
            if known.all():
                self._take(draft, maker, positions, takers)
                break
            if known.any():
                self._take(draft, maker, positions[known], takers[known])
            flat, takers = flat[~known], takers[~known]

    def _makers(self, name: str, candidates: Sequence[str]) -> Iterator[_Draft]:
        if name in self.graph.layers:
            yield self.draft(name)
        for each in candidates:
            if each != name and not isinstance(self.graph.layers[each], Blockwise):
                yield self.draft(each)

    def _candidates(self, draft: _Draft) -> Sequence[str]:
        """Name the layers that may hold what a layer's tasks take, itself among them."""
        needs = self.graph.dependencies.get(draft.name, ())
        return (draft.name, *sorted(each for each in needs if each in self.graph.layers))

    def _take(self, draft: _Draft, maker: _Draft, made: _Positions, takers: _Positions) -> None:
        maker.needed[made] = True
        draft.edges.append((maker, made.astype(np.int32), takers.astype(np.int32)))

    def _take_constant(self, draft: _Draft, maker: _Draft, position: int, here: _Positions) -> None:
        """Take one value for all blocks: a store or an array is no edge for each of them."""
        listed = isinstance(maker.names, ListedKeys)
        value = maker.layer[maker.names.keys[position]] if listed else None  # type: ignore[union-attr]
        if listed and is_value(value) and not is_future(value):
            maker.needed[position] = True
            draft.constants.append((maker, position))
        else:
            self._take(draft, maker, np.full(len(here), position, dtype=np.intp), here)

    def _follow_tasks(self, draft: _Draft, here: _Positions) -> None:
        """Mark what the needed tasks of a materialised layer take, those it holds itself too."""
        layer = draft.layer
        assert isinstance(layer, MaterializedLayer)
        candidates = self._candidates(draft)
        tasks = list(layer.mapping.values())
        while here.size:
            keys, counts = keys_taken([tasks[i] for i in here], self.odd_keys)
            takers = np.repeat(here, counts)
            for maker, positions, which in self._find_all(keys, candidates):
                self._take(draft, maker, positions, takers[which])
            here = draft.pending()
            draft.done[here] = True

    @cached_property
    def odd_keys(self) -> frozenset[Key]:
        """Keys that are not a name and numbers, such as those of Delayed objects."""
        return frozenset(
            key
            for layer in self.graph.layers.values()
            if isinstance(layer, MaterializedLayer)
            for key in layer.mapping
            if not is_block_key(key)
        )

    def _number(
        self, outputs: list[Key], wanted: list[tuple[_Draft, _Positions, _Positions]]
    ) -> Structure:
        drafts = [
            self.drafts[name]
            for name in self.order
            if name in self.drafts and self.drafts[name].needed.any()
        ]
        starts: dict[str, int] = {}
        ranks: dict[str, NDArray[np.int32]] = {}
        total = 0
        for draft in drafts:
            starts[draft.name] = total
            rank = np.cumsum(draft.needed, dtype=np.int32)
            ranks[draft.name] = rank + np.int32(total - 1)
            total += int(rank[-1])
        made: list[NDArray[np.int32]] = []
        taken: list[NDArray[np.int32]] = []
        for draft in drafts:
            if isinstance(draft.names, ListedKeys):
                draft.names.forget()
            for maker, makers, takers in draft.edges:
                made.append(ranks[maker.name][makers])
                taken.append(ranks[draft.name][takers])
            draft.edges.clear()
        made_by, taken_by = _distinct(made, taken, total)
        numbered = np.full(len(outputs), -1, dtype=np.intp)
        for draft, positions, which in wanted:
            numbered[which] = ranks[draft.name][positions]
        if (numbered < 0).any():
            missing = outputs[int((numbered < 0).nonzero()[0][0])]
            raise KeyError(missing)
        layers = tuple(_finish(draft, starts[draft.name], ranks) for draft in drafts)
        names = {layer.name for layer in layers}
        return Structure(
            layers=layers,
            dependencies={
                name: frozenset(self.graph.dependencies.get(name, ())) & names for name in names
            },
            made_by=made_by,
            taken_by=taken_by,
            outputs=numbered,
            _starts=np.array([layer.start for layer in layers], dtype=np.intp),
        )


def _positions(draft: _Draft, keys: Sequence[Key]) -> _Positions:
    """Find keys that share their first word in one layer; -1 where they are not in it."""
    if draft.names is not None:
        return draft.names.find(keys)
    assert draft.grid is not None
    output = draft.layer.output  # type: ignore[attr-defined]
    first = keys[0]
    if not isinstance(first, tuple) or first[0] != output:
        return np.full(len(keys), -1, dtype=np.intp)
    grid = draft.grid
    if set(map(len, keys)) == {len(grid) + 1}:  # type: ignore[arg-type]
        if not grid:
            return np.zeros(len(keys), dtype=np.intp)
        flat = chain.from_iterable(map(itemgetter(slice(1, None)), keys))  # type: ignore[arg-type]
        try:
            blocks = np.fromiter(flat, dtype=np.intp).reshape(len(keys), -1)
            return np.asarray(np.ravel_multi_index(tuple(blocks.T), grid))
        except (TypeError, ValueError):
            pass
    found = (block_position(key, output, grid) for key in keys)
    return np.array([-1 if at is None else at for at in found], dtype=np.intp)


def _blocks_taken(
    argument: BlockwiseArgument,
    coordinates: Mapping[str, _Positions],
    here: _Positions,
    dims: Mapping[str, int],
) -> tuple[_Positions, _Positions]:
    """Say which blocks of an argument some output blocks take.

    Returns
    -------
    flat : ndarray of int, shape (n,)
        Blocks taken, by their places in the argument's grid in C order.
    takers : ndarray of int, shape (n,)
        The output blocks' places.
    """
    assert argument.grid is not None
    base = np.zeros(len(here), dtype=np.intp)
    contracted = np.zeros(1, dtype=np.intp)
    stride = 1
    for count, label in reversed(list(zip(argument.grid, argument.index, strict=True))):
        if count > 1 and label in coordinates:
            base += coordinates[label] * stride
        elif count > 1:
            contracted = (contracted[:, None] + np.arange(dims[label]) * stride).ravel()
        stride *= count
    if len(contracted) == 1:
        return base, here
    return (base[:, None] + contracted).ravel(), np.repeat(here, len(contracted))


def _distinct(
    made: list[NDArray[np.int32]], taken: list[NDArray[np.int32]], total: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Join edges, each once, in order of who takes and who makes."""
    if not made:
        empty = np.empty(0, dtype=np.int32)
        return empty, empty
    pairs = np.concatenate(taken, dtype=np.int64)
    taken.clear()
    pairs *= total
    pairs += np.concatenate(made)
    made.clear()
    # Not np.unique: since numpy 2.3 it hashes integers, ten times as long for a million.
    pairs.sort()
    if len(pairs) and not (new := np.concatenate([[True], pairs[1:] != pairs[:-1]])).all():
        pairs = pairs[new]
    return (pairs % total).astype(np.int32), (pairs // total).astype(np.int32)


def _finish(draft: _Draft, start: int, ranks: Mapping[str, NDArray[np.int32]]) -> LayerTasks:
    positions = draft.needed.nonzero()[0]
    values = futures = None
    if isinstance(draft.layer, MaterializedLayer):
        kinds = kinds_of(draft.layer)
        values, futures = (
            None if flags is None or not flags[positions].any() else flags[positions]
            for flags in kinds
        )
    return LayerTasks(
        name=draft.name,
        layer=draft.layer,
        start=start,
        positions=positions,
        size=draft.size,
        grid=draft.grid,
        names=draft.names,
        values=values,
        futures=futures,
        constants=tuple(dict.fromkeys(int(ranks[maker.name][at]) for maker, at in draft.constants)),
    )
