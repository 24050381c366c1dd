"""Dask's tasks and symbolic layers, as far as dask does not document them.

Dask documents how to make graphs, not how to read them: the classes of tasks are defined in
``dask._task_spec``, which has no public name, and a Blockwise layer has no public method
that makes one of its tasks or keeps some of its blocks. Last verified with dask 2026.8.0;
2025.12.0 is the oldest that is tested. A name that is gone is refused when it is used; an
overlapping layer of unknown layout is read task by task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dask.layers
import numpy as np
from dask.blockwise import Blockwise, BlockwiseDepDict
from dask.highlevelgraph import Layer
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.compat.private_names import private_name

_VERIFIED: Final = "2026.8.0"

if TYPE_CHECKING:
    from dask._task_spec import (
        Alias,
        DataNode,
        GraphNode,
        List,
        NestedContainer,
        Task,
        TaskRef,
        convert_legacy_task,
    )
else:

    def _private(name: str) -> Any:
        return private_name("dask._task_spec", name, verified=_VERIFIED)

    Alias = _private("Alias")
    DataNode = _private("DataNode")
    GraphNode = _private("GraphNode")
    List = _private("List")
    NestedContainer = _private("NestedContainer")
    Task = _private("Task")
    TaskRef = _private("TaskRef")
    convert_legacy_task = _private("convert_legacy_task")

# Undocumented too, though not underscored.
_load_store_chunk = private_name("dask.array.core", "load_store_chunk", verified=_VERIFIED)
_ArrayOverlapLayer = getattr(dask.layers, "ArrayOverlapLayer", None)

__all__ = [
    "Alias",
    "BlockwiseArgument",
    "DataNode",
    "GraphNode",
    "List",
    "NestedContainer",
    "OverlapFacts",
    "Task",
    "TaskRef",
    "block_of",
    "blockwise_arguments",
    "blockwise_literals",
    "convert_legacy_task",
    "is_barrier",
    "is_barrier_type",
    "is_future",
    "is_store_chunk",
    "keys_of_io",
    "overlap_facts",
    "restrict_blocks",
    "small_overlap",
]


def is_future(value: object) -> bool:
    """Whether a graph's value is a distributed Future, without importing distributed."""
    if isinstance(value, DataNode):
        value = value.value
    kind = type(value)
    return kind.__name__ == "Future" and kind.__module__.partition(".")[0] == "distributed"


def is_store_chunk(function: object) -> bool:
    """Whether a function is the one that ``dask.array.store`` writes a chunk with."""
    if isinstance(_load_store_chunk, type):
        _load_store_chunk()  # A stand-in: refuses, as writers must be known.
    return function is _load_store_chunk


def is_barrier(value: object) -> bool:
    """Whether a task is the barrier of a peer-to-peer shuffle or rechunk."""
    return is_barrier_type(type(value))


def is_barrier_type(kind: type) -> bool:
    """Whether tasks of a type are barriers, without importing distributed."""
    return any(base.__name__ == "P2PBarrierTask" for base in kind.__mro__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockwiseArgument:
    """An argument of a Blockwise layer's tasks: blocks of an array, or one value for all.

    Attributes
    ----------
    name : key
        The array's name, or the value's key.
    index : tuple of str
        The layer's label of each axis.
    grid : tuple of int or None
        Number of the array's blocks by axis; None for a value.
    """

    name: Key
    index: tuple[str, ...] = ()
    grid: tuple[int, ...] | None = None


def blockwise_arguments(layer: Blockwise) -> Iterator[BlockwiseArgument]:
    """List what a Blockwise layer's tasks take from other layers."""
    for argument, index in layer.indices:
        if isinstance(argument, TaskRef):
            yield BlockwiseArgument(name=argument.key)
        elif index is not None and argument not in layer.io_deps:
            yield BlockwiseArgument(
                name=argument, index=tuple(index), grid=tuple(layer.numblocks[argument])
            )


def blockwise_literals(layer: Blockwise) -> Iterable[object]:
    """List the values that a Blockwise layer holds, and its task."""
    return (
        *(argument for argument, index in layer.indices if index is None),
        *(
            dependency.mapping if isinstance(dependency, BlockwiseDepDict) else dependency
            for dependency in layer.io_deps.values()
        ),
        layer.task,
    )


def keys_of_io(
    layer: Blockwise, positions: NDArray[np.intp], grid: tuple[int, ...]
) -> Iterator[tuple[list[Key], NDArray[np.intp]]]:
    """List the keys that a Blockwise layer's arguments by block name, and their takers."""
    for dependency in layer.io_deps.values():
        if dependency.produces_keys:
            blocks = np.stack(np.unravel_index(positions, grid), axis=-1).tolist()
            named = [dependency[tuple(block)] for block in blocks]
            yield [each.key if isinstance(each, TaskRef) else each for each in named], positions


def restrict_blocks(layer: Blockwise, blocks: Iterable[tuple[int, ...]]) -> Blockwise:
    """Keep only some blocks of a Blockwise layer, symbolic as it is."""
    kept: Blockwise = layer._cull(set(blocks))
    return kept


def block_of(layer: Blockwise, index: tuple[int, ...]) -> GraphNode:
    """Make one task of a symbolic layer, and none of the others."""
    key: Key = (layer.output, *index)
    task: GraphNode = layer.cull({key}, set())[0][key]
    return task


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapFacts:
    """The parameters of a layer that overlaps an array's blocks.

    Attributes
    ----------
    array, token : str
        Name of the array, and what the names of the layer's keys end in.
    chunks : tuple of tuple of int
        The array's.
    depths : tuple of tuple of int
        By axis: items taken of the block before, and of the block after.
    """

    array: str
    token: str
    chunks: tuple[tuple[int, ...], ...]
    depths: tuple[tuple[int, ...], ...]


def overlap_facts(layer: Layer) -> OverlapFacts | None:
    """Read the parameters of an overlapping layer; None for other layers, and other layouts."""
    if _ArrayOverlapLayer is None or not isinstance(layer, _ArrayOverlapLayer):
        return None
    if not {"axes", "chunks", "name", "token"} <= vars(layer).keys() or not layer.chunks:
        return None
    given = (layer.axes.get(axis, 0) for axis in range(len(layer.chunks)))
    return OverlapFacts(
        array=layer.name,
        token=layer.token,
        chunks=layer.chunks,
        depths=tuple(each if isinstance(each, tuple) else (each, each) for each in given),
    )


def small_overlap(
    counts: tuple[int, ...], depths: tuple[tuple[int, ...], ...]
) -> tuple[OverlapFacts, dict[Key, Any]]:
    """Make a small overlapping layer as this version of dask does.

    Returns
    -------
    facts : OverlapFacts
        Its parameters.
    tasks : dict of key to task
        All of them.
    """
    chunks = tuple((2,) * count for count in counts)
    assert _ArrayOverlapLayer is not None
    layer = _ArrayOverlapLayer("array", dict(enumerate(depths)), chunks, counts, "token")
    facts = OverlapFacts(array="array", token="token", chunks=chunks, depths=depths)
    return facts, dict(layer)
