"""Is work beside its data faster, and what does the library itself cost?"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from benchmarks.alternation import Samples, median_ratio, median_seconds, take_turns
from benchmarks.effort import FULL
from xr_locality import Session
from xr_locality.errors import MissingDependencyError
from xr_locality.testing import EmulatedRegion, Testbed

_HERE: Final = "aws:us-west-2"
_THERE: Final = "gcp:us-central1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reads:
    samples: Samples
    #: Megabytes that each reader got of the store, by its access log, in a run of each way.
    logged: Mapping[str, Mapping[str, float]]


class InRegionAgainstCrossRegion:
    """How fast are stored bytes read from beside them, and how fast from elsewhere?

    A store in one emulated region is read by a worker there, by a worker of the
    other region, and by this process, with one thread each. Nothing shapes what
    passes between the regions, which are one machine: the rates are all the object
    server's, and their ratios are near 1. It takes an emulated WAN to pull them
    apart. Who reads which bytes is here as it is in the clouds.
    """

    params = ("in-region", "cross-region", "client")
    param_names = ("reader",)

    def setup_cache(self) -> _Reads | None:
        """Read in turns; None where packages are missing."""
        with ExitStack() as stack:
            try:
                bed = stack.enter_context(Testbed((_HERE, _THERE)))
            except MissingDependencyError:
                return None
            stored = _store(bed[_HERE], n_chunks=32)
            here, there = (
                {each.region: endpoint}
                for each, endpoint in zip(
                    bed, bed.endpoints(minimum=1, maximum=1).values(), strict=True
                )
            )
            beside = stack.enter_context(Session(here))
            across = stack.enter_context(Session(there, missing_endpoint="nearest"))
            ways = {
                "in-region": beside.compute,
                "cross-region": across.compute,
                "client": lambda work: work.compute(scheduler="threads", num_workers=1),
            }

            def make(number: int) -> xr.DataArray:
                return (stored + number).max()

            objects = bed[_HERE].objects
            logged: dict[str, Counter[str]] = {}
            for name, way in ways.items():
                objects.clear_requests()
                way(make(0))
                logged[name] = Counter()
                for record in objects.requests():
                    if record.method == "GET":
                        logged[name][record.reader] += record.nbytes / 1e6
            return _Reads(
                samples=take_turns(ways, make=make, rounds=4 if FULL else 2), logged=logged
            )

    def setup(self, reads: _Reads | None, reader: str) -> None:
        """Skip where nothing could be measured."""
        _skip_without(reads)

    def track_rate(self, reads: _Reads, reader: str) -> float:
        """Stored megabytes read in a second."""
        return sum(reads.logged[reader].values()) / median_seconds(reads.samples, reader)

    def track_ratio_to_in_region(self, reads: _Reads, reader: str) -> float:
        """Seconds that it takes to read all, over those in the region."""
        return median_ratio(reads.samples, reader, over="in-region")

    def track_read_in_region(self, reads: _Reads, reader: str) -> float:
        """Megabytes that the region's own workers got, by the access log."""
        return reads.logged[reader].get(_HERE, 0.0)

    def track_read_from_elsewhere(self, reads: _Reads, reader: str) -> float:
        """Megabytes that all others got, by the access log."""
        return sum(reads.logged[reader].values()) - reads.logged[reader].get(_HERE, 0.0)

    track_rate.unit = "MB/s"
    track_ratio_to_in_region.unit = "ratio"
    track_read_in_region.unit = track_read_from_elsewhere.unit = "MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overhead:
    samples: Samples
    n_tasks: int


