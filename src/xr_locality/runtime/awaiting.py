"""Awaitable synchronous calls: each in a thread of its own, cancelled with its awaiter."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["Cancellation", "awaited"]

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Seconds that a cancelled call may take to tidy up before it is left alone.
_TIDY_SECONDS: Final = 15.0


class Cancellation:
    """Cancellation of an awaited call, and the functions that it calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancels: list[Callable[[], object]] = []
        #: Whether the call has been cancelled.
        self.requested = False

    @staticmethod
    def current() -> Cancellation | None:
        """Return that of the enclosing call; None if the call is not awaited."""
        return _current.get()

    @contextmanager
    def cancelling(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Call a function if the call is cancelled inside, or at once if it has been."""
        with self._lock:
            self._cancels.append(cancel)
            late = self.requested
        try:
            if late:
                cancel()
            yield
        finally:
            with self._lock:
                self._cancels.remove(cancel)

    def request(self) -> None:
        """Cancel the call; from any thread."""
        with self._lock:
            self.requested = True
            cancels = list(self._cancels)
        for cancel in cancels:
            cancel()


_current: ContextVar[Cancellation | None] = ContextVar("xr_locality_cancellation", default=None)


def awaited(
    function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]:
    """Give what calls a function when it is awaited, without blocking the event loop.

    The function sees the context variables of the caller. Not the event
    loop's own threads: those are few, and the function waits for most of its time.

    Cancelling the await cancels what the function then runs on a
    :class:`~xr_locality.runtime.event_loop.BackgroundLoop`, and waits until it has returned.

    Parameters
    ----------
    function : callable
        What to call.
    *args, **kwargs : Any
        What to call it with.

    Returns
    -------
    coroutine
        Of what the function returns; nothing is done before it is awaited.
    """
    return _await(copy_context(), partial(function, *args, **kwargs))


async def _await(context: Context, function: Callable[[], T]) -> T:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    cancellation: Cancellation = Cancellation()
    outcome: Future[T] = Future()

    def work() -> None:
        _current.set(cancellation)
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - handed to the awaiter as it is
            outcome.set_exception(error)
        with suppress(RuntimeError):  # The loop is closed, and awaits nothing.
            loop.call_soon_threadsafe(done.set)

    threading.Thread(
        target=context.run, args=(work,), name="xr-locality awaited", daemon=True
    ).start()
    try:
        await done.wait()
    except asyncio.CancelledError:
        cancellation.request()
        try:
            async with asyncio.timeout(_TIDY_SECONDS):
                await done.wait()
        except TimeoutError:
            logger.warning("A cancelled call still runs after %g seconds", _TIDY_SECONDS)
        raise
    return outcome.result()
