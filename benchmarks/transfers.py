"""How fast do values cross between regions, and what do they fill on the way?"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import dask
import dask.array as da
import numpy as np
import psutil
from distributed import Client, SubprocessCluster

import xr_locality as xl
from benchmarks.alternation import Samples, median_ratio, median_seconds, take_turns
from benchmarks.effort import FULL
from benchmarks.harness.shaped_link import ShapedLink
from benchmarks.tls_chain import tls_chain
from xr_locality.errors import MissingDependencyError
from xr_locality.testing import Testbed

_HERE: Final = "aws:us-west-2"
_THERE: Final = "gcp:us-central1"
_MB: Final = 10**6

#: A link of 200 Mbit/s with a round trip of 60 ms.
_LINK: Final[Mapping[str, float]] = {"bytes_per_second": 25e6, "rtt_seconds": 0.06}

#: How many values of how many bytes cross over it, several in flight. The larger
#: ones take a while: 256 MB alone pass in ten seconds.
_OVER_LINK: Final = {
    "1 MB": (100, _MB),
    "32 MB": (4, 32 * _MB),
    "256 MB": (2 if FULL else 1, 256 * _MB),
    "10 MB": (10, 10 * _MB),
    "100 kB": (1000, _MB // 10),
}

#: And within the machine.
_UNSHAPED: Final = {
    "1 MB": (200, _MB),
    "32 MB": (16, 32 * _MB),
    "256 MB": (4, 256 * _MB),
}

_names = map("values-{}".format, count())


def _made(n: int, nbytes: int) -> da.Array:
    """Make values where they are asked for, of memory that is never written: of no bytes."""

    def block(block_id: Any = None) -> Any:
        return np.zeros((1, nbytes // 4), "f4")

    chunks = ((1,) * n, (nbytes // 4,))
    meta = np.empty((0, 0), "f4")
    made: da.Array = da.map_blocks(block, chunks=chunks, dtype="f4", meta=meta, name=next(_names))
    return made


def _taken(made: da.Array) -> da.Array:
    """Take one number of each value, so that nothing else has to move."""
    taken: da.Array = made.map_blocks(
        lambda values: values[:, :1].copy(),
        chunks=(made.chunks[0], (1,)),
        dtype="f4",
        meta=np.empty((0, 0), "f4"),
        name=next(_names),
    )
    return taken


def _crossing(n: int, nbytes: int) -> da.Array:
    """Make values in one region, and take them in the other."""
    made = xl.tag(_made(n, nbytes), _HERE)
    with dask.annotate(locality=_THERE):
        return _taken(made)


@contextmanager
def _cluster(*, n_workers: int = 1) -> Iterator[SubprocessCluster]:
    """Start a cluster of processes that spills nothing: what it holds fills no memory."""
    with SubprocessCluster(
        n_workers=n_workers,
        worker_kwargs={"nthreads": 2, "memory_limit": 0},
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.ERROR,
    ) as cluster:
        yield cluster


def _raw_rate(nbytes: int) -> float:
    """Measure the bytes a second of one TCP socket over the shaped link."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                connection.sendall(bytes(nbytes))

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            ShapedLink("127.0.0.1", server.getsockname()[1], **_LINK) as link,
            socket.create_connection(("127.0.0.1", link.port)) as client,
        ):
            started = time.perf_counter()
            client.sendall(b"!")
            left = nbytes
            while left:
                left -= len(client.recv(2**20))
            seconds = time.perf_counter() - started
        thread.join()
    return nbytes / seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _OverLink:
    raw_bytes_per_second: float
    seconds: Mapping[str, float]


