"""A read-only view of a dask graph: the only module that knows dask's private names.

Nothing here computes a chunk, and layers stay symbolic as long as they can: a
Blockwise layer is asked for its literal arguments and its dependencies, never
for its tasks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import getitem
from typing import Any

import numpy as np
from dask._task_spec import Alias, DataNode, GraphNode, Task, TaskRef, convert_legacy_task
from dask.array.core import load_store_chunk
from dask.blockwise import Blockwise, BlockwiseDepDict
from dask.core import istask
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.layers import ArrayOverlapLayer
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.graph.layer_keys import Overlap

__all__ = ["BlockwiseArgument", "embedded", "is_barrier", "is_future", "is_value"]


def embedded(layer: Layer) -> Iterable[Any]:
    """List the objects that a layer's tasks hold, without making the tasks.

    Returns
    -------
    iterable of Any
        Literal arguments, values, functions and tasks; the caller walks them.
    """
    if isinstance(layer, Blockwise):
        return (
            *(argument for argument, index in layer.indices if index is None),
            *(
                dependency.mapping if isinstance(dependency, BlockwiseDepDict) else dependency
                for dependency in layer.io_deps.values()
            ),
            layer.task,
        )
    if isinstance(layer, MaterializedLayer):
        return layer.mapping.values()
    # Symbolic layers such as ArrayOverlapLayer hold parameters, not stores; the keys and
    # tasks that they may have made already come from these.
    return [value for name, value in vars(layer).items() if not name.startswith("_cached")]


def is_value(value: object) -> bool:
    """Whether a graph's value is data itself, not a task and not a key's alias.

    Such a node costs nothing to run, so it goes into each partition that uses it.
    """
    if isinstance(value, DataNode):
        return True
    if isinstance(value, GraphNode | str | tuple | list | dict | TaskRef):
        return False
    return not istask(value)


def writes(layer: Layer) -> bool:
    """Whether a layer's tasks write chunks to a store, as ``to_zarr`` makes them."""
    task = layer.task if isinstance(layer, Blockwise) else None
    if task is None and isinstance(layer, MaterializedLayer):
        task = next(iter(layer.mapping.values()), None)
    return isinstance(task, Task) and task.func is load_store_chunk


def cuts_blocks(layer: Layer) -> bool:
    """Whether a layer's tasks cut blocks out of what they take, and do no more.

    Those of a graph that ``dask.optimize`` has fused do more, and so do Delayed functions.
    """
    if isinstance(layer, Blockwise):
        function: object = layer.task.func
    else:
        first = next(iter(layer.values()), None)
        function = first[0] if type(first) is tuple and first else getattr(first, "func", None)
    return getattr(function, "__name__", "").startswith("get")


def is_symbolic(layer: Layer) -> bool:
    """Whether a layer is a rule for its tasks, and looking one up would make them all."""
    return not isinstance(layer, MaterializedLayer)


def is_future(value: object) -> bool:
    """Whether a graph's value is a distributed Future, without importing distributed."""
    if isinstance(value, DataNode):
        value = value.value
    kind = type(value)
    return kind.__name__ == "Future" and kind.__module__.partition(".")[0] == "distributed"


def holds_futures(layer: Layer) -> bool:
    """Whether there are Futures among a layer's values, not only inside of tasks."""
    return isinstance(layer, MaterializedLayer) and (
        not _only_tasks(layer.mapping.values()) and any(map(is_future, layer.mapping.values()))
    )


def is_barrier(value: object) -> bool:
    """Whether a task is the barrier of a peer-to-peer shuffle or rechunk."""
    return is_barrier_type(type(value))


