"""Server of a cluster's values for readers in other clusters: runs on its scheduler."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from distributed.core import Status, send_recv
from distributed.diagnostics.plugin import SchedulerPlugin

from xr_locality.execution.remote.packing import align
from xr_locality.execution.remote.streaming import (
    BUFFERS_NBYTES,
    LARGE_NBYTES,
    STREAM,
    can_stream,
    pass_on,
)

__all__ = [
    "NOTICE",
    "STREAMER",
    "TAKE",
    "WANT",
    "WINDOW",
    "ValueServer",
    "close_value_server",
    "open_value_server",
]

logger = logging.getLogger(__name__)

#: Names of the handlers; the number goes up with each change of the protocol.
WANT, TAKE, NOTICE = (f"xr-locality-{operation}-3" for operation in ("want", "take", "notice"))
_NAME = "xr-locality-value-server-3"

#: Name of the workers' plugin.
STREAMER = "xr-locality-streamer-2"

#: Bytes that a scheduler holds while it passes them on to all readers together, and at
#: most one reply more.
WINDOW = 256 * 2**20

#: Seconds that a reply of few bytes waits for more values, while another is in transfer.
_LINGER_SECONDS = 0.02
_FEW_NBYTES = 2**20

#: Seconds after which the server forgets a reader or client that has gone.
_FORGET_SECONDS = 60.0

#: Seconds before the server retries a value that its workers did not return.
_AGAIN_SECONDS = 0.2


@dataclass
class _Reader:
    """Keys that one reader still wants, in the order of its requests."""

    waiting: dict[Key, None] = field(default_factory=dict)
    ready: dict[Key, None] = field(default_factory=dict)
    #: Set when a value may be ready.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: Take requests that wait or are being answered, and replies in transfer.
    takes: int = 0
    sending: int = 0


class ValueServer(SchedulerPlugin):
    """Server of values as they get ready, several to a reply, within a window of bytes.

    A reader says which keys it wants, then takes ready values as often as it likes: a
    take request waits for the first value, and its reply holds all that fit. So a value
    is sent as soon as it is ready, and small values go together where many are ready.
    The scheduler holds the values of a reply until the reader has confirmed them; a
    large value goes alone, as a stream.

    Parameters
    ----------
    scheduler : Scheduler
        The scheduler that has the values.
    window : int
        Bytes that may be held at a time.
    """

    name = _NAME

    def __init__(self, scheduler: Any, window: int) -> None:
        self.scheduler = scheduler
        self.window = window
        #: Clients that need it.
        self.clients: set[str] = set()
        #: Bytes held now, and at most so far.
        self.held = self.most_held = 0
        self._readers: dict[str, _Reader] = {}
        self._wanted_by: dict[Key, set[str]] = {}
        #: Values being collected, and from which workers.
        self._collecting: dict[asyncio.Task[Any], set[str]] = {}
        #: Registers the plugin with which workers stream large values.
        self._streamer_task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Add the plugin and its handlers to the scheduler."""
        self.scheduler.add_plugin(self, name=self.name)
        self.scheduler.handlers |= self._handlers()

    def add_streamer(self, streamer: bytes) -> None:
        """Register the streaming plugin of workers; until they have it, large values go whole.

        No run waits for it: a worker that does not answer delays none.
        """
        if self._streamer_task is None:
            self._streamer_task = asyncio.create_task(self._add_streamer(streamer))

    async def _add_streamer(self, streamer: bytes) -> None:
        try:
            await self.scheduler.register_worker_plugin(None, streamer, STREAMER, idempotent=True)
        except Exception as error:  # noqa: BLE001 - of a worker that is gone
            logger.info("A worker could not get the plugin that streams large values: %r", error)

    async def close_if_unused(self) -> None:
        """Remove the plugin and its handlers when the last client that needed it has gone."""
        self.clients &= self.scheduler.clients.keys()
        if not self.clients and self.scheduler.plugins.get(self.name) is self:
            self.scheduler.remove_plugin(name=self.name)
            for operation in self._handlers():
                self.scheduler.handlers.pop(operation, None)
            if self._streamer_task is not None:
                self._streamer_task.cancel()
                try:
                    await self.scheduler.unregister_worker_plugin(None, STREAMER)
                except Exception as error:  # noqa: BLE001 - of a worker that is gone
                    logger.info("A worker may keep a plugin of ours: %r", error)

    def _handlers(self) -> dict[str, Any]:
        return {WANT: self.want, TAKE: self.take, NOTICE: self.notice}

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Check later whether a client is left: clients come back after a short break."""
        if client in self.clients:
            asyncio.get_running_loop().call_later(_FORGET_SECONDS, self._close_later)

    def _close_later(self) -> None:
        self._closing = asyncio.create_task(self.close_if_unused())

    def transition(self, key: Key, start: Any, finish: Any, *args: Any, **kwargs: Any) -> None:
        """Note that a wanted value is ready."""
        if finish == "memory" and key in self._wanted_by:
            self._is_ready(key)

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Stop collecting from a worker that has gone: connecting would take half a minute."""
        for collecting, addresses in self._collecting.items():
            if worker in addresses:
                collecting.cancel()

    async def notice(self, keys: Iterable[Key]) -> str:
        """Handle: the client has put values on this cluster, which makes no transition."""
        for key in keys:
            self._is_ready(key)
        return "OK"

    async def want(self, reader: str, add: Iterable[Key] = (), drop: Iterable[Key] = ()) -> str:
        """Handle: a reader adds keys that it wants, and drops others."""
        mine = self._reader(reader)
        for key in drop:
            mine.ready.pop(key, None)
            if key in mine.waiting:
                del mine.waiting[key]
                self._forget(key, reader)
        for key in add:
            self._await(key, reader)
        if not mine.takes:
            self._expire_later(reader)
        return "OK"

    async def take(self, comm: Any, reader: str, limit: int, seconds: float) -> Any:
        """Handle: a reader takes ready values, at most `limit` bytes or one value.

        Waits up to `seconds` for the first.
        """
        mine = self._reader(reader)
        mine.takes += 1
        keys: list[Key] = []
        try:
            streamed_from = LARGE_NBYTES if can_stream(comm) else None
            keys, nbytes, is_large = await self._claim(mine, limit, seconds, streamed_from)
            if not keys:
                return {"data": {}, "more": False}
            if is_large:
                with self._holding(mine, BUFFERS_NBYTES):
                    if await self._stream(comm, keys[0], reader):
                        return Status.dont_reply
            with self._holding(mine, nbytes):
                data = await self._gather(keys, reader)
                if not data:
                    return {"data": {}, "more": bool(mine.ready)}
                types = {key: self._type_of(key) for key in data}
                reply = {"data": data, "types": types, "more": bool(mine.ready)}
                await comm.write(align(reply, comm) if nbytes >= _FEW_NBYTES else reply)
                del data, reply
                # Written is not sent: the bytes are still in the buffer of the connection.
                await comm.read()
            return Status.dont_reply
        except OSError:
            # The connection broke, perhaps while this waited, and the reader asks again
            # over another connection: then it finds the keys that were claimed here.
            for key in keys:
                self._await(key, reader)
            raise
        finally:
            mine.takes -= 1
            if not mine.takes:
                self._expire_later(reader)

    async def _claim(
        self, mine: _Reader, limit: int, seconds: float, streamed_from: int | None
    ) -> tuple[list[Key], int, bool]:
        """Choose the values of a reply; none if none gets ready in time.

        Returns their keys and bytes, and whether it is one value to be streamed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        lingering = loop.time() + _LINGER_SECONDS
        while True:
            keys: list[Key] = []
            filled = 0
            is_large = False
            for key in mine.ready:
                nbytes = self._nbytes_of(key)
                is_large = streamed_from is not None and nbytes > streamed_from and not keys
                if keys and filled + nbytes > limit:
                    break
                if self.held + filled > self.window:
                    break
                keys.append(key)
                filled += nbytes
                if is_large:
                    break
            few = filled < _FEW_NBYTES and mine.sending > 0 and loop.time() < lingering
            if keys and not few:
                for key in keys:
                    del mine.ready[key]
                return keys, filled, is_large
            if not keys:
                lingering = loop.time() + _LINGER_SECONDS
            mine.changed.clear()
            try:
                async with asyncio.timeout_at(lingering if keys else deadline):
                    await mine.changed.wait()
            except TimeoutError:
                if not keys:
                    return [], 0, False

    @contextmanager
    def _holding(self, mine: _Reader, nbytes: int) -> Iterator[None]:
        mine.sending += 1
        self.held += nbytes
        self.most_held = max(self.most_held, self.held)
        try:
            yield
        finally:
            mine.sending -= 1
            self.held -= nbytes
            for reader in self._readers.values():
                if reader.ready:
                    reader.changed.set()

    async def _stream(self, comm: Any, key: Key, reader: str) -> bool:
        """Pass a value on as its worker sends it; False where it has to go in a message.

        If the worker is lost meanwhile, the connection of the reader is closed, and the
        reader asks again.
        """
        task = self.scheduler.tasks.get(key)
        if task is None or not task.who_has:
            return False
        pool = self.scheduler.rpc
        address = random.choice(list(task.who_has)).address
        try:
            source = await pool.connect(address)
        except OSError:
            return False
        try:
            try:
                opened = await send_recv(source, op=STREAM, key=key)
            except Exception:  # noqa: BLE001 - sending it in a message shows the error again
                return False
            if not opened or opened["status"] != "OK":
                return False
            large = {"key": key, "head": opened["head"], "type": self._type_of(key)}
            more = bool(self._reader(reader).ready)
            await comm.write({"data": {}, "large": large, "more": more})
            with suppress(OSError):
                await pass_on(source, comm, opened["nbytes"])
        except BaseException:
            source.abort()
            raise
        finally:
            pool.reuse(address, source)
        return True

    async def _gather(self, keys: list[Key], reader: str) -> dict[Key, Any]:
        data = await self._collect(keys)
        if not data and len(keys) > 1:
            # One value that was lost, and is computed again, makes all of them fail.
            for key in keys:
                data |= await self._collect([key])
        missing = [key for key in keys if key not in data]
        if missing:
            loop = asyncio.get_running_loop()
            for key in missing:
                loop.call_later(_AGAIN_SECONDS, self._await, key, reader)
        return data

    async def _collect(self, keys: list[Key]) -> dict[Key, Any]:
        tasks = (self.scheduler.tasks.get(key) for key in keys)
        holders = {each.address for task in tasks if task for each in task.who_has or ()}
        collecting = asyncio.create_task(self.scheduler.gather(keys))
        self._collecting[collecting] = holders
        try:
            return dict((await collecting).get("data") or {})
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
            return {}
        finally:
            del self._collecting[collecting]

    def _is_ready(self, key: Key) -> None:
        for name in self._wanted_by.pop(key, ()):
            reader = self._readers[name]
            reader.waiting.pop(key, None)
            reader.ready[key] = None
            reader.changed.set()

    def _await(self, key: Key, reader: str) -> None:
        mine = self._reader(reader)
        task = self.scheduler.tasks.get(key)
        if task is not None and task.state == "memory":
            mine.ready[key] = None
            mine.changed.set()
        else:
            mine.waiting[key] = None
            self._wanted_by.setdefault(key, set()).add(reader)

    def _forget(self, key: Key, reader: str) -> None:
        wanted_by = self._wanted_by.get(key, set())
        wanted_by.discard(reader)
        if not wanted_by:
            self._wanted_by.pop(key, None)

    def _reader(self, name: str) -> _Reader:
        return self._readers.setdefault(name, _Reader())

    def _expire_later(self, name: str) -> None:
        asyncio.get_running_loop().call_later(_FORGET_SECONDS, self._expire, name)

    def _expire(self, name: str) -> None:
        mine = self._readers.get(name)
        if mine is not None and not mine.takes:
            for key in mine.waiting:
                self._forget(key, name)
            del self._readers[name]

    def _nbytes_of(self, key: Key) -> int:
        task = self.scheduler.tasks.get(key)
        return 0 if task is None else max(task.nbytes, 0)

    def _type_of(self, key: Key) -> str | None:
        task = self.scheduler.tasks.get(key)
        return None if task is None else task.type


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def open_value_server(
    client: str, window: int, streamer: bytes | None = None, dask_scheduler: Any = None
) -> None:
    """Run on a scheduler: serve its values for the runs of a client.

    Parameters
    ----------
    client : str
        The client's id.
    window : int
        Bytes that may be held at a time.
    streamer : bytes, optional
        The pickle of a plugin by which workers stream large values.
    """
    value_server = dask_scheduler.plugins.get(_NAME)
    if value_server is None:
        value_server = ValueServer(dask_scheduler, window)
        value_server.open()
    value_server.clients.add(client)
    if streamer is not None:
        value_server.add_streamer(streamer)


async def close_value_server(client: str, dask_scheduler: Any = None) -> None:
    """Run on a scheduler: stop serving its values for a client."""
    value_server = dask_scheduler.plugins.get(_NAME)
    if value_server is not None:
        value_server.clients.discard(client)
        await value_server.close_if_unused()
