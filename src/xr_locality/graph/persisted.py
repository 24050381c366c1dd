"""Values that stay in the region where they were made, as ``persist`` leaves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key

from xr_locality.compat.dask_graph import Task
from xr_locality.errors import ExecutionError, SourceError
from xr_locality.regions.region import LOCAL, Region

__all__ = ["KEPT", "HeldValue", "hold", "reveal"]

#: Where a layer of held values says what may not leave: regions and words by URL.
KEPT: Final = "locality_kept"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldValue:
    """A chunk that a region's cluster holds.

    Attributes
    ----------
    region : Region
        Where it is.
    future : distributed.Future
        Keeps it there, for as long as this exists.
    pull : callable
        Brings it here.
    nbytes : int or None
        Its size in memory, where the cluster has said so.
    kept : mapping of str to str
        What it was made of and may not leave its region with: ``never`` or ``reduced`` by
        the URL of the source. ``reduced`` where the value is a chunk as it was read.
    here : Region
        Where this process is.
    """

    region: Region
    future: Any = field(repr=False)
    pull: Callable[[], Any] = field(repr=False)
    nbytes: int | None = None
    kept: Mapping[str, str] = field(default_factory=dict)
    here: Region = LOCAL

    def get(self) -> Any:
        """Bring the value here; what a plain ``.compute()`` runs.

        Raises
        ------
        SourceError
            If it may not leave its region.
        """
        if self.kept and not self.region.contains(self.here):
            url, leaves = next(iter(sorted(self.kept.items())))
            raise SourceError(
                f"{url!r} may not leave region {str(self.region)!r} (leaves: {leaves}), and "
                "what was persisted of it would be brought here. Reduce it in its region, with "
                ".locality.compute() or inside xr_locality.routed().",
                url=url,
                region=str(self.region),
            )
        return self.pull()

    def __reduce__(self) -> NoReturn:
        raise ExecutionError(
            f"Persisted data in region {str(self.region)!r} cannot be pickled or sent elsewhere: "
            "they are held by this process's session. Compute them with .locality.compute(), "
            "inside xr_locality.routed(), or load them first.",
            region=str(self.region),
        )


def hold(collection: Any, keys: list[Key], values: Mapping[Key, HeldValue]) -> Any:
    """Rebuild a collection on values that stay where they are.

    Parameters
    ----------
    collection : dask collection
        What was persisted.
    keys : list of key
        Its output keys.
    values : mapping of key to HeldValue
        What the regions hold.

    Returns
    -------
    dask collection
        Of the same type, name and keys.
    """
    tasks = {key: Task(key, HeldValue.get, values[key]) for key in keys}
    rebuild, extra = collection.__dask_postpersist__()
    return rebuild(tasks, *extra)


def reveal(graph: HighLevelGraph) -> HighLevelGraph:
    """Put Futures where a graph holds such values, for those who know what to do with them."""
    layers = {
        name: _futures(layer)
        for name, layer in graph.layers.items()
        if isinstance(layer, MaterializedLayer) and _all_held(layer)
    }
    if not layers:
        return graph
    return HighLevelGraph({**graph.layers, **layers}, graph.dependencies)


def _futures(layer: MaterializedLayer) -> MaterializedLayer:
    """Put Futures for a layer's values, and keep what it states of them, sizes too."""
    held = {key: _held(task) for key, task in layer.mapping.items()}
    sizes = {key: each.nbytes for key, each in held.items() if each.nbytes is not None}
    kept = {
        url: (each.region, leaves) for each in held.values() for url, leaves in each.kept.items()
    }
    return MaterializedLayer(
        {key: each.future for key, each in held.items()},
        annotations=layer.annotations,
        collection_annotations={
            **(layer.collection_annotations or {}),
            "nbytes": sizes,
            **({KEPT: kept} if kept else {}),
        },
    )


def _all_held(layer: MaterializedLayer) -> bool:
    return len(layer) > 0 and all(
        isinstance(task, Task) and task.func is HeldValue.get for task in layer.mapping.values()
    )


def _held(task: Task) -> HeldValue:
    held = task.args[0]
    assert isinstance(held, HeldValue)
    return held
