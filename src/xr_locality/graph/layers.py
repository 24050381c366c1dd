"""Layers of a graph: what they hold, how they are ordered, and how many tasks they have.

Nothing here computes a chunk, and layers stay symbolic as long as they can: the literal
arguments and the dependencies of a Blockwise layer are read, never its tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from numpy.typing import NDArray

from xr_locality.compat.dask_graph import (
    Alias,
    Task,
    TaskRef,
    blockwise_literals,
    is_future,
    is_store_chunk,
)
from xr_locality.graph.tasks import in_memory_nbytes, is_value

__all__ = [
    "ancestors",
    "count_tasks",
    "cuts_blocks",
    "embedded_nbytes",
    "embedded_objects",
    "holds_futures",
    "is_small",
    "is_symbolic",
    "kinds_of",
    "toposort_layers",
    "writes_chunks",
]


def embedded_objects(layer: Layer) -> Iterable[object]:
    """List the objects that a layer's tasks hold, without making the tasks.

    Returns
    -------
    iterable of object
        Literal arguments, values, functions and tasks; the caller walks them.
    """
    if isinstance(layer, Blockwise):
        return blockwise_literals(layer)
    if isinstance(layer, MaterializedLayer):
        return layer.mapping.values()
    # Symbolic layers such as ArrayOverlapLayer hold parameters, not stores. Their caches hold
    # keys and tasks that are made from these.
    return [value for name, value in vars(layer).items() if not name.startswith("_cached")]


def writes_chunks(layer: Layer) -> bool:
    """Whether a layer's tasks write chunks to a store, as ``to_zarr`` makes them."""
    task = layer.task if isinstance(layer, Blockwise) else None
    if task is None and isinstance(layer, MaterializedLayer):
        task = next(iter(layer.mapping.values()), None)
    return isinstance(task, Task) and is_store_chunk(task.func)


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


def holds_futures(layer: Layer) -> bool:
    """Whether there are Futures among a layer's values, not only inside of tasks."""
    return isinstance(layer, MaterializedLayer) and (
        not _only_tasks(layer.mapping.values()) and any(map(is_future, layer.mapping.values()))
    )


def kinds_of(
    layer: MaterializedLayer,
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Find the plain values and the Futures of a layer among its tasks.

    Returns
    -------
    values, futures : ndarray of bool, shape (n_tasks,), or None
        In the order of the layer's mapping; None where there is none. A Future does
        not count as a value here.
    """
    tasks = list(layer.mapping.values())
    if _only_tasks(tasks):
        return None, None
    n_tasks = len(tasks)
    futures = np.fromiter(map(is_future, tasks), dtype=bool, count=n_tasks)
    values = np.fromiter(map(is_value, tasks), dtype=bool, count=n_tasks) & ~futures
    return values if values.any() else None, futures if futures.any() else None


#: Types whose objects are never plain values, whatever they hold: see ``is_value``.
_NO_VALUES = (Task, Alias, str, tuple, list, dict, TaskRef)


def _only_tasks(tasks: Iterable[object]) -> bool:
    """Whether a layer holds neither plain values nor Futures, judged by types alone."""
    # A Future is a reference to its own key.
    return all(
        issubclass(kind, _NO_VALUES) and kind.__name__ != "Future" for kind in set(map(type, tasks))
    )


def toposort_layers(graph: HighLevelGraph) -> list[str]:
    """Order layer names so that each comes after those it depends on.

    Deterministic: ties keep the order in which the graph lists its layers. Names would not
    do, as tokens of objects differ from process to process.
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


def embedded_nbytes(layer: MaterializedLayer) -> int:
    """Sum the bytes of the arrays that a layer holds."""
    tasks = layer.mapping.values()
    if _only_tasks(tasks):
        return 0
    return sum(map(in_memory_nbytes, tasks))


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


def count_tasks(graph: HighLevelGraph) -> int | None:
    """Count a graph's tasks; None where a layer would have to make them to be counted."""
    if all(isinstance(layer, Blockwise | MaterializedLayer) for layer in graph.layers.values()):
        return sum(len(layer) for layer in graph.layers.values())
    return None


def is_small(graph: HighLevelGraph, *, most: int) -> bool:
    """Whether a graph has at most so many tasks; symbolic layers are estimated."""
    n_tasks = 0
    for layer in graph.layers.values():
        if isinstance(layer, Blockwise | MaterializedLayer):
            n_tasks += len(layer)
        else:
            # An overlap of neighbours has three pieces along each axis, and more at corners.
            blocks = tuple(getattr(layer, "numblocks", ()) or ())
            n_tasks += math.prod(blocks) * 3 ** len(blocks) if blocks else most // 10
        if n_tasks > most:
            return False
    return True
