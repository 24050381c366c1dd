from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextvars import ContextVar

import pytest

from xr_locality.runtime.awaiting import Cancellation, awaited
from xr_locality.runtime.event_loop import BackgroundLoop

variable: ContextVar[str] = ContextVar("variable", default="nobody's")


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    """Make a loop, and stop it afterwards."""
    made = BackgroundLoop()
    yield made
    made.stop()


def test_result_and_arguments_are_handed_on() -> None:
    """A function is called with its arguments, and its result awaited."""
    assert asyncio.run(awaited(divmod, 7, 2)) == (3, 1)


@pytest.mark.parametrize("error", [ZeroDivisionError("as it is"), StopIteration("even this")])
def test_exception_comes_back(error: Exception) -> None:
    """What the function raises, the awaiter gets, and no awaiter is left waiting."""

    def fail() -> None:
        raise error

    with pytest.raises((ZeroDivisionError, RuntimeError)) as caught:
        asyncio.run(awaited(fail))
    # An event loop cannot hand on a StopIteration: Python wraps it.
    assert error in (caught.value, caught.value.__cause__)


def test_function_sees_the_callers_context_and_changes_none() -> None:
    """The context is that of the call, not of the await; what is set there stays there."""

    def use() -> str:
        seen = variable.get()
        variable.set("the function's")
        return seen

    async def body() -> tuple[str, str]:
        variable.set("the caller's")
        calling = awaited(use)
        variable.set("the awaiter's")
        return await calling, variable.get()

    assert asyncio.run(body()) == ("the caller's", "the awaiter's")


def test_many_wait_at_once() -> None:
    """More calls than an event loop has threads go on at the same time."""
    barrier = threading.Barrier(64)

    async def body() -> list[int]:
        return await asyncio.gather(*(awaited(barrier.wait, 30) for _ in range(64)))

    assert sorted(asyncio.run(body())) == list(range(64))


def test_cancelled_await_cancels_and_waits(loop: BackgroundLoop) -> None:
    """What runs on a background loop is cancelled, and the awaiter waits until it has ended."""
    begun = threading.Event()
    ended: list[str] = []

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("coroutine")

    def call() -> None:
        try:
            loop.run(long(), cancellation=Cancellation.current())
        except CancelledError:
            ended.append("function")
            raise

    async def body() -> None:
        calling = asyncio.create_task(awaited(call))
        assert await asyncio.to_thread(begun.wait, 30)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert ended == ["coroutine", "function"]

    asyncio.run(body())


def test_cancelled_before_it_runs_never_runs(loop: BackgroundLoop) -> None:
    """A call that is given up while it still plans starts nothing on the background loop."""
    planning, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    async def run() -> None:
        ran.append("run")

    def call() -> None:
        planning.set()
        go_on.wait(30)
        loop.run(run(), cancellation=Cancellation.current())

    async def body() -> None:
        calling = asyncio.create_task(awaited(call))
        assert await asyncio.to_thread(planning.wait, 30)
        calling.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(body())
    assert ran == []


def test_other_calls_are_not_cancelled(loop: BackgroundLoop) -> None:
    """Only what was cancelled is: another await goes on."""
    begun, released = threading.Barrier(3), threading.Event()

    async def wait() -> str:
        await asyncio.to_thread(begun.wait, 30)
        await asyncio.to_thread(released.wait, 30)
        return "waited"

    def call() -> str:
        return loop.run(wait(), cancellation=Cancellation.current())

    async def body() -> str:
        first, second = (asyncio.create_task(awaited(call)) for _ in range(2))
        await asyncio.to_thread(begun.wait, 30)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        released.set()
        return await second

    assert asyncio.run(body()) == "waited"


def test_synchronous_call_is_nobodys() -> None:
    """What nobody awaits has no cancellation, before and after one that somebody does."""
    assert Cancellation.current() is None
    assert asyncio.run(awaited(Cancellation.current)) is not None
    assert Cancellation.current() is None
