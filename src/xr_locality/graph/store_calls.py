"""Calls of tasks that write a chunk, and what they write to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.typing import Key

from xr_locality.compat.dask_graph import DataNode, Task, TaskRef, is_store_chunk
from xr_locality.graph.tasks import is_value

__all__ = ["StoreCall", "store_calls"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoreCall:
    """A task of ``dask.array.store``, fused with others or not.

    Attributes
    ----------
    key : key or None
        The task; None for all tasks of a symbolic layer.
    target : object
        The object that is written to; None if a task makes it.
    target_key : key or None
        The graph's key of the target, if the graph holds it as a value of its own.
    lock : object
        The lock that is held meanwhile; None or False without one.
    """

    key: Key | None
    target: Any
    target_key: Key | None
    lock: Any


def store_calls(graph: HighLevelGraph, name: str) -> Iterator[StoreCall]:
    """List the tasks of a layer that write chunks.

    Parameters
    ----------
    graph : HighLevelGraph
        Layers stay symbolic.
    name : str
        The layer.

    Yields
    ------
    StoreCall
    """
    layer = graph.layers[name]
    if isinstance(layer, Blockwise):
        literals = {
            f"__dask_blockwise__{n}": argument
            for n, (argument, index) in enumerate(layer.indices)
            if index is None
        }
        yield from _calls(graph, name, None, layer.task, literals)
    elif isinstance(layer, MaterializedLayer) and _may_write(layer):
        for key, task in layer.mapping.items():
            if isinstance(task, Task):
                yield from _calls(graph, name, key, task, {})


def _may_write(layer: MaterializedLayer) -> bool:
    functions = {
        id(task.func): task.func for task in layer.mapping.values() if isinstance(task, Task)
    }
    return any(
        is_store_chunk(each) or _name(each) in (_FUSED, _WRAPPED) for each in functions.values()
    )


#: Names of dask's functions that run other tasks: fused ones, and one that is given another
#: key. Where they are renamed, what fused tasks write to is not known.
_FUSED: Final = "_execute_subgraph"
_WRAPPED: Final = "_identity"


def _name(function: Any) -> str:
    return getattr(function, "__name__", "")


def _calls(
    graph: HighLevelGraph, name: str, key: Key | None, task: Any, known: Mapping[Any, Any]
) -> Iterator[StoreCall]:
    if not isinstance(task, Task):
        return
    if is_store_chunk(task.func):
        target = task.args[1] if len(task.args) > 1 else task.kwargs.get("out")
        lock = task.args[3] if len(task.args) > 3 else task.kwargs.get("lock")
        target, target_key = _resolve(graph, name, target, known)
        yield StoreCall(
            key=key,
            target=target,
            target_key=target_key,
            lock=_resolve(graph, name, lock, known)[0],
        )
    elif _name(task.func) == _WRAPPED:
        for argument in task.args:
            yield from _calls(graph, name, key, argument, known)
    elif _name(task.func) == _FUSED:
        # Tasks inside by their keys, the key of the result, names of what comes from
        # outside, and its values.
        inside, _, names, *values = task.args
        if not isinstance(inside, Mapping):
            return
        outside = dict(zip(names, values, strict=False)) | dict(inside)
        for each in inside.values():
            yield from _calls(graph, name, key, each, outside)


def _resolve(
    graph: HighLevelGraph, name: str, argument: Any, known: Mapping[Any, Any]
) -> tuple[Any, Key | None]:
    """Return the object that an argument stands for, and its key if it is a value of the graph."""
    while isinstance(argument, TaskRef) and argument.key in known:
        argument = known[argument.key]
    if isinstance(argument, DataNode):
        return argument.value, None
    if not isinstance(argument, TaskRef):
        return (None if isinstance(argument, Task) else argument), None
    for layer in (name, *graph.dependencies.get(name, ())):
        found = _value(graph.layers.get(layer), argument.key)
        if found is not None:
            return found, argument.key
    return None, None


def _value(layer: Layer | None, key: Key) -> Any:
    if not isinstance(layer, MaterializedLayer) or key not in layer.mapping:
        return None
    value = layer.mapping[key]
    if not is_value(value):
        return None
    return value.value if isinstance(value, DataNode) else value
