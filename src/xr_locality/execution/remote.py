"""Code that runs on the clusters: fetches of boundary values, the split's optimiser.

It is sent to schedulers and workers by value, so xr-locality need not be
installed there: this module imports nothing of the package, only the standard
library, numpy, dask and distributed, which any cluster has.

What a function uses of this module's globals travels with it. So globals are
only what pickles by name: dask's ``sizeof``, an object that holds every type
registered with it, is imported where it is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask._task_spec import (
    DependenciesMapping,
    convert_legacy_graph,
    fuse_linear_task_spec,
    resolve_aliases,
)
from dask.array.optimization import optimize
from dask.core import flatten, reverse_dict
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key
from dask.utils import ensure_dict
from distributed.core import ConnectionPool
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol.compression import decompress
from distributed.protocol.serialize import merge_and_deserialize
from distributed.shuffle._core import P2PBarrierTask
from distributed.utils import nbytes as frame_nbytes
from distributed.worker import get_worker
from distributed.worker_state_machine import SecedeEvent

__all__ = ["Link", "PartitionOptimizer", "Puller", "fetch", "pack", "rename", "seal", "unpack"]

#: Log topic on which workers tell what they have moved.
TOPIC = "xr-locality"

#: Seconds between two looks at whether values are ready, at first and at most.
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.5

#: How much longer each pause is than the one before: so that what is looked for is
#: found by at most a tenth of its time late, and long waits cost few requests.
_PAUSE_GROWTH = 1.1

#: Seconds between two looks at whether a fetch that waits is still wanted.
_STILL_WANTED_SECONDS = 1.0

#: Seconds in which a scheduler that has never answered must answer.
_FIRST_CONTACT_SECONDS = 10.0

#: Bytes asked of one scheduler at a time: it holds them all while it passes them on.
WINDOW = 64 * 2**20


def rename(key: Key, run: str) -> Key:
    """Make a key that no other run uses, keeping what dask reads from its name."""
    if isinstance(key, str):
        return f"{key}-{run}"
    if isinstance(key, tuple) and key and isinstance(key[0], str):
        return (f"{key[0]}-{run}", *key[1:])
    return (f"locality-{run}", key)


@dataclass(frozen=True)
class PartitionOptimizer:
    """Optimises a partition as dask optimises an array, then makes its keys unique.

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
    """

    run: str
    fixed: frozenset[Key]

    def __call__(self, graph: Any, keys: Any, **_: Any) -> dict[Key, Any]:
        """Optimise a graph for some keys; called by dask, on the scheduler."""
        optimized = optimize(graph, keys)
        if isinstance(optimized, HighLevelGraph):
            # Where fusion is switched off, dask hands the layers back.
            optimized = convert_legacy_graph(ensure_dict(optimized))
        else:
            # Once more: dask leaves a chain in two where it comes upon its middle first.
            wanted = {*flatten([keys]), *self.fixed}
            optimized = fuse_linear_task_spec(optimized, keys=wanted)
            # It names what it has fused twice, the second one a task that hands on the first.
            dependents = reverse_dict(DependenciesMapping(optimized))
            optimized = resolve_aliases(optimized, wanted, dependents)
        names = {
            key: rename(key, self.run)
            for key, task in optimized.items()
            if key not in self.fixed and not isinstance(task, P2PBarrierTask)
        }
        return {
            names.get(key, key): task.substitute(names, key=names.get(key, key))
            for key, task in optimized.items()
        }


#: Marks a packed array; a plain tuple, so that no class of ours need exist where it arrives.
_PERMUTED = "xr-locality:permuted"


def pack(value: Any) -> Any:
    """Make a value keep its memory order while it is moved.

    distributed sends an array whose axes lie in neither C's nor Fortran's order,
    or run backwards, as C-ordered, and a reduction over the copy may round
    differently. So the base order is sent, and viewed back. Partials of
    reductions are dicts and tuples of arrays.
    """
    if type(value) is dict:
        return {name: pack(each) for name, each in value.items()}
    if type(value) is tuple:
        return tuple(map(pack, value))
    if (
        type(value) is not np.ndarray
        or value.dtype.hasobject
        or value.flags.c_contiguous
        or value.flags.f_contiguous
        or 0 in value.strides
    ):
        return value
    order = tuple(sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis])))
    turned = value.transpose(order)
    ways = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in turned.strides)
    return _PERMUTED, np.ascontiguousarray(turned[ways]), ways, order


def unpack(value: Any) -> Any:
    """Undo :func:`pack`, and put arrays at addresses where they may be used as they are.

    Where in a message an array begins is chance. At an address that is no multiple of
    its items' size, numpy first copies it to C order, and a product of matrices may
    round differently.
    """
    if type(value) is dict:
        return {name: unpack(each) for name, each in value.items()}
    if type(value) is np.ndarray:
        if value.flags.aligned or 0 in value.strides:
            return value
        return value.copy(order="K")
    if type(value) is not tuple:
        return value
    if len(value) == 4 and isinstance(value[0], str) and value[0] == _PERMUTED:
        _, base, ways, order = value
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return unpack(base)[ways].transpose(inverse)
    return tuple(map(unpack, value))


def seal(secret: bytes, key: bytes) -> bytes:
    """Hide, or show again, a secret under a key of one use.

    The key stream is SHAKE-256 of a random key; the sealed secret and the key
    travel apart, so neither a plugin's repr nor a task shows a credential.
    """
    stream = hashlib.shake_256(key).digest(len(secret))
    return bytes(a ^ b for a, b in zip(secret, stream, strict=True))


@dataclass
class Puller:
    """Pulls values from another cluster's scheduler, and counts what it moves.

    Connections are pooled and kept. Values that are not ready are waited for
    together, with one small request for all of them.

    Parameters
    ----------
    address : str
        The scheduler that has the values.
    connection_args : mapping
        How to connect to it.
    patience_seconds : float
        How long the scheduler may be out of reach.
    """

    address: str
    connection_args: Mapping[str, Any]
    patience_seconds: float
    #: Whether the scheduler has answered before: one that never did is out of reach.
    met: bool = False
    _pool: ConnectionPool | None = None
    _waiting: dict[Key, asyncio.Future[None]] = field(default_factory=dict)
    _watcher: asyncio.Task[None] | None = None
    _window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    async def ready(self, key: Key, *, seconds: float | None = None) -> bool:
        """Wait until the scheduler holds a key's value; False if that takes longer."""
        waiter = self._waiting.get(key)
        if waiter is None:
            waiter = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            done, _ = await asyncio.wait({waiter}, timeout=seconds)
        except asyncio.CancelledError:
            self.forget(key)
            raise
        for each in done:
            each.result()
        return bool(done)

    def forget(self, key: Key) -> None:
        """Stop looking for a key that nobody here wants any more."""
        self._waiting.pop(key, None)

    async def pull(self, keys: Iterable[Key]) -> tuple[dict[Key, Any], dict[Key, int]]:
        """Get some values, waiting for those that are not ready.

        Returns
        -------
        values : dict of key to object
        moved : dict of key to int
            Bytes of each value as serialised.
        """
        values: dict[Key, Any] = {}
        moved: dict[Key, int] = {}
        missing = list(dict.fromkeys(keys))
        while missing:
            await asyncio.gather(*(self.ready(key) for key in missing))
            for batch in await self._batches(missing):
                async with self._window:
                    reply = await self._call("gather", keys=batch)
                # A reply without data means that a value was lost and is being made again.
                for key, sent in (reply.get("data") or {}).items():
                    values[key], moved[key] = _receive(sent)
            missing = [key for key in missing if key not in values]
        return values, moved

    async def close(self) -> None:
        """Stop waiting and close the connections; may be called twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _batches(self, keys: list[Key]) -> list[list[Key]]:
        """Group keys so that no reply is much larger than the window."""
        sizes = await self._call("nbytes", keys=keys, summary=False)
        batches: list[list[Key]] = [[]]
        filled = 0
        for key in keys:
            size = sizes.get(key, 0)
            if batches[-1] and filled + size > WINDOW:
                batches.append([])
                filled = 0
            batches[-1].append(key)
            filled += size
        return batches

    async def _watch(self) -> None:
        """Ask for all values that are waited for, until none is."""
        pause = _FIRST_LOOK
        try:
            while self._waiting:
                held = await self._call("who_has", keys=list(self._waiting))
                found = [key for key in self._waiting if held.get(key)]
                for key in found:
                    waiter = self._waiting.pop(key)
                    if not waiter.done():
                        waiter.set_result(None)
                pause = _FIRST_LOOK if found else min(pause * _PAUSE_GROWTH, _LAST_LOOK)
                if self._waiting:
                    await asyncio.sleep(pause)
        except ConnectionError as error:
            waiting, self._waiting = self._waiting, {}
            for waiter in waiting.values():
                if not waiter.done():
                    waiter.set_exception(type(error)(str(error)))

    async def _call(self, operation: str, **arguments: Any) -> Any:
        """Send one request, trying again while the scheduler is out of reach."""
        if self._pool is None:
            self._pool = ConnectionPool(
                limit=16,
                deserialize=False,
                connection_args=dict(self.connection_args),
                timeout=self.patience_seconds,
            )
            await self._pool.start()
        patience = self.patience_seconds if self.met else _FIRST_CONTACT_SECONDS
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        # Values take as long as they take; a dead link ends them by TCP's own timeout.
        limit = None if operation == "gather" else deadline
        pause = 0.1
        while True:
            try:
                async with asyncio.timeout_at(limit):
                    reply = await getattr(self._pool(self.address), operation)(**arguments)
                self.met = True
                return reply
            except (OSError, TimeoutError) as error:
                if loop.time() + pause > deadline:
                    kind = ConnectionError if self.met else ConnectionRefusedError
                    raise kind(
                        f"no answer to {operation!r} from the scheduler for {patience:g} s "
                        f"({type(error).__name__}: {error})"
                    ) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)


def _receive(sent: Any) -> tuple[Any, int]:
    """Make a value of what came, and count its bytes as they came, compressed or not."""
    if not hasattr(sent, "frames"):
        # Within one process nothing is serialised: the value itself comes.
        from dask.sizeof import sizeof

        value = getattr(sent, "data", sent)
        return unpack(value), int(sizeof(value))
    frames = decompress(sent.header, sent.frames) if "compression" in sent.header else sent.frames
    # Large frames come in pieces.
    value = merge_and_deserialize(sent.header, frames)
    return unpack(value), sum(map(frame_nbytes, sent.frames))


class Link(WorkerPlugin):
    """Lets the workers of one cluster pull values from another's scheduler.

    Parameters
    ----------
    name : str
        The plugin's name; unguessable.
    sealed : bytes
        The sealed pickle of the scheduler's address and security; of None where the
        client relays values to the worker's own scheduler.
    patience_seconds : float
        How long the scheduler may be out of reach.
    """

    def __init__(self, name: str, sealed: bytes, patience_seconds: float) -> None:
        self.name = name
        self.sealed = sealed
        self.patience_seconds = patience_seconds
        self.puller: Puller | None = None

    def open(self, key: bytes, worker: Any) -> Puller:
        """Get the connection, made on first use with the key that a fetch brings."""
        if self.puller is None:
            route = pickle.loads(seal(self.sealed, key))
            if route is None:
                # The client relays values to this worker's own scheduler.
                address = worker.scheduler.address
                arguments = worker.security.get_connection_args("worker")
            else:
                address, security = route
                arguments = security.get_connection_args("client")
            self.puller = Puller(address, arguments, self.patience_seconds)
        return self.puller

    async def teardown(self, worker: Any) -> None:
        """Close the connections when the plugin or the worker goes."""
        if self.puller is not None:
            await self.puller.close()


async def fetch(  # noqa: PLR0917 - the arguments of a task
    link: str, share: bytes, wanted: Key, own: Key, facts: Mapping[str, Any], retries: int
) -> Any:
    """Run as a task: wait for a value of another cluster, without holding a slot.

    Parameters
    ----------
    link : str
        Name of the plugin that knows the other cluster.
    share : bytes
        Opens what the plugin holds.
    wanted : key
        The value's key on the other cluster.
    own : key
        This task's own key.
    facts : mapping
        What to tell the client, besides the bytes moved.
    retries : int
        How often to try again when a scheduler that has answered before no longer does.
    """
    worker = get_worker()
    worker.handle_stimulus(
        SecedeEvent(key=own, compute_duration=0.0, stimulus_id=f"locality-fetch-{time.time()}")
    )
    plugin: Any = worker.plugins[link]
    puller: Puller = plugin.open(share, worker)
    for tried in range(retries + 1):
        started = time.monotonic()
        try:
            while not await puller.ready(wanted, seconds=_STILL_WANTED_SECONDS):
                # A worker cannot interrupt a coroutine: it only forgets the task.
                task = worker.state.tasks.get(own)
                if task is None or task.state == "cancelled":
                    puller.forget(wanted)
                    return None
            waited = time.monotonic()
            values, moved = await puller.pull([wanted])
            break
        except ConnectionError:
            if tried == retries or not puller.met:
                raise
    worker.log_event(
        TOPIC,
        {
            **facts,
            "nbytes": moved[wanted],
            "waited_seconds": waited - started,
            "moved_seconds": time.monotonic() - waited,
        },
    )
    return values[wanted]


def measure_span(span_id: str, dask_scheduler: Any = None) -> dict[str, float]:
    """Run on a scheduler: tell what the tasks of one span have done so far."""
    extension = dask_scheduler.extensions.get("spans")
    span = extension.spans.get(span_id) if extension is not None else None
    if span is None:
        return {"tasks": 0, "done": 0, "seconds": 0.0, "workers": len(dask_scheduler.workers)}
    states = span.states
    waiting = sum(
        states.get(state, 0) for state in ("waiting", "queued", "processing", "no-worker")
    )
    total = sum(states.values())
    return {
        "tasks": total,
        "done": total - waiting,
        "seconds": float(span.all_durations.get("compute", 0.0)),
        "workers": len(dask_scheduler.workers),
    }


def sizes_of(keys: list[Key], dask_scheduler: Any = None) -> list[int | None]:
    """Run on a scheduler: tell the bytes of finished tasks' values; None of others."""
    tasks = [dask_scheduler.tasks.get(key) for key in keys]
    known = [None if task is None or task.nbytes < 0 else task.nbytes for task in tasks]
    return [None if nbytes is None else int(nbytes) for nbytes in known]
