"""Takes values from another cluster's scheduler: for all fetches of one worker."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.execution.remote.packing import receive
from xr_locality.execution.remote.rpc_client import Dialer, LinkError
from xr_locality.execution.remote.streaming import read_on
from xr_locality.execution.remote.value_server import TAKE, WANT

__all__ = ["Inbox", "Received"]

#: Bytes of one reply, where it has more than one value.
_REPLY_NBYTES = 16 * 2**20

#: Replies on their way at a time: while one is asked for, others fill the link.
_STREAMS = 4

#: Requests without an answer that are enough where nothing is ready: one may take long.
_ASKING = 2

#: Seconds that the scheduler waits for a value before it says that there is none yet.
_POLL_SECONDS = 10.0

#: Seconds between two looks at whether what is waited for is still wanted.
_STILL_WANTED_SECONDS = 1.0

#: Seconds between two looks at whether the scheduler answers at all.
_LOOK_SECONDS = 5.0

#: Values of more bytes are deserialised in a thread.
_OFFLOAD_NBYTES = 32 * 2**20


@dataclass(frozen=True)
class Received:
    """A value that has arrived: as it was sent, with its bytes and the time it took."""

    value: Any
    nbytes: int
    waited_seconds: float
    moved_seconds: float


@dataclass
class _Wish:
    future: asyncio.Future[Received | None]
    is_wanted: Callable[[], bool]
    started: float


@dataclass
class Inbox:
    """Takes values as they get ready, several in flight, small ones together.

    Parameters
    ----------
    dialer : Dialer
        Reaches the scheduler that has them.
    window : int, optional
        Bytes that may have arrived and not been released; while they are more, nothing
        is asked for. By default what has arrived need not be released.
    """

    dialer: Dialer
    window: int | None = None
    #: Bytes that have arrived and have not been released.
    held: int = 0
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    _wishes: dict[Key, _Wish] = field(default_factory=dict)
    #: What the scheduler must still be told: whether a key is wanted.
    _untold: dict[Key, bool] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: Requests that have no answer yet.
    _asking: set[object] = field(default_factory=set)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, key: Key, is_wanted: Callable[[], bool]) -> Received | None:
        """Wait for a value, and take it.

        Parameters
        ----------
        key : key
            As the scheduler there knows it.
        is_wanted : callable
            Whether somebody still waits for it.

        Returns
        -------
        Received or None
            None if nobody wants it any more.

        Raises
        ------
        ConnectionError
            If the scheduler is out of reach for too long.
        Exception
            What the value raised while it was deserialised.
        """
        wish = self._wishes.get(key)
        if wish is None:
            future = asyncio.get_running_loop().create_future()
            wish = self._wishes[key] = _Wish(future, is_wanted, time.monotonic())
            self._tell(key, wanted=True)
        else:
            wish.is_wanted = is_wanted
        self._run("sweep", self._sweep)
        self._run("take 0", self._take)
        if len(self._wishes) > 1:
            # While the first reply is on its way, the next is gathered there.
            self._run("take 1", self._take)
        try:
            return await asyncio.shield(wish.future)
        except asyncio.CancelledError:
            self._forget(key)
            raise

    def release(self, nbytes: int) -> None:
        """Make room in the window for as many bytes as a value had."""
        self.held -= nbytes
        self._released.set()

    async def close(self) -> None:
        """Stop taking and close the connections; may be called twice."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(LinkError("the link was closed", met=True))
        await self.dialer.close()

    def _run(self, name: str, coroutine: Callable[[], Any]) -> None:
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(self._guarded(coroutine))

    async def _guarded(self, coroutine: Callable[[], Any]) -> None:
        """Let nobody wait for a task that has failed."""
        try:
            await coroutine()
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            self._fail(error)

    def _tell(self, key: Key, *, wanted: bool) -> None:
        self._untold[key] = wanted
        self._run("tell", self._tell_all)

    async def _tell_all(self) -> None:
        """Tell the scheduler what is wanted, all that has come together at once."""
        while self._untold:
            # What starts in the same turn of the loop goes together.
            await asyncio.sleep(0)
            untold, self._untold = self._untold, {}
            reply = await self.dialer.call(
                WANT,
                patient=False,
                reader=self.name,
                add=[key for key, wanted in untold.items() if wanted],
                drop=[key for key, wanted in untold.items() if not wanted],
            )
            if reply != "OK":
                raise LinkError("the scheduler does not give its values any more", met=True)

    async def _take(self) -> None:
        """Take what is ready, again and again, until nothing is wanted."""
        pause = 0.1
        while self._wishes:
            while self.window is not None and self.held > self.window:
                self._released.clear()
                await self._released.wait()
            try:
                found = await self._take_once()
            except (OSError, TimeoutError):
                # Which values were lost with the connection, nobody knows. If it does
                # not come back, telling fails, and with it all wishes.
                for key in self._wishes:
                    self._tell(key, wanted=True)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.1
            if not found and len(self._asking) >= _ASKING:
                return

    async def _take_once(self) -> bool:
        """Take what is ready; tell whether anything was."""
        started = time.monotonic()
        request = object()
        self._asking.add(request)
        try:
            async with self.dialer.asking(
                TAKE, reader=self.name, limit=_REPLY_NBYTES, seconds=_POLL_SECONDS
            ) as (reply, comm):
                self._asking.discard(request)
                arrived = await self._receive(reply, comm)
        finally:
            self._asking.discard(request)
        for key, sent, kind in arrived:
            await self._arrived(key, sent, kind, started)
        return bool(arrived)

    async def _receive(self, reply: Any, comm: Any) -> list[tuple[Key, Any, str | None]]:
        """Take what a reply brings, and confirm it: keys, values as sent, and types."""
        if not isinstance(reply, dict):
            raise LinkError("the scheduler does not give its values any more", met=True)
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
            # Its worker was lost, or the connection: this value only.
            comm.abort()
            self._tell(large["key"], wanted=True)
            return []
        return [(large["key"], sent, large["type"])]

    def _take_more(self) -> None:
        for number in range(_STREAMS):
            name = f"take {number}"
            if name not in self._tasks or self._tasks[name].done():
                self._run(name, self._take)
                return

    async def _arrived(self, key: Key, sent: Any, kind: str | None, started: float) -> None:
        wish = self._wishes.pop(key, None)
        if wish is None or wish.future.done():
            return
        arrived = time.monotonic()
        waited = max(0.0, started - wish.started)
        try:
            value, nbytes = await receive(sent, kind, offload_nbytes=_OFFLOAD_NBYTES)
        except Exception as error:  # noqa: BLE001 - the task's own, as any that it raises
            wish.future.set_exception(error)
            return
        if not wish.future.done():
            moved = arrived - wish.started - waited
            if self.window is not None:
                self.held += nbytes
            wish.future.set_result(Received(value, nbytes, waited, moved))

    async def _sweep(self) -> None:
        """Forget what nobody wants: a worker cannot interrupt a task that waits."""
        looked = time.monotonic()
        while self._wishes:
            await asyncio.sleep(_STILL_WANTED_SECONDS)
            if time.monotonic() - looked > _LOOK_SECONDS:
                await self._look()
                looked = time.monotonic()
            for key, wish in list(self._wishes.items()):
                if not wish.is_wanted():
                    self._forget(key)

    async def _look(self) -> None:
        """See that the scheduler answers: a value that is on its way may never arrive."""
        try:
            await self.dialer.call(WANT, patient=False, reader=self.name)
        except ConnectionError:
            # What they wait for is lost; the next wish starts others.
            for name, task in self._tasks.items():
                if name.startswith("take"):
                    task.cancel()
            raise

    def _forget(self, key: Key) -> None:
        wish = self._wishes.pop(key, None)
        if wish is not None:
            if not wish.future.done():
                wish.future.set_result(None)
            self._tell(key, wanted=False)

    def _fail(self, error: Exception) -> None:
        wishes, self._wishes = self._wishes, {}
        self._untold.clear()
        for wish in wishes.values():
            if not wish.future.done():
                wish.future.set_exception(_copy(error))


def _copy(error: Exception) -> Exception:
    """Give each that waits an error of its own: notes and tracebacks are added to it."""
    if getattr(error, "xr_locality_link", False):
        return LinkError(str(error), met=not isinstance(error, ConnectionRefusedError))
    return error
