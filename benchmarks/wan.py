"""Region against cross-region, over an emulated WAN: seconds, bytes and US dollars.

The regions are network namespaces of one machine, joined by links of 60 ms and of a
stated rate; the network itself counts what crosses. It takes root on Linux. The same
measurements with more data, and a page of them: ``xr-locality bench run``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from benchmarks.effort import FULL
from benchmarks.harness.comparison import WAYS
from benchmarks.harness.measure import measure, measure_reading
from benchmarks.harness.results import WorkResult
from benchmarks.harness.workloads import WORKLOADS
from xr_locality.testing.network import EmulatedNetwork

_Works: TypeAlias = Mapping[str, WorkResult]


class _EveryWay:
    """Some work, done in every way."""

    param_names = ("work", "way")

    def setup_cache(self) -> _Works | None:
        """Do all of it; None where the network cannot run."""
        # The classes below share what this returns: asv keeps one cache for each module.
        if EmulatedNetwork.missing():
            return None
        results = measure(("reductions", "notebook", "workloads"), quick=not FULL)
        return {work.name: work for work in results.works}

    def setup(self, works: _Works | None, work: str, way: str) -> None:
        """Skip where nothing could be measured."""
        if works is None:
            raise NotImplementedError(EmulatedNetwork.missing())

    def track_seconds(self, works: _Works, work: str, way: str) -> float:
        """Seconds that the user waits."""
        return works[work].ways[way].seconds

    def track_times_plan(self, works: _Works, work: str, way: str) -> float:
        """Seconds, over those of the plan."""
        return works[work].times(way)

    def track_nbytes(self, works: _Works, work: str, way: str) -> int:
        """Bytes between regions, as the network counts them."""
        return works[work].ways[way].nbytes

    def track_usd(self, works: _Works, work: str, way: str) -> float:
        """What these bytes cost at the shipped prices."""
        return works[work].ways[way].usd

    def track_values_over_bound(self, works: _Works, work: str, way: str) -> float:
        """The plan's values as counted, over the fewest bytes that any plan moves."""
        if way != "plan":
            return math.nan  # Shown as not applicable.
        return works[work].planned_nbytes / max(1, works[work].bound_nbytes)

    track_seconds.unit = "seconds"  # type: ignore[attr-defined]
    track_times_plan.unit = track_values_over_bound.unit = "ratio"  # type: ignore[attr-defined]
    track_nbytes.unit = "B"  # type: ignore[attr-defined]
    track_usd.unit = "USD"  # type: ignore[attr-defined]


class Reductions(_EveryWay):
    """The difference of two means, each of chunks of 16 MB in its own region."""

    params = (["50 Mbit/s", "200 Mbit/s"], list(WAYS))


class Notebook(_EveryWay):
    """The notebook of 2020: two histograms in two clouds."""

    params = (["the notebook of 2020"], list(WAYS))


class WorkloadRuns(_EveryWay):
    """Every workload, of few cells."""

    params = (list(WORKLOADS), list(WAYS))


class Throughput:
    """How fast are stored bytes read, in their region and from another one?

    By the size of chunks, and by how many are asked for at once.
    """

    params = (["in-region", "cross-region"], ["1 MB", "16 MB"], [1, 8])
    param_names = ("reader", "chunk", "concurrency")

    def setup_cache(self) -> Any:
        """Read in turns; None where the network cannot run."""
        return None if EmulatedNetwork.missing() else measure_reading()

    def setup(self, rates: Any, reader: str, chunk: str, concurrency: int) -> None:
        """Skip where nothing could be measured."""
        if rates is None:
            raise NotImplementedError(EmulatedNetwork.missing())

    def track_rate(self, rates: Any, reader: str, chunk: str, concurrency: int) -> float:
        """Stored megabytes a second."""
        return rates[reader, chunk, concurrency] / 1e6

    track_rate.unit = "MB/s"  # type: ignore[attr-defined]