def is_barrier_type(kind: type) -> bool:
    """Whether tasks of a type are barriers, without importing distributed."""
    return any(base.__name__ == "P2PBarrierTask" for base in kind.__mro__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockwiseArgument:
    """What the tasks of a Blockwise layer take: blocks of an array, or one value for all.

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


def keys_of_io(
    layer: Blockwise, positions: NDArray[np.intp], grid: tuple[int, ...]
) -> Iterator[tuple[list[Key], NDArray[np.intp]]]:
    """List the keys that a Blockwise layer's arguments by block name, and who takes them."""
    for dependency in layer.io_deps.values():
        if dependency.produces_keys:
            blocks = np.stack(np.unravel_index(positions, grid), axis=-1).tolist()
            named = [dependency[tuple(block)] for block in blocks]
            yield [each.key if isinstance(each, TaskRef) else each for each in named], positions


def overlap_of(layer: Layer) -> Overlap | None:
    """State the rule that an overlapping layer follows; None for other layers.

    Also None where this version of dask cuts or names pieces otherwise: such a layer has
    to be asked for its tasks.
    """
    if not isinstance(layer, ArrayOverlapLayer) or not layer.chunks:
        return None
    given = (layer.axes.get(axis, 0) for axis in range(len(layer.chunks)))
    depths = tuple(each if isinstance(each, tuple) else (each, each) for each in given)
    if not all(len(each) == 2 and min(each) >= 0 for each in depths):
        return None
    counts = tuple(map(len, layer.chunks))
    few = tuple(min(count, 3) for count in counts)
    if not _overlaps_as_stated(few, tuple((min(a, 1), min(b, 1)) for a, b in depths)):
        return None
    return _overlap(layer, counts, depths)


def _overlap(
    layer: ArrayOverlapLayer, counts: tuple[int, ...], depths: tuple[tuple[int, int], ...]
) -> Overlap:
    return Overlap(
        array=layer.name,
        pieces=f"getitem-{layer.token}",
        blocks=f"overlap-{layer.token}",
        counts=counts,
        depths=depths,
    )


@cache
def _overlaps_as_stated(counts: tuple[int, ...], depths: tuple[tuple[int, int], ...]) -> bool:
    """Whether dask makes of a small overlap what the rule says."""
    chunks = tuple((2,) * count for count in counts)
    layer = ArrayOverlapLayer("array", dict(enumerate(depths)), chunks, counts, "token")
    overlap = _overlap(layer, counts, depths)
    keys = overlap.keys_at(np.arange(len(overlap)))
    pieces = np.arange(overlap.n_pieces)
    blocks = np.stack(np.unravel_index(overlap.cut_from(pieces), counts), axis=-1).tolist()
    expected: dict[Key, set[Key]] = {key: set() for key in keys}
    for key, block in zip(keys, blocks, strict=False):
        expected[key].add((layer.name, *block))
    for made, taken in overlap.joined_of(np.arange(math.prod(counts))):
        for piece, joined in zip(made.tolist(), taken.tolist(), strict=True):
            expected[keys[joined]].add(keys[piece])
    tasks = dict(layer)
    return expected == {key: set(keys_taken([task], ())[0]) for key, task in tasks.items()}


def first_word(key: Key) -> Any:
    """Return what a key starts with: by that name, its layer may be known."""
    return key[0] if type(key) is tuple and key else key


def is_block_key(key: object) -> bool:
    """Whether a key is a tuple that starts with a name, as those of arrays do."""
    return type(key) is tuple and bool(key) and type(key[0]) is str


def keys_taken(
    tasks: Iterable[object], odd_keys: Collection[Key]
) -> tuple[list[Key], NDArray[np.intp]]:
    """List what some tasks take, without asking whether such keys exist.

    Parameters
    ----------
    tasks : iterable of object
        Dask's tasks, legacy tuples among them.
    odd_keys : collection of key
        Keys that are not tuples starting with a name, for legacy tasks: their
        arguments may be words and numbers, too.

    Returns
    -------
    keys : list of key
        Of all tasks, one after another. Legacy tasks may name what is no key.
    counts : ndarray of int, shape (n_tasks,)
        How many keys each task takes.
    """
    keys: list[Key] = []
    counts: list[int] = []
    for task in tasks:
        before = len(keys)
        if isinstance(task, GraphNode):
            keys += task.dependencies
        else:
            _add_legacy_keys(keys, task, odd_keys)
        counts.append(len(keys) - before)
    return keys, np.array(counts, dtype=np.intp)


def _add_legacy_keys(keys: list[Key], task: object, odd_keys: Collection[Key]) -> None:
    """Add what a legacy task may take: ``dask.core.keys_in_tasks``, keys not being known."""
    pending: list[Any] = [task]
    while pending:
        work = pending.pop()
        kind = type(work)
        if kind is tuple and work:
            first = work[0]
            if type(first) is str:
                if _is_hashable(work):
                    keys.append(work)
            elif callable(first):
                pending += work[1:]
            elif odd_keys and _is_in(work, odd_keys):
                keys.append(work)
        elif kind is list:
            pending += work
        elif kind is dict:
            pending += work.values()
        elif isinstance(work, GraphNode):
            keys += work.dependencies
        elif isinstance(work, TaskRef):
            keys.append(work.key)
        elif odd_keys and _is_in(work, odd_keys):
            keys.append(work)


def _is_hashable(candidate: Any) -> bool:
    try:
        hash(candidate)
    except TypeError:
        return False
    return True


def _is_in(candidate: Any, keys: Collection[Key]) -> bool:
    try:
        return candidate in keys
    except (TypeError, ValueError):
        # Not hashable, or an array that will not be compared.
        return False


def kinds_of(
    layer: MaterializedLayer,
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Tell a layer's plain values and Futures from its tasks.

    Returns
    -------
    values, futures : ndarray of bool, shape (n_tasks,), or None
        In the order of the layer's mapping; None where there is none. Futures are
        no values here.
    """
    tasks = list(layer.mapping.values())
    if _only_tasks(tasks):
        return None, None
    n_tasks = len(tasks)
    futures = np.fromiter(map(is_future, tasks), dtype=bool, count=n_tasks)
    values = np.fromiter(map(is_value, tasks), dtype=bool, count=n_tasks) & ~futures
    return values if values.any() else None, futures if futures.any() else None


#: Types of what is never a plain value, whatever it holds: see ``is_value``.
_NO_VALUES = (Task, Alias, str, tuple, list, dict, TaskRef)


def _only_tasks(tasks: Iterable[object]) -> bool:
    """Whether there is no plain value and no Future among what a layer holds, by types alone."""
    # A Future is a reference to its own key.
    return all(
        issubclass(kind, _NO_VALUES) and kind.__name__ != "Future" for kind in set(map(type, tasks))
    )


def toposort_layers(graph: HighLevelGraph) -> list[str]:
    """Order layer names so that each comes after those it depends on.

    Deterministic: ties keep the order in which the graph lists its layers. Not that of
    their names, which differ from process to process where they stand for objects.
    """
    listed = {name: place for place, name in enumerate(graph.layers)}
    order: list[str] = []
    placed: set[str] = set()
    for root in graph.layers:
        stack = [root]
        while stack:
            name = stack[-1]
            if name in placed:
                stack.pop()
                continue
            missing = [
                each
                for each in graph.dependencies.get(name, ())
                if each not in placed and each in listed
            ]
            missing.sort(key=listed.__getitem__, reverse=True)
            if missing:
                stack.extend(missing)
            else:
                placed.add(name)
                order.append(stack.pop())
    return order


def restrict_blocks(layer: Blockwise, blocks: Iterable[tuple[int, ...]]) -> Blockwise:
    """Keep only some blocks of a Blockwise layer, symbolic as it is."""
    kept: Blockwise = layer._cull(set(blocks))
    return kept


def in_memory_nbytes(value: object) -> int:
    """Bytes of an array that the graph itself holds; 0 for tasks, stores and Futures."""
    held = value.value if isinstance(value, DataNode) else value
    nbytes = getattr(held, "nbytes", None)
    # Lazy arrays state the bytes they would have; only values in memory are sent.
    in_memory = hasattr(held, "__array_interface__")
    return int(nbytes) if isinstance(nbytes, int) and in_memory else 0


def embedded_nbytes(layer: MaterializedLayer) -> int:
    """Sum the bytes of the arrays that a layer holds."""
    tasks = layer.mapping.values()
    if _only_tasks(tasks):
        return 0
    return sum(map(in_memory_nbytes, tasks))


def as_node(key: Key, value: object, keys: Container[Key]) -> GraphNode:
    """Make a task, an alias or a value of what a graph holds for a key, legacy or not.

    Parameters
    ----------
    key : key
        The key.
    value : object
        What the graph holds.
    keys : container of key
        Says what is a key of the graph.
    """
    node = convert_legacy_task(key, value, keys)
    return node if isinstance(node, GraphNode) else DataNode(key, node)


def block_of(layer: Blockwise, index: tuple[int, ...]) -> GraphNode:
    """Make one task of a symbolic layer, and none of the others."""
    key: Key = (layer.output, *index)
    task: GraphNode = layer.cull({key}, set())[0][key]
    return task


def target_of(node: GraphNode) -> Key | None:
    """Get the key that an alias stands for; None for other nodes."""
    return node.target if isinstance(node, Alias) else None


def taken_from(value: object) -> Key | None:
    """Get the key of the value that a task takes an item of, or stands for.

    So do the layers of single arrays over functions that return several.
    """
    if isinstance(value, Alias):
        return value.target
    if isinstance(value, Task) and value.func is getitem and isinstance(value.args[0], TaskRef):
        return value.args[0].key if _is_item(value.args[1]) else None
    if isinstance(value, tuple) and len(value) == 3 and value[0] is getitem and _is_item(value[2]):
        return value[1]  # type: ignore[no-any-return]
    return value if isinstance(value, str) else None


def _is_item(index: object) -> bool:
    """Whether an index takes an item of a container, and cuts nothing."""
    if isinstance(index, DataNode):
        index = index.value
    cuts = isinstance(index, slice | tuple | list) or index is None or index is Ellipsis
    return not cuts and not hasattr(index, "shape")


def ancestors(graph: HighLevelGraph, layers: Iterable[str]) -> set[str]:
    """Name the given layers and all that they depend on."""
    found: set[str] = set()
    stack = [name for name in layers if name in graph.layers]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack.extend(d for d in graph.dependencies.get(name, ()) if d in graph.layers)
    return found


def future_address(value: Any) -> str:
    """Get the address of the scheduler that a Future in a graph belongs to."""
    future = value.value if isinstance(value, DataNode) else value
    return str(future.client.scheduler.address)


def count_tasks(graph: HighLevelGraph) -> int | None:
    """Count a graph's tasks; None where a layer would have to make them to be counted."""
    if all(isinstance(layer, Blockwise | MaterializedLayer) for layer in graph.layers.values()):
        return sum(len(layer) for layer in graph.layers.values())
    return None


def is_small(graph: HighLevelGraph, *, most: int) -> bool:
    """Whether a graph has no more than so many tasks, as far as can be told without making them."""
    n_tasks = 0
    for layer in graph.layers.values():
        if isinstance(layer, Blockwise | MaterializedLayer):
            n_tasks += len(layer)
        else:
            # Overlaps of neighbours, for one: three pieces along each axis, and more at corners.
            blocks = tuple(getattr(layer, "numblocks", ()) or ())
            n_tasks += math.prod(blocks) * 3 ** len(blocks) if blocks else most // 10
        if n_tasks > most:
            return False
    return True