class OneRegionOverhead:
    """What does ``ds.locality.compute()`` take over ``client.compute(ds).result()``?

    One region, a warm cluster in processes of its own, the same graph with fresh
    keys each time: 10,000 tasks that do next to nothing, 2,400 to be quick. The contract is a ratio
    of at most 1.05.
    """

    def setup_cache(self) -> _Overhead:
        """Compute in turns on one cluster."""
        from distributed import Client
        from distributed.deploy.subprocess import SubprocessCluster

        with ExitStack() as stack:
            path = stack.enter_context(tempfile.TemporaryDirectory())
            # 410 chunks are read and cut in 10, and the 4,100 pieces averaged by 4:
            # with the cutting itself 10,001 tasks; a quarter of them to be quick.
            values = np.random.default_rng(0).random((410 if FULL else 100, 10))
            written = xr.Dataset({"field": (("time", "x"), values)}).chunk(time=1)
            written.to_zarr(path, consolidated=False)
            stored = xr.open_zarr(path, consolidated=False).locality.tag(_HERE)

            def make(number: int) -> xr.Dataset:
                return (stored + number).chunk(x=1).mean("time")

            cluster = stack.enter_context(
                SubprocessCluster(
                    n_workers=1,
                    worker_kwargs={"nthreads": 2},
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=logging.ERROR,
                )
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
            client.wait_for_workers(1)
            session = stack.enter_context(Session({_HERE: cluster}))
            ways = {
                "client": lambda work: client.compute(work).result(),
                "locality": lambda work: work.locality.compute(),
            }
            _warm_up(ways, make(0))
            (did,) = session.reports[-1].by_region.values()
            return _Overhead(
                samples=take_turns(ways, make=make, rounds=8 if FULL else 4), n_tasks=did.tasks
            )

    def track_overhead_ratio(self, overhead: _Overhead) -> float:
        """Seconds that the user waits, over those of ``client.compute``."""
        return median_ratio(overhead.samples, "locality", over="client")

    def track_processor_ratio(self, overhead: _Overhead) -> float:
        """Processor seconds of client, scheduler and worker, over those of ``client.compute``."""
        return median_ratio(overhead.samples, "locality", over="client", of="processor_seconds")

    def track_client_seconds(self, overhead: _Overhead) -> float:
        """Seconds that ``client.compute`` takes, for scale."""
        return median_seconds(overhead.samples, "client")

    def track_tasks(self, overhead: _Overhead) -> int:
        """Tasks that the scheduler ran."""
        return overhead.n_tasks

    track_overhead_ratio.unit = track_processor_ratio.unit = "ratio"
    track_client_seconds.unit = "seconds"
    track_tasks.unit = "tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    samples: Samples
    nbytes_moved: int
    nbytes_moved_by_hand: int


class SplitAgainstHandSplit:
    """What does a split run take over the same split made by hand?

    The difference of two means, each of data in its own region, on two real
    gateways. By hand, each mean goes to a client of its own, and the two results
    are subtracted in this process.
    """

    def setup_cache(self) -> _Split | None:
        """Compute in turns on the same two clusters; None where packages are missing."""
        with ExitStack() as stack:
            try:
                bed = stack.enter_context(Testbed((_HERE, _THERE)))
            except MissingDependencyError:
                return None
            a, b = (_store(each, n_chunks=32) for each in bed)
            clusters = [stack.enter_context(each.cluster()) for each in bed]
            clients = [
                stack.enter_context(cluster.get_client(set_as_default=False))
                for cluster in clusters
            ]
            session = stack.enter_context(
                Session({each.region: one for each, one in zip(bed, clusters, strict=True)})
            )

            def make(number: int) -> tuple[xr.DataArray, xr.DataArray]:
                return (a + number).mean("time"), (b + number).mean("time")

            def by_hand(means: tuple[xr.DataArray, xr.DataArray]) -> xr.DataArray:
                futures = [
                    client.compute(mean) for client, mean in zip(clients, means, strict=True)
                ]
                mean_a, mean_b = (future.result() for future in futures)
                return mean_a - mean_b

            def by_locality(means: tuple[xr.DataArray, xr.DataArray]) -> xr.DataArray:
                mean_a, mean_b = means
                return (mean_a - mean_b).locality.compute()

            ways = {"by hand": by_hand, "locality": by_locality}
            means = make(0)
            _warm_up(ways, means)
            return _Split(
                samples=take_turns(ways, make=make, rounds=6 if FULL else 4),
                nbytes_moved=session.reports[-1].nbytes_moved,
                nbytes_moved_by_hand=sum(mean.nbytes for mean in means),
            )

    def setup(self, split: _Split | None) -> None:
        """Skip where nothing could be measured."""
        _skip_without(split)

    def track_ratio(self, split: _Split) -> float:
        """Seconds that the user waits, over those of the split by hand."""
        return median_ratio(split.samples, "locality", over="by hand")

    def track_processor_ratio(self, split: _Split) -> float:
        """Processor seconds of all processes, over those of the split by hand."""
        return median_ratio(split.samples, "locality", over="by hand", of="processor_seconds")

    def track_hand_split_seconds(self, split: _Split) -> float:
        """Seconds that the split by hand takes, for scale."""
        return median_seconds(split.samples, "by hand")

    def track_moved_ratio(self, split: _Split) -> float:
        """Bytes that crossed, as measured, over the two means that cross by hand."""
        return split.nbytes_moved / split.nbytes_moved_by_hand

    track_ratio.unit = track_processor_ratio.unit = track_moved_ratio.unit = "ratio"
    track_hand_split_seconds.unit = "seconds"


def _store(region: EmulatedRegion, *, n_chunks: int) -> xr.DataArray:
    """Write noise in chunks of 4 MB into a region, and open it."""
    values = np.random.default_rng(0).random((n_chunks, 1000, 1000), dtype="f4")
    field = xr.DataArray(values, dims=("time", "y", "x"), name="field")
    field.encoding = {"chunks": (1, 1000, 1000), "compressors": None}
    objects = region.objects
    url = objects.url("field.zarr")
    options = {"storage_options": objects.storage_options, "consolidated": False}
    field.to_dataset().to_zarr(url, **options)
    return xr.open_zarr(url, **options).field.locality.tag(region.region)


def _warm_up(ways: Mapping[str, Any], work: Any) -> None:
    """Run each way once, and see to it that all do the same work."""
    first, *others = (way(work) for way in ways.values())
    for other in others:
        xr.testing.assert_identical(other, first)


def _skip_without(measured: object) -> None:
    if measured is None:
        raise NotImplementedError("Install xr-locality[testing].")
