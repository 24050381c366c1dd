"""Keys of a run, and the graph optimiser that renames its tasks to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dask.array.optimization import optimize
from dask.core import flatten, reverse_dict
from dask.highlevelgraph import HighLevelGraph
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

__all__ = ["PartitionOptimizer", "rename"]


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
        names = {
            key: rename(key, self.run)
            for key, task in optimized.items()
            if key not in self.fixed and not isinstance(task, P2PBarrierTask)
        }
        return {
            names.get(key, key): task.substitute(names, key=names.get(key, key))
            for key, task in optimized.items()
        }

    def _nbytes_of(self, key: Key) -> int:
        layer = key[0] if isinstance(key, tuple) and key else key
        return self.nbytes.get(layer, 0) if isinstance(layer, str) else 0