class OverShapedLink:
    """How much of a link do transfers use?

    Values cross from one cluster to another over 200 Mbit/s with a round trip of 60 ms.
    What is timed is the whole call, planning and all. The contract: at least 0.85 of
    what a TCP socket moves over the same link, whatever the values' size; and 1,000
    values of 100 kB in at most 1.5 times the time of ten of 10 MB.
    """

    timeout = 300
    params = tuple(_OVER_LINK)
    param_names = ("size",)

    def setup_cache(self) -> _OverLink:
        """Send all sizes, once each: a shaped link is as fast each time."""
        raw = _raw_rate(50 * _MB)
        with _cluster() as here, _cluster() as there:
            host, _, port = here.scheduler_address.removeprefix("tcp://").partition(":")
            with (
                ShapedLink(host, int(port), **_LINK) as link,
                xl.Session(
                    {_HERE: f"tcp://127.0.0.1:{link.port}", _THERE: there},
                    transfer="direct",
                ) as session,
            ):
                session.compute(_crossing(2, 1000))
                seconds = {}
                for size, (n, nbytes) in _OVER_LINK.items():
                    crossing = _crossing(n, nbytes)
                    started = time.perf_counter()
                    session.compute(crossing)
                    seconds[size] = time.perf_counter() - started
        return _OverLink(raw_bytes_per_second=raw, seconds=seconds)

    def track_ratio_to_raw_socket(self, over: _OverLink, size: str) -> float:
        """Bytes a second, over those of one TCP socket."""
        n, nbytes = _OVER_LINK[size]
        return n * nbytes / over.seconds[size] / over.raw_bytes_per_second

    def track_ratio_to_large_values(self, over: _OverLink, size: str) -> float:
        """Seconds for each byte, over those of values of 10 MB."""
        n, nbytes = _OVER_LINK[size]
        return over.seconds[size] / (n * nbytes) / (over.seconds["10 MB"] / (100 * _MB))

    track_ratio_to_raw_socket.unit = track_ratio_to_large_values.unit = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unshaped:
    samples: Mapping[str, Samples]


class AgainstWorkerToWorker:
    """What do transfers reach of distributed's own, where no link limits either?

    The same values are made and taken: by two workers of one cluster, the one of which
    gets them from the other; by two plain clusters; and by two gateways' clusters, whose
    values pass schedulers, a proxy and TLS twice. The contract: at least 0.35 of the first
    between plain clusters, and 0.2 through gateways. What TLS twice and a proxy leave of
    the machine is measured beside them, without dask.
    """

    timeout = 300
    params = tuple(_UNSHAPED)
    param_names = ("size",)

    def setup_cache(self) -> _Unshaped | None:
        """Take turns with each size; None where packages are missing."""
        with ExitStack() as stack:
            try:
                bed = stack.enter_context(Testbed((_HERE, _THERE)))
            except MissingDependencyError:
                return None
            pair, here, there = (stack.enter_context(_cluster(n_workers=n)) for n in (2, 1, 1))
            client = stack.enter_context(Client(pair, set_as_default=False))
            client.wait_for_workers(2)
            one, other = sorted(client.scheduler_info(n_workers=-1)["workers"])
            plain = stack.enter_context(xl.Session({_HERE: here, _THERE: there}, transfer="direct"))
            gateways = stack.enter_context(
                xl.Session(bed.endpoints(minimum=1, maximum=1), transfer="direct")
            )

            def worker_to_worker(work: tuple[int, int]) -> None:
                with dask.annotate(workers=[one], allow_other_workers=False):
                    made = _made(*work)
                with dask.annotate(workers=[other], allow_other_workers=False):
                    taken = _taken(made)
                with dask.config.set({"optimization.fuse.active": False}):
                    client.compute(taken, optimize_graph=False).result()

            ways = {
                "TLS twice and a proxy": stack.enter_context(tls_chain()),
                "worker to worker": worker_to_worker,
                "plain": lambda work: plain.compute(_crossing(*work)),
                "gateways": lambda work: gateways.compute(_crossing(*work)),
            }
            for way in ways.values():
                way((2, 32 * _MB))
            return _Unshaped(
                samples={
                    size: take_turns(ways, make=lambda _, work=work: work, rounds=4 if FULL else 2)
                    for size, work in _UNSHAPED.items()
                }
            )

    def setup(self, unshaped: _Unshaped | None, size: str) -> None:
        """Skip where nothing could be measured."""
        if unshaped is None:
            raise NotImplementedError("Install xr-locality[testing].")

    def track_ratio(self, unshaped: _Unshaped, size: str) -> float:
        """Bytes a second between plain clusters, over those from worker to worker."""
        return median_ratio(unshaped.samples[size], "worker to worker", over="plain")

    def track_gateways_ratio(self, unshaped: _Unshaped, size: str) -> float:
        """Bytes a second through gateways, over those from worker to worker."""
        return median_ratio(unshaped.samples[size], "worker to worker", over="gateways")

    def track_gateways_ratio_to_tls(self, unshaped: _Unshaped, size: str) -> float:
        """Bytes a second through gateways, over those that TLS twice and a proxy allow."""
        return median_ratio(unshaped.samples[size], "TLS twice and a proxy", over="gateways")

    def track_tls_ratio(self, unshaped: _Unshaped, size: str) -> float:
        """Bytes a second that TLS twice and a proxy allow, over those from worker to worker."""
        return median_ratio(
            unshaped.samples[size], "worker to worker", over="TLS twice and a proxy"
        )

    def track_worker_to_worker(self, unshaped: _Unshaped, size: str) -> float:
        """Megabytes a second from worker to worker, for scale."""
        n, nbytes = _UNSHAPED[size]
        return n * nbytes / _MB / median_seconds(unshaped.samples[size], "worker to worker")

    track_ratio.unit = track_gateways_ratio.unit = "ratio"
    track_gateways_ratio_to_tls.unit = track_tls_ratio.unit = "ratio"
    track_worker_to_worker.unit = "MB/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    #: Megabytes by which each process grew at most.
    grew: Mapping[str, float]
    nbytes: int


