"""Keys of a run, and the graph optimiser that renames its tasks to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask.array.optimization import optimize
from dask.core import flatten, reverse_dict
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.order import order
from dask.typing import Key
from dask.utils import ensure_dict

from xr_locality.execution.remote.compat import (
    DependenciesMapping,
    P2PBarrierTask,
    convert_legacy_graph,
    fuse_linear_task_spec,
    resolve_aliases,
)
from xr_locality.execution.remote.prefetch_limit import limit_prefetch

__all__ = ["OutputOptimizer", "PartitionOptimizer", "rename"]


def rename(key: Key, run: str) -> Key:
    """Make a key that no other run uses, keeping what dask reads from its name."""
    if isinstance(key, str):
        return f"{key}-{run}"
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        return (f"{key[0]}-{run}", *key[1:])
    return (f"locality-{run}", key)


@dataclass(frozen=True)
class PartitionOptimizer:
    """Graph optimiser of a partition: as dask optimises an array, then with unique keys.

    Two runs may cut one graph in different places. A scheduler that is sent a
    key again with other dependencies keeps the old ones, so the keys of a run
    are its own. Barriers of peer-to-peer shuffles keep their names: workers and
    scheduler find them by these.

    Parameters
    ----------
    run : str
        Marks the keys of this run.
    fixed : frozenset of key
        Keys that keep their names: Futures.
    fetches : tuple of key
        Tasks that fetch values.
    sends : frozenset of key
        Values that other regions need.
    nbytes : mapping of str to int
        Bytes of the values of each layer.
    window : int
        Bytes of values that may wait for fetches.
    """

    run: str
    fixed: frozenset[Key]
    fetches: tuple[Key, ...] = ()
    sends: frozenset[Key] = frozenset()
    nbytes: Mapping[str, int] = field(default_factory=dict)
    window: int = 0

    def __call__(self, graph: Any, keys: Any, **_: Any) -> dict[Key, Any]:
        """Optimise a graph for some keys; called by dask, on the scheduler."""
        optimized = optimize(graph, keys)
        if isinstance(optimized, HighLevelGraph):
            # Where fusion is switched off, dask returns the layers.
            optimized = convert_legacy_graph(ensure_dict(optimized))
        else:
            # Once more: dask leaves a chain in two where it comes upon its middle first.
            wanted = {*flatten([keys]), *self.fixed}
            optimized = fuse_linear_task_spec(optimized, keys=wanted)
            # Fusion keeps both names of a fused task; the second task is an alias of the first.
            dependents = reverse_dict(DependenciesMapping(optimized))
            optimized = resolve_aliases(optimized, wanted, dependents)
        if self.fetches and sum(map(self._nbytes_of, optimized)) > self.window:
            # The producer orders the values as these fetches are ordered.
            priorities = order(optimized)
            optimized = limit_prefetch(
                optimized,
                fetches=sorted(self.fetches, key=priorities.__getitem__),
                sends=self.sends,
                nbytes=self._nbytes_of,
                window=self.window,
            )
        return _rename_tasks(optimized, _new_names(optimized, self.run, self.fixed))

    def _nbytes_of(self, key: Key) -> int:
        layer = key[0] if isinstance(key, tuple) and key else key
        return self.nbytes.get(layer, 0) if isinstance(layer, str) else 0


@dataclass(frozen=True)
class OutputOptimizer:
    """Graph optimiser of outputs of one region: that of their collection, then unique keys.

    A scheduler keeps the tasks of a key that it knows. Without unique keys, a run that
    reads a store again would return values of an earlier run, made before the store was
    written to.

    Parameters
    ----------
    run : str
        Marks the keys of this run.
    optimizer : callable or None
        The ``__dask_optimize__`` of the collection.
    expression : dask expression or None
        The optimised expression of a DataFrame, which takes the place of the graph.
    """

    run: str
    optimizer: Callable[..., Any] | None = None
    expression: Any = None

    def __call__(self, graph: Any, keys: Any, **_: Any) -> HighLevelGraph:
        """Optimise a graph for some keys; called by dask, on the scheduler."""
        if self.expression is not None:
            graph = self.expression.__dask_graph__()
        elif self.optimizer is not None:
            graph = self.optimizer(graph, keys)
        layers: Mapping[str, Any] = (
            graph.layers if isinstance(graph, HighLevelGraph) else {"tasks": graph}
        )
        # A Future of the user's is no task: its key is left out here, and kept.
        every = set(ensure_dict(graph))
        tasks = {name: convert_legacy_graph(layer, every) for name, layer in layers.items()}
        names: dict[Key, Key] = {}
        for each in tasks.values():
            names.update(_new_names(each, self.run))
        originals = {new: old for old, new in names.items()}
        renamed = {
            name: MaterializedLayer(
                _rename_tasks(each, names), annotations=_annotations(layers[name], originals)
            )
            for name, each in tasks.items()
        }
        # The scheduler reads the dependencies of the tasks, not those of the layers.
        return HighLevelGraph(renamed, {name: set() for name in renamed})


def _new_names(
    tasks: Mapping[Key, Any], run: str, fixed: frozenset[Key] = frozenset()
) -> dict[Key, Key]:
    return {
        key: rename(key, run)
        for key, task in tasks.items()
        if key not in fixed and not isinstance(task, P2PBarrierTask)
    }


def _rename_tasks(tasks: Mapping[Key, Any], names: Mapping[Key, Key]) -> dict[Key, Any]:
    return {
        names.get(key, key): task.substitute(names, key=names.get(key, key))
        for key, task in tasks.items()
    }


def _annotations(layer: Any, originals: Mapping[Key, Key]) -> dict[str, Any] | None:
    """Copy the annotations of a layer; functions of a key get the key that the user knows."""
    if not isinstance(layer, Layer) or not layer.annotations:
        return None

    def of_original(function: Callable[[Key], Any]) -> Callable[[Key], Any]:
        return lambda key: function(originals.get(key, key))

    return {
        name: of_original(value) if callable(value) else value
        for name, value in layer.annotations.items()
    }
