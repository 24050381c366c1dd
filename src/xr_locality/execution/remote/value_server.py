"""Gives values of a cluster to readers elsewhere: runs on its scheduler."""

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
    GIVE,
    LARGE_NBYTES,
    can_stream,
    pass_on,
)

__all__ = ["GIVER", "NOTICE", "TAKE", "WANT", "WINDOW", "Outbox", "close_outbox", "open_outbox"]

logger = logging.getLogger(__name__)

#: Names of the handlers; the number goes up when what they say to each other changes.
WANT, TAKE, NOTICE = (f"xr-locality-{operation}-2" for operation in ("want", "take", "notice"))
_NAME = "xr-locality-outbox-2"

#: Name of the workers' plugin.
GIVER = "xr-locality-giver-1"

#: Bytes that a scheduler holds while it passes them on, to all readers together, one
#: reply more at most.
WINDOW = 256 * 2**20

#: Seconds that a reply of few bytes waits for more, while another is on its way.
_LINGER_SECONDS = 0.02
_FEW_NBYTES = 2**20

#: Seconds after which a reader, or a client, that is gone is forgotten.
_FORGET_SECONDS = 60.0

#: Seconds before a value is tried again that its workers did not give.
_AGAIN_SECONDS = 0.2


@dataclass
class _Reader:
    """What somebody elsewhere still wants, in the order in which it was asked for."""

    waiting: dict[Key, None] = field(default_factory=dict)
    ready: dict[Key, None] = field(default_factory=dict)
    #: Set when there may be something to take.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: Requests that wait or are answered, and answers on their way.
    takes: int = 0
    sending: int = 0


class Outbox(SchedulerPlugin):
    """Hands out values as they get ready, several to a reply, within a window of bytes.

    A reader says which keys it wants, then takes what is ready as often as it likes:
    a take waits for the first value, and goes back with all that fit. So a value
    is on its way as soon as it is there, and small ones go together where many
    are ready. What is taken is held here until the reader has confirmed it; a large
    value goes alone, and passes here as a stream.

    Parameters
    ----------
    scheduler : Scheduler
        Whose values.
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
        #: What is being collected from which workers.
        self._collecting: dict[asyncio.Task[Any], set[str]] = {}
        #: What is said to workers about the plugin by which they give large values.
        self._arming: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Serve."""
        self.scheduler.add_plugin(self, name=self.name)
        self.scheduler.handlers |= self._handlers()

    def arm(self, giver: bytes) -> None:
        """Give workers the plugin; until they have it, large values go whole.

        Nothing waits for that: a worker that does not answer holds up no run.
        """
        if self._arming is None:
            self._arming = asyncio.create_task(self._arm(giver))

    async def _arm(self, giver: bytes) -> None:
        try:
            await self.scheduler.register_worker_plugin(None, giver, GIVER, idempotent=True)
        except Exception as error:  # noqa: BLE001 - of a worker that is gone
            logger.info("A worker could not be told how to give large values: %r", error)

    async def close_if_unused(self) -> None:
        """Leave nothing behind when the last client that needed it is gone."""
        self.clients &= self.scheduler.clients.keys()
        if not self.clients and self.scheduler.plugins.get(self.name) is self:
            self.scheduler.remove_plugin(name=self.name)
            for operation in self._handlers():
                self.scheduler.handlers.pop(operation, None)
            if self._arming is not None:
                self._arming.cancel()
                try:
                    await self.scheduler.unregister_worker_plugin(None, GIVER)
                except Exception as error:  # noqa: BLE001 - of a worker that is gone
                    logger.info("A worker may keep a plugin of ours: %r", error)

    def _handlers(self) -> dict[str, Any]:
        return {WANT: self.want, TAKE: self.take, NOTICE: self.notice}

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Look later whether anybody is left: clients come back after a short break."""
        if client in self.clients:
            asyncio.get_running_loop().call_later(_FORGET_SECONDS, self._close_later)

    def _close_later(self) -> None:
        self._closing = asyncio.create_task(self.close_if_unused())

    def transition(self, key: Key, start: Any, finish: Any, *args: Any, **kwargs: Any) -> None:
        """Take notice of values that get ready."""
        if finish == "memory" and key in self._wanted_by:
            self._is_ready(key)

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Wait no longer for one that is gone: it would be dialled for half a minute."""
        for collecting, addresses in self._collecting.items():
            if worker in addresses:
                collecting.cancel()

    async def notice(self, keys: Iterable[Key]) -> str:
        """Handle: values were put here from outside, which is no transition."""
        for key in keys:
            self._is_ready(key)
        return "OK"

    async def want(self, reader: str, add: Iterable[Key] = (), drop: Iterable[Key] = ()) -> str:
        """Handle: a reader wants some keys, and others no longer."""
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
        """Handle: a reader takes what is ready, at most `limit` bytes or one value.

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
                # Written is not sent: the bytes are still here, in the connection's buffer.
                await comm.read()
            return Status.dont_reply
        except OSError:
            # The connection broke, perhaps while this waited, and the reader has asked
            # again by another: that finds what was claimed here.
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
        """Choose what a take goes back with; nothing if nothing gets ready in time.

        Tells the bytes too, and whether it is one value to be streamed.
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

        If the worker is lost meanwhile, the reader's connection is closed, and it asks again.
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
                opened = await send_recv(source, op=GIVE, key=key)
            except Exception:  # noqa: BLE001 - what is wrong is said when it goes in a message
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
            # One that was lost, and is made again, makes all of them fail.
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


async def open_outbox(
    client: str, window: int, giver: bytes | None = None, dask_scheduler: Any = None
) -> None:
    """Run on a scheduler: serve its values for a client's runs.

    Parameters
    ----------
    client : str
        The client's id.
    window : int
        Bytes that may be held at a time.
    giver : bytes, optional
        The pickle of a plugin by which workers stream large values.
    """
    outbox = dask_scheduler.plugins.get(_NAME)
    if outbox is None:
        outbox = Outbox(dask_scheduler, window)
        outbox.open()
    outbox.clients.add(client)
    if giver is not None:
        outbox.arm(giver)


async def close_outbox(client: str, dask_scheduler: Any = None) -> None:
    """Run on a scheduler: a client needs its values no more."""
    outbox = dask_scheduler.plugins.get(_NAME)
    if outbox is not None:
        outbox.clients.discard(client)
        await outbox.close_if_unused()
