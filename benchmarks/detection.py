"""What does it cost to find where a graph's data are stored?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import zarr
from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from zarr.storage import MemoryStore, StorePath

from benchmarks.effort import sizes
from xr_locality.graph.layers import embedded_objects
from xr_locality.regions.store import Store
from xr_locality.sources import find_sources


def _function(first: object, second: object) -> object:
    return first


def _zarr_array(n_chunks: int) -> Any:
    """Make an array of so many chunks, of which none is written."""
    return zarr.create_array(
        MemoryStore(), name="tp", shape=(n_chunks * 100,), chunks=(100,), dtype="f4"
    )


def _tasks(n_tasks: int) -> list[object]:
    return [Task(("x", n), _function, TaskRef(("y", n)), n) for n in range(n_tasks)]


def _legacy(n_tasks: int) -> list[object]:
    return [(_function, [("y", n, 0), ("y", n, 1)]) for n in range(n_tasks)]


def _inlined(n_tasks: int) -> list[object]:
    array = _zarr_array(1)
    return [Task(("x", n), _function, array, (slice(n, n + 1),)) for n in range(n_tasks)]


def _blockwise(n_tasks: int) -> list[object]:
    array = da.from_array(_zarr_array(n_tasks), chunks=100) + 1
    return [held for layer in array.dask.layers.values() for held in embedded_objects(layer)]


_LAYERS: dict[str, Callable[[int], list[object]]] = {
    "tasks": _tasks,
    "legacy": _legacy,
    "inlined": _inlined,
    "blockwise": _blockwise,
}


class FindInLayers:
    """What does it take to look through what layers hold?

    Tasks that take keys, legacy tuples with lists of keys, tasks that each hold the
    same zarr array, and layers that are a rule for their tasks.
    """

    params = (list(_LAYERS), sizes(10**3, 10**4, 10**5, full=(10**6,)))
    param_names = ("layer", "n_tasks")

    def setup(self, layer: str, n_tasks: int) -> None:
        """Make what the layers hold."""
        self.objects = _LAYERS[layer](n_tasks)

    def time_find(self, layer: str, n_tasks: int) -> None:
        """Look through them."""
        find_sources(self.objects)


class FindInReferences:
    """What does it take to find the buckets behind kerchunk's references, the first time?"""

    params = sizes(10**3, 10**4, 10**5, full=(10**6,))
    param_names = ("n_references",)
    number = 1
    warmup_time = 0

    def setup(self, n_references: int) -> None:
        """Make references to a thousandth as many files, in two buckets."""
        import fsspec
        from zarr.storage import FsspecStore

        references = {
            f"tp/{n}": [f"memory://bucket{n % 2}/{n // 1000}.nc", n * 100, 100]
            for n in range(n_references)
        }
        fs = fsspec.filesystem(
            "reference",
            fo=references,
            remote_protocol="memory",
            asynchronous=True,
            skip_instance_cache=True,
        )
        self.place = StorePath(FsspecStore(fs, path="/"), "tp")

    def time_find(self, n_references: int) -> None:
        """Find the buckets."""
        find_sources([self.place])


class DetectionAgainstMaterialising:
    """Does detection cost at most a tenth of what dask takes to make the graph's tasks?

    A graph of 100,000 chunks in ten stores, read, added to and averaged. Both are
    timed in one run, the fastest of three.
    """

    n_stores: ClassVar[int] = 10
    n_chunks: ClassVar[int] = 100_000

    def setup(self) -> None:
        """Make the stores."""
        self.arrays = [_zarr_array(self.n_chunks // self.n_stores) for _ in range(self.n_stores)]

    def track_ratio(self) -> float:
        """Seconds to find the stores over seconds to materialise the graph."""
        # A new graph each time, since layers keep the tasks that they have made.
        detecting = min(_seconds(_detect, self._graph()) for _ in range(3))
        return detecting / min(_seconds(HighLevelGraph.to_dict, self._graph()) for _ in range(3))

    track_ratio.unit = "ratio"  # type: ignore[attr-defined]

    def _graph(self) -> HighLevelGraph:
        arrays = [
            da.from_array(array, chunks=100, name=f"array-{number}")
            for number, array in enumerate(self.arrays)
        ]
        graph = (da.concatenate(arrays) + np.float32(1)).mean().dask
        assert isinstance(graph, HighLevelGraph)
        return graph


def _detect(graph: HighLevelGraph) -> set[Store]:
    """Find the stores, layer by layer as a plan does."""
    return {
        found.store
        for layer in graph.layers.values()
        for found in find_sources(embedded_objects(layer))
    }


def _seconds(call: Callable[[HighLevelGraph], object], graph: HighLevelGraph) -> float:
    start = time.perf_counter()
    call(graph)
    return time.perf_counter() - start
