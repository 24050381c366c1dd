"""Client of a :class:`ValueServer`: takes the values of another cluster."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.execution.remote.packing import receive
from xr_locality.execution.remote.rpc_client import LinkError, RpcClient
from xr_locality.execution.remote.streaming import read_on
from xr_locality.execution.remote.value_server import TAKE, WANT

__all__ = ["Received", "ValueClient"]

#: Bytes of one reply, where it has more than one value.
_REPLY_NBYTES = 16 * 2**20

#: Replies in transfer at a time: while one is requested, others fill the link.
_STREAMS = 4

#: Requests that wait where no value is ready; one of them may wait long.
_WAITING_CALLS = 2

#: Seconds that the scheduler waits for a first value before it returns none.
_POLL_SECONDS = 10.0

#: Seconds between two checks whether a requested value is still wanted.
_STILL_WANTED_SECONDS = 1.0

#: Seconds between two checks whether the scheduler answers.
_CHECK_SECONDS = 5.0

#: Values of more bytes are deserialised in a thread.
_OFFLOAD_NBYTES = 32 * 2**20


@dataclass(frozen=True)
class Received:
    """A value that has arrived, still packed, with its bytes and the seconds it took."""

    value: Any
    nbytes: int
    waited_seconds: float
    moved_seconds: float


@dataclass
class _Request:
    """A value that some tasks wait for."""

    future: asyncio.Future[Received | None]
    is_wanted: Callable[[], bool]
    started: float


@dataclass
class ValueClient:
    """Client of a value server: takes values when ready, several replies in transfer at a time.

    Parameters
    ----------
    rpc : RpcClient
        Calls the scheduler that has them.
    window : int, optional
        Bytes that may have arrived and not been released; while they are more, no value
        is requested. By default values need not be released.
    """

    rpc: RpcClient
    window: int | None = None
    #: Bytes that have arrived and were not released.
    held: int = 0
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    _requests: dict[Key, _Request] = field(default_factory=dict)
    #: Keys to be sent to the scheduler, and whether each is wanted.
    _unsent: dict[Key, bool] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: Calls of the scheduler that have no answer yet.
    _calls: set[object] = field(default_factory=set)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, key: Key, is_wanted: Callable[[], bool]) -> Received | None:
        """Request a value and wait for it.

        Parameters
        ----------
        key : key
            Its key on the scheduler there.
        is_wanted : callable
            Whether a task still waits for it.

        Returns
        -------
        Received or None
            None if it is not wanted any more.

        Raises
        ------
        ConnectionError
            If the scheduler is unreachable for too long.
        Exception
            As raised by deserialising the value.
        """
        request = self._requests.get(key)
        if request is None:
            future = asyncio.get_running_loop().create_future()
            request = self._requests[key] = _Request(future, is_wanted, time.monotonic())
            self._announce(key, wanted=True)
        else:
            request.is_wanted = is_wanted
        self._run("sweep", self._sweep)
        self._run("take 0", self._take)
        if len(self._requests) > 1:
            # While the first reply is in transfer, the scheduler gathers the next.
            self._run("take 1", self._take)
        try:
            return await asyncio.shield(request.future)
        except asyncio.CancelledError:
            self._forget(key)
            raise

    def release(self, nbytes: int) -> None:
        """Free the bytes of one value in the window."""
        self.held -= nbytes
        self._released.set()

    async def close(self) -> None:
        """Stop taking values and close the connections; may be called twice."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(LinkError("the link was closed", met=True))
        await self.rpc.close()

    def _run(self, name: str, coroutine: Callable[[], Any]) -> None:
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(self._guarded(coroutine))

    async def _guarded(self, coroutine: Callable[[], Any]) -> None:
        """Run a coroutine; if it fails, so do all requests."""
        try:
            await coroutine()
        except Exception as error:  # noqa: BLE001 - raised where the values are awaited
            self._fail(error)

    def _announce(self, key: Key, *, wanted: bool) -> None:
        self._unsent[key] = wanted
        self._run("announce", self._announce_all)

    async def _announce_all(self) -> None:
        """Send the scheduler the keys that are wanted now, and those that are not any more."""
        while self._unsent:
            # Requests made in one iteration of the event loop are sent together.
            await asyncio.sleep(0)
            unsent, self._unsent = self._unsent, {}
            reply = await self.rpc.call(
                WANT,
                patient=False,
                reader=self.name,
                add=[key for key, wanted in unsent.items() if wanted],
                drop=[key for key, wanted in unsent.items() if not wanted],
            )
            if reply != "OK":
                raise LinkError("the scheduler does not serve its values any more", met=True)

    async def _take(self) -> None:
        """Take ready values, until none is wanted."""
        pause = 0.1
        while self._requests:
            while self.window is not None and self.held > self.window:
                self._released.clear()
                await self._released.wait()
            try:
                found = await self._take_once()
            except (OSError, TimeoutError):
                # It is not known which values were lost with the connection. If the
                # scheduler stays unreachable, announcing fails, and with it all requests.
                for key in self._requests:
                    self._announce(key, wanted=True)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.1
            if not found and len(self._calls) >= _WAITING_CALLS:
                return

    async def _take_once(self) -> bool:
        """Take ready values once; return whether any was."""
        started = time.monotonic()
        call = object()
        self._calls.add(call)
        try:
            async with self.rpc.asking(
                TAKE, reader=self.name, limit=_REPLY_NBYTES, seconds=_POLL_SECONDS
            ) as (reply, comm):
                self._calls.discard(call)
                arrived = await self._receive(reply, comm)
        finally:
            self._calls.discard(call)
        for key, sent, kind in arrived:
            await self._arrived(key, sent, kind, started)
        return bool(arrived)

    async def _receive(self, reply: Any, comm: Any) -> list[tuple[Key, Any, str | None]]:
        """Read the values of a reply and confirm them: keys, values as sent, and types."""
        if not isinstance(reply, dict):
            raise LinkError("the scheduler does not serve its values any more", met=True)
        if reply["more"]:
            self._take_more()
        large = reply.get("large")
        if large is None:
            if reply["data"]:
                await comm.write("OK")
            return [(key, sent, reply["types"].get(key)) for key, sent in reply["data"].items()]
        try:
            sent = await read_on(large["head"], comm)
        except OSError:
            # Its worker or the connection was lost: only this value is missing.
            comm.abort()
            self._announce(large["key"], wanted=True)
            return []
        return [(large["key"], sent, large["type"])]

    def _take_more(self) -> None:
        for number in range(_STREAMS):
            name = f"take {number}"
            if name not in self._tasks or self._tasks[name].done():
                self._run(name, self._take)
                return

    async def _arrived(self, key: Key, sent: Any, kind: str | None, started: float) -> None:
        request = self._requests.pop(key, None)
        if request is None or request.future.done():
            return
        arrived = time.monotonic()
        waited = max(0.0, started - request.started)
        try:
            value, nbytes = await receive(sent, kind, offload_nbytes=_OFFLOAD_NBYTES)
        except Exception as error:  # noqa: BLE001 - the task's own, as any that it raises
            request.future.set_exception(error)
            return
        if not request.future.done():
            moved = arrived - request.started - waited
            if self.window is not None:
                self.held += nbytes
            request.future.set_result(Received(value, nbytes, waited, moved))

    async def _sweep(self) -> None:
        """Drop values that no task wants: a worker cannot interrupt a task that waits."""
        checked = time.monotonic()
        while self._requests:
            await asyncio.sleep(_STILL_WANTED_SECONDS)
            if time.monotonic() - checked > _CHECK_SECONDS:
                await self._check()
                checked = time.monotonic()
            for key, request in list(self._requests.items()):
                if not request.is_wanted():
                    self._forget(key)

    async def _check(self) -> None:
        """Check that the scheduler answers: a value in transfer may never arrive."""
        try:
            await self.rpc.call(WANT, patient=False, reader=self.name)
        except ConnectionError:
            # Their answers are lost; the next request starts new tasks.
            for name, task in self._tasks.items():
                if name.startswith("take"):
                    task.cancel()
            raise

    def _forget(self, key: Key) -> None:
        request = self._requests.pop(key, None)
        if request is not None:
            if not request.future.done():
                request.future.set_result(None)
            self._announce(key, wanted=False)

    def _fail(self, error: Exception) -> None:
        requests, self._requests = self._requests, {}
        self._unsent.clear()
        for request in requests.values():
            if not request.future.done():
                request.future.set_exception(_copy(error))


def _copy(error: Exception) -> Exception:
    """Copy an error for each request: notes and tracebacks are added to it."""
    if getattr(error, "xr_locality_link", False):
        return LinkError(str(error), met=not isinstance(error, ConnectionRefusedError))
    return error
