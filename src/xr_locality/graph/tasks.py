"""Single entries of a graph: tasks, aliases and values, and what each takes."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from operator import getitem
from typing import Any

import numpy as np
from dask.core import istask
from dask.typing import Key
from numpy.typing import NDArray

from xr_locality.compat.dask_graph import (
    Alias,
    DataNode,
    GraphNode,
    Task,
    TaskRef,
    convert_legacy_task,
)

__all__ = [
    "as_node",
    "future_address",
    "in_memory_nbytes",
    "is_block_key",
    "is_value",
    "keys_taken",
    "taken_from",
    "target_of",
]


def is_value(value: object) -> bool:
    """Whether an entry of a graph is data itself, not a task and not an alias of a key.

    Such an entry costs nothing to run, so it goes into each partition that uses it.
    """
    if isinstance(value, DataNode):
        return True
    if isinstance(value, GraphNode | str | tuple | list | dict | TaskRef):
        return False
    return not istask(value)


def as_node(key: Key, value: object, keys: Container[Key]) -> GraphNode:
    """Convert the entry that a graph holds for a key, legacy or not, to a task object.

    Parameters
    ----------
    key : key
        The key.
    value : object
        The graph's entry.
    keys : container of key
        The keys of the graph.
    """
    node = convert_legacy_task(key, value, keys)
    return node if isinstance(node, GraphNode) else DataNode(key, node)


def target_of(node: GraphNode) -> Key | None:
    """Get the key that an alias stands for; None for other nodes."""
    return node.target if isinstance(node, Alias) else None


def taken_from(value: object) -> Key | None:
    """Get the key of the value that a task takes one item of, or is an alias of.

    Layers of single arrays over functions that return several arrays hold such tasks.
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


def is_block_key(key: object) -> bool:
    """Whether a key is a tuple that starts with a name, as those of arrays do."""
    return type(key) is tuple and bool(key) and type(key[0]) is str


def keys_taken(
    tasks: Iterable[object], odd_keys: Collection[Key]
) -> tuple[list[Key], NDArray[np.intp]]:
    """List the keys that some tasks take; not all of them need exist.

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
        Of all tasks, one after another. Strings in legacy tasks may be mere words.
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
    """Add the keys that a legacy task may take, as ``dask.core.keys_in_tasks`` would."""
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
        # Not hashable, or an array, which has no truth value.
        return False


def future_address(value: Any) -> str:
    """Get the address of the scheduler that a Future in a graph belongs to."""
    future = value.value if isinstance(value, DataNode) else value
    return str(future.client.scheduler.address)


def in_memory_nbytes(value: object) -> int:
    """Get the bytes of an array that the graph itself holds; 0 for tasks, stores and Futures."""
    array = value.value if isinstance(value, DataNode) else value
    nbytes = getattr(array, "nbytes", None)
    # Lazy arrays state the bytes they would have; only values in memory are sent.
    in_memory = hasattr(array, "__array_interface__")
    return int(nbytes) if isinstance(nbytes, int) and in_memory else 0
