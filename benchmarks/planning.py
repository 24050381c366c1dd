"""What does planning cost, beside dask's own work on the same graph?

Graphs are real dask graphs over zarr arrays that are declared and never written. What dask
itself must do with such a graph before anything runs, making its tasks and optimising
them, sets the scale: it is timed on the same graph in the same run.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from itertools import count
from typing import Any

import dask
import dask.array as da
import numpy as np
import zarr
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.utils import ensure_dict

import xr_locality as xl
from benchmarks.effort import sizes

REGIONS = ("aws:us-west-2", "gcp:us-central1")
ENDPOINTS = dict.fromkeys(REGIONS)

_numbers = count()


def declared(region: str, n_chunks: int, *, columns: int = 10) -> da.Array:
    """Make a lazy array of about so many chunks, ten of them in a row, stored in a region."""
    rows = max(1, n_chunks // columns)
    array = zarr.create_array({}, shape=(rows * 100, columns * 100), chunks=(100, 100), dtype="f8")
    lazy = da.from_array(array, chunks=(100, 100), name=f"declared-{next(_numbers)}")
    return xl.tag(lazy, region)


def one_region(n_tasks: int) -> da.Array:
    """Reduce what was changed chunk by chunk."""
    return ((declared(REGIONS[0], n_tasks // 5) + 1) * 2 - 3).mean(0)


def overlapping(n_tasks: int) -> da.Array:
    """Smooth an array over its chunks' edges, and reduce it."""
    columns = max(2, int((n_tasks / 12) ** 0.5))
    array = declared(REGIONS[0], columns * columns, columns=columns)
    return da.overlap.map_overlap(np.tanh, array, depth=1, boundary="none", dtype=float).mean()


def materialised(n_tasks: int) -> da.Array:
    """Do the work of ``one_region``, every layer a dict of tasks already."""
    array = one_region(n_tasks)
    graph = array.__dask_graph__()
    layers = {
        name: MaterializedLayer(dict(layer), annotations=layer.annotations)
        for name, layer in graph.layers.items()
    }
    listed = HighLevelGraph(layers, graph.dependencies)
    return da.Array(listed, array.name, array.chunks, dtype=array.dtype)


def two_reductions(n_tasks: int) -> da.Array:
    """Subtract the means of two regions."""
    one, other = (declared(region, n_tasks // 10) for region in REGIONS)
    return ((one + 1) * 2 - 3).mean(0) - ((other + 1) * 2 - 3).mean(0)


def mask_and_difference(n_tasks: int) -> da.Array:
    """Mask a region's data by the other's mean, subtract the other's, reduce."""
    one, other = (declared(region, n_tasks // 9) for region in REGIONS)
    masked = da.where((other * 2).mean(0) > 3, one + 1, 0)
    return (masked - other).mean(0)


def stencil(n_tasks: int) -> da.Array:
    """Smooth a concatenation of two regions over its chunks' edges, and reduce it."""
    columns = max(2, int((n_tasks / 13) ** 0.5))
    pieces = [declared(region, columns * columns // 2, columns=columns) for region in REGIONS]
    both = da.concatenate(pieces)
    return da.overlap.map_overlap(np.tanh, both, depth=1, boundary="none", dtype=float).mean()


GRAPHS: dict[str, Callable[[int], da.Array]] = {
    "one region": one_region,
    "one region, overlapping": overlapping,
    "one region, materialised": materialised,
    "two reductions": two_reductions,
    "mask and difference": mask_and_difference,
    "stencil over a concat": stencil,
}


def seconds_of_dask(make: Callable[[], da.Array]) -> float:
    """Time what dask does with a graph before it runs: make its tasks, and optimise them."""
    array = make()
    started = time.perf_counter()
    ensure_dict(array.__dask_graph__())
    seconds = time.perf_counter() - started
    array = make()
    started = time.perf_counter()
    dask.optimize(array)
    return seconds + time.perf_counter() - started


class Planning:
    """What does a plan take, in seconds, beside dask's own, and in memory?"""

    params = (list(GRAPHS), sizes(10**3, 10**4, full=(10**5, 10**6)))
    param_names = ("graph", "n_tasks")
    timeout = 1800

    def setup(self, graph: str, n_tasks: int) -> None:
        """Make the graph."""
        self.make = lambda: GRAPHS[graph](n_tasks)
        # Tables are read, and modules imported, once for a process.
        xl.plan(GRAPHS[graph](1000), endpoints=ENDPOINTS)
        self.array = self.make()

    def plan(self) -> Any:
        """Plan it."""
        return xl.plan(self.array, endpoints=ENDPOINTS)

    def time_plan(self, graph: str, n_tasks: int) -> None:
        """Plan it."""
        self.plan()

    time_plan.number = 1  # type: ignore[attr-defined]

    def track_ratio_to_dask(self, graph: str, n_tasks: int) -> float:
        """Time of planning beside dask's own."""
        started = time.perf_counter()
        self.plan()
        seconds = time.perf_counter() - started
        return seconds / seconds_of_dask(self.make)

    track_ratio_to_dask.unit = "of dask's time"  # type: ignore[attr-defined]

    def track_memory_ratio(self, graph: str, n_tasks: int) -> float:
        """Peak of planning beside the materialised graph's own."""
        if n_tasks > 10**5:
            raise NotImplementedError("tracing every allocation takes too long")
        gc.collect()
        tracemalloc.start()
        self.plan()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gc.collect()
        tracemalloc.start()
        tasks = ensure_dict(self.make().__dask_graph__())
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert tasks
        return peak / held

    track_memory_ratio.unit = "of the materialised graph"  # type: ignore[attr-defined]

    def track_gap(self, graph: str, n_tasks: int) -> float:
        """By how much a plan may cost more than the best."""
        return self.plan().gap

    track_gap.unit = "of the cost"  # type: ignore[attr-defined]
