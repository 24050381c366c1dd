from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from support.polling import patience
from xr_locality.errors import ExecutionError
from xr_locality.runtime.event_loop import BackgroundLoop


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    """Make a loop, and stop it afterwards."""
    made = BackgroundLoop()
    yield made
    made.stop()


async def double(value: int) -> int:
    """Wait a moment, then answer."""
    await asyncio.sleep(0)
    return value * 2


def test_result_comes_back(loop: BackgroundLoop) -> None:
    """A coroutine's result is the call's."""
    assert loop.run(double(4)) == 8


def test_exception_comes_back_as_it_is(loop: BackgroundLoop) -> None:
    """What a coroutine raises, the caller gets: the same object, with its notes."""
    error = ZeroDivisionError("as it is")

    async def fail() -> None:
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        loop.run(fail())
    assert caught.value is error


def test_threads_share_one_loop(loop: BackgroundLoop) -> None:
    """Calls of several threads run on the same loop, at the same time."""

    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    with ThreadPoolExecutor(4) as threads:
        loops = set(threads.map(lambda _: loop.run(where()), range(8)))
    assert len(loops) == 1


def test_calls_do_not_wait_for_each_other(loop: BackgroundLoop) -> None:
    """A call that waits does not keep another from ending."""
    released = asyncio.Event()

    async def wait() -> str:
        await released.wait()
        return "waited"

    async def release() -> None:
        released.set()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(loop.run, wait())
        loop.run(release())
        assert waiting.result(timeout=patience(30)) == "waited"


def test_call_from_a_running_loop_works(loop: BackgroundLoop) -> None:
    """In a notebook a loop is running already; a synchronous call is still possible."""

    async def notebook() -> int:
        return loop.run(double(3))

    assert asyncio.run(notebook()) == 6


def test_call_on_its_own_thread_is_refused(loop: BackgroundLoop) -> None:
    """It would wait for itself for ever."""

    async def nested() -> None:
        loop.run(double(1))

    with pytest.raises(ExecutionError, match="own event loop"):
        loop.run(nested())


def test_interrupt_cancels_and_waits_for_the_end(loop: BackgroundLoop) -> None:
    """Ctrl-C reaches the coroutine, which tidies up before the caller goes on."""
    tidied: list[str] = []

    async def long() -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append("tidied")

    with pytest.raises(KeyboardInterrupt):
        loop.run(long())
    assert tidied == ["tidied"]
    assert loop.run(double(2)) == 4


def test_cancelled_coroutine_is_an_error(loop: BackgroundLoop) -> None:
    """A coroutine that something else cancels does not leave its caller waiting."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(CancelledError):
        loop.run(cancelled())


def test_stopped_loop_leaves_no_thread(loop: BackgroundLoop) -> None:
    """Stopping ends the thread, may be done twice, and a new call starts anew."""
    before = set(threading.enumerate())
    loop.run(double(1))
    loop.stop()
    loop.stop()
    assert set(threading.enumerate()) <= before
    assert loop.run(double(1)) == 2


def test_stopping_ends_calls_that_wait(loop: BackgroundLoop) -> None:
    """Who waits for a coroutine when the loop is stopped does not wait for ever."""
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(loop.run, wait())
        begun.wait(30)
        loop.stop()
        with pytest.raises(CancelledError):
            waiting.result(timeout=patience(30))


def test_clients_on_the_loop_do_not_keep_it(loop: BackgroundLoop) -> None:
    """An asynchronous client of distributed that was closed leaves the thread to end."""
    from distributed import Client

    async def use_a_client() -> None:
        async with Client(
            asynchronous=True, processes=False, n_workers=1, dashboard_address=":0"
        ) as client:
            assert await client.submit(abs, -1) == 1

    before = set(threading.enumerate())
    loop.run(use_a_client())
    loop.stop()
    assert not [each for each in set(threading.enumerate()) - before if "loop" in each.name]


def test_unused_loop_starts_nothing() -> None:
    """Making a loop starts no thread."""
    before = threading.active_count()
    BackgroundLoop().stop()
    assert threading.active_count() == before


def test_context_of_the_caller_is_not_lost(loop: BackgroundLoop) -> None:
    """What the coroutine sets in its own context stays there."""
    variable: ContextVar[int] = ContextVar("variable", default=0)

    async def change() -> None:
        variable.set(1)

    loop.run(change())
    assert variable.get() == 0
