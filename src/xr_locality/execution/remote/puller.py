"""Pulls values from another cluster's scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from distributed.core import ConnectionPool
from distributed.protocol.compression import decompress
from distributed.protocol.serialize import merge_and_deserialize
from distributed.utils import nbytes as frame_nbytes

from xr_locality.execution.remote.packing import unpack

__all__ = ["WINDOW", "Puller"]

#: Seconds between two looks at whether values are ready, at first and at most.
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.5

#: How much longer each pause is than the one before: so that what is looked for is
#: found by at most a tenth of its time late, and long waits cost few requests.
_PAUSE_GROWTH = 1.1

#: Seconds in which a scheduler that has never answered must answer.
_FIRST_CONTACT_SECONDS = 10.0

#: Bytes asked of one scheduler at a time: it holds them all while it passes them on.
WINDOW = 64 * 2**20


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
