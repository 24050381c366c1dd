"""One event loop in a thread of its own, and a synchronous way into it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from contextlib import nullcontext, suppress
from typing import Any, Generic, TypeVar

from xr_locality.errors import ExecutionError
from xr_locality.runtime.awaiting import Cancellation

__all__ = ["BackgroundLoop"]

T = TypeVar("T")

#: Seconds that an interrupted call may take to tidy up before it is left alone.
_TIDY_SECONDS = 15.0

#: Seconds that the loop may take to end what still runs on it.
_STOP_SECONDS = 10.0


class BackgroundLoop:
    """Runs coroutines for callers that are not asynchronous; started on first use.

    Not distributed's ``LoopRunner``: that one counts the clients on its loop, an
    asynchronous client never counts itself out, and so the thread would never end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None

    def run(
        self, coroutine: Coroutine[Any, Any, T], *, cancellation: Cancellation | None = None
    ) -> T:
        """Run a coroutine to its end and return its result.

        An interrupt (Ctrl-C) cancels it and waits until it has tidied up.

        Parameters
        ----------
        coroutine : coroutine
            What to run.
        cancellation : Cancellation, optional
            Cancels it, too; then ``concurrent.futures.CancelledError`` is raised.

        Raises
        ------
        ExecutionError
            If called on the loop's own thread, where it would wait for itself.
        """
        call, loop = self._begin(coroutine)

        def cancel() -> None:
            with suppress(RuntimeError):  # The loop is closed, and has ended it.
                loop.call_soon_threadsafe(call.cancel)

        try:
            with nullcontext() if cancellation is None else cancellation.cancelling(cancel):
                return call.outcome.result()
        except KeyboardInterrupt:
            cancel()
            # It is what the coroutine does about it that is waited for, not its result.
            wait({call.outcome}, timeout=_TIDY_SECONDS)
            raise

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function on the loop's thread, without waiting for it."""
        with self._lock:
            self._start().call_soon_threadsafe(function, *args)

    def _begin(
        self, coroutine: Coroutine[Any, Any, T]
    ) -> tuple[_Call[T], asyncio.AbstractEventLoop]:
        with self._lock:
            loop = self._start()
            if _running_loop() is loop:
                coroutine.close()
                raise ExecutionError("A synchronous call was made on the session's own event loop.")
            call = _Call(coroutine)
            # Under the lock: what is begun before the loop is stopped, is ended by it.
            asyncio.run_coroutine_threadsafe(call.run(), loop)
        return call, loop

    def _start(self) -> asyncio.AbstractEventLoop:
        """Get the loop, which runs from now on; the lock is held."""
        if self._thread is None:
            self._thread = _LoopThread()
            self._thread.start()
        return self._thread.loop.result()

    def stop(self) -> None:
        """Stop the loop and its thread; may be called twice."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()


class _LoopThread(threading.Thread):
    """A thread with an event loop of its own."""

    def __init__(self) -> None:
        super().__init__(name="xr-locality loop", daemon=True)
        #: The loop, once it runs.
        self.loop: Future[asyncio.AbstractEventLoop] = Future()
        self._stopped = asyncio.Event()

    def run(self) -> None:
        """Serve until stopped, then cancel what still runs."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        """End the loop, and wait until it has ended."""
        self.loop.result().call_soon_threadsafe(self._stopped.set)
        self.join(timeout=_STOP_SECONDS)

    async def _serve(self) -> None:
        self.loop.set_result(asyncio.get_running_loop())
        await self._stopped.wait()


class _Call(Generic[T]):
    """One coroutine, whose outcome is there only when it has really ended."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.outcome: Future[T] = Future()
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    async def run(self) -> None:
        """Run the coroutine and keep what comes of it."""
        if self._cancelled:
            self._coroutine.close()
            self.outcome.set_exception(CancelledError())
            return
        self._task = asyncio.ensure_future(self._coroutine)
        try:
            self.outcome.set_result(await self._task)
        except asyncio.CancelledError:
            self.outcome.set_exception(CancelledError())
        except BaseException as error:  # noqa: BLE001 - handed to the caller as it is
            self.outcome.set_exception(error)

    def cancel(self) -> None:
        """Cancel the coroutine, which may not have begun yet; called on the loop."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