class MemoryOnTheWay:
    """What do client and schedulers hold while 4 GB of boundary values cross?

    The contract: a window of 256 MiB and one reply on the scheduler that gives them; 64 MiB, four
    replies and the buffers of connections on a client that relays; whatever crosses in all.
    """

    timeout = 300
    params = ("direct", "relay")
    param_names = ("transfer",)

    def setup_cache(self) -> Mapping[str, _Memory]:
        """Send 4 GB directly and 1 GB by relay, and sample the processes meanwhile."""
        measured = {}
        with _cluster() as here, _cluster() as there:
            for transfer, n in zip(self.params, (125, 32), strict=True):
                with xl.Session({_HERE: here, _THERE: there}, transfer=transfer) as session:
                    session.compute(_crossing(4, 8 * _MB))
                    with _watch_memory(_processes(here, there)) as grew:
                        session.compute(_crossing(n, 32 * _MB))
                    moved = session.reports[-1].nbytes_moved
                measured[transfer] = _Memory(grew=grew, nbytes=moved)
        return measured

    def track_producers_scheduler(self, memory: Mapping[str, _Memory], transfer: str) -> float:
        """Megabytes by which the scheduler grew that gives the values."""
        return memory[transfer].grew["producer"]

    def track_consumers_scheduler(self, memory: Mapping[str, _Memory], transfer: str) -> float:
        """Megabytes by which the scheduler grew whose workers take them."""
        return memory[transfer].grew["consumer"]

    def track_client(self, memory: Mapping[str, _Memory], transfer: str) -> float:
        """Megabytes by which this process grew."""
        return memory[transfer].grew["client"]

    def track_moved(self, memory: Mapping[str, _Memory], transfer: str) -> float:
        """Megabytes that crossed, as measured."""
        return memory[transfer].nbytes / _MB

    track_producers_scheduler.unit = track_consumers_scheduler.unit = "MB"
    track_client.unit = track_moved.unit = "MB"


def _processes(here: SubprocessCluster, there: SubprocessCluster) -> dict[str, psutil.Process]:
    """Find the processes through which values may pass."""
    import os

    processes = {"client": psutil.Process()}
    for name, cluster in (("producer", here), ("consumer", there)):
        with Client(cluster, set_as_default=False) as client:
            processes[name] = psutil.Process(client.run_on_scheduler(os.getpid))
    return processes


@contextmanager
def _watch_memory(processes: Mapping[str, psutil.Process]) -> Iterator[dict[str, float]]:
    """Return, at the end, by how many megabytes each process grew at most."""
    before = {name: process.memory_info().rss for name, process in processes.items()}
    grew = dict.fromkeys(processes, 0.0)
    stopped = threading.Event()

    def look() -> None:
        while not stopped.wait(0.01):
            for name, process in processes.items():
                more = (process.memory_info().rss - before[name]) / _MB
                grew[name] = max(grew[name], more)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield grew
    finally:
        stopped.set()
        thread.join()
