"""Tasks that must run in this process, since they hold an object of it."""

from __future__ import annotations

from typing import Final

import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key

from xr_locality.graph.store_calls import StoreCall, store_calls
from xr_locality.graph.tasks import is_value
from xr_locality.sources.search import Contents, find_contents, local_test

__all__ = ["local_calls", "local_tasks"]

#: Protocols of targets that other processes do not have, or not as they are here.
_HERE: Final = frozenset({"file", "memory", "unknown"})


def local_tasks(graph: HighLevelGraph, name: str, contents: Contents) -> frozenset[Key] | None:
    """Find the tasks of a layer that hold an object of this process, or write to one.

    Parameters
    ----------
    graph : HighLevelGraph
        Layers stay symbolic.
    name : str
        The layer.
    contents : Contents
        What the layer's objects lead to.

    Returns
    -------
    frozenset of key or None
        Empty for all tasks, None for none. Of a value that is a node of its own, the tasks
        that take it are meant.
    """
    layer = graph.layers[name]
    calls = local_calls(graph, name)
    if not contents.local and not calls:
        return None
    if not isinstance(layer, MaterializedLayer):
        return frozenset()
    keys = {call.key for call in calls}
    if contents.local:
        is_local = local_test()
        keys.update(key for key, value in layer.mapping.items() if is_local(value))
    tasks = frozenset(key for key in keys if key is not None)
    every = len(tasks) == len(layer.mapping)
    return frozenset() if every and not any(map(is_value, layer.mapping.values())) else tasks


def local_calls(graph: HighLevelGraph, name: str) -> list[StoreCall]:
    """List the tasks of a layer that write chunks to an object of this process."""
    known: dict[int, bool] = {}
    calls = []
    for call in store_calls(graph, name):
        target = call.target
        if target is None:
            continue
        if id(target) not in known:
            known[id(target)] = _is_local(target)
        if known[id(target)]:
            calls.append(call)
    return calls


def _is_local(target: object) -> bool:
    if isinstance(target, np.ndarray):
        return True
    found = find_contents([target])
    if found.local:
        return True
    protocols = {each.store.protocol for each in found.sources}
    if "zarr" in {kind.__module__.partition(".")[0] for kind in type(target).__mro__}:
        # An array in a folder is opened again by its path.
        return protocols == {"memory"}
    return protocols <= _HERE
