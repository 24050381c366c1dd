from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from distributed import Worker

from support.value_server_world import MB, Cluster, cluster, n_gathers, run, value_client, wanted
from xr_locality.execution import remote
from xr_locality.execution.remote.value_server import TAKE, close_value_server, open_value_server


def test_small_values_go_together() -> None:
    """Many small values that are ready cross in few replies."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            futures = await there.client.scatter({f"x{n}": np.full(100, n) for n in range(500)})
            got = await asyncio.gather(*(reader.get(key, wanted) for key in futures))
            assert [each.value[0] for each in got if each] == list(range(500))
            assert sum(each.nbytes for each in got if each) == 500 * 800
            assert n_gathers(there) < 20

    run(test)


def test_a_value_is_taken_when_it_is_made() -> None:
    """A value that is asked for before it exists comes when it does."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            getting = asyncio.create_task(reader.get("late", wanted))
            other = there.client.submit(abs, -1, key="other")
            assert (got := await reader.get("other", wanted)) is not None
            assert got.value == 1
            assert not getting.done()
            late = there.client.submit(abs, -2, key="late")
            assert (got := await getting) is not None
            assert got.value == 2
            del other, late

    run(test)


def test_values_that_take_long_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often nothing was ready, and however many asked, somebody goes on asking."""
    monkeypatch.setattr("xr_locality.execution.remote.value_client._POLL_SECONDS", 0.05)

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            for wave in range(3):
                keys = [f"x{wave}-{n}" for n in range(4)]
                getting = [asyncio.create_task(reader.get(key, wanted)) for key in keys]
                # Many polls: each of those that ask finds nothing, again and again.
                await asyncio.sleep(0.5)
                futures = [there.client.submit(abs, -1, key=key, pure=False) for key in keys]
                got = await asyncio.gather(*getting)
                assert [each.value for each in got if each] == [1] * 4
                del futures

    run(test)


def test_scheduler_holds_no_more_than_its_window() -> None:
    """However many read at once, a scheduler holds a window of bytes and one value."""

    async def test() -> None:
        async with cluster(window=8 * MB) as there:
            values = {f"x{n}": np.zeros(2 * MB, "u1") for n in range(40)}
            futures = await there.client.scatter(values)
            async with value_client(there) as one, value_client(there) as other:
                await asyncio.gather(
                    *(one.get(key, wanted) for key in list(futures)[:20]),
                    *(other.get(key, wanted) for key in list(futures)[20:]),
                )
            assert 8 * MB <= there.value_server.most_held <= 11 * MB
            assert there.value_server.held == 0

    run(test)


def test_reader_takes_no_more_than_its_window() -> None:
    """A reader asks for nothing more while what has arrived has not been released."""

    async def test() -> None:
        async with cluster() as there, value_client(there, window=10 * MB) as reader:
            values = {f"x{n}": np.zeros(9 * MB, "u1") for n in range(20)}
            futures = await there.client.scatter(values)
            most = 0

            async def use(key: str) -> None:
                nonlocal most
                got = await reader.get(key, wanted)
                assert got is not None
                most = max(most, reader.held)
                await asyncio.sleep(0)
                reader.release(got.nbytes)

            await asyncio.gather(*map(use, futures))
            assert most <= 10 * MB + 5 * 9 * MB
            assert reader.held == 0

    run(test)


def test_broken_connections_are_made_up_for() -> None:
    """What is lost with a connection is asked for again, and all values arrive."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            values = {f"x{n}": np.full(MB, n, "u1") for n in range(60)}
            futures = await there.client.scatter(values)
            getting = [asyncio.create_task(reader.get(key, wanted)) for key in futures]
            await getting[0]
            for comm, operation in list(there.scheduler._comms.items()):
                if operation == TAKE:
                    comm.abort()
            got = await asyncio.gather(*getting)
            assert [int(each.value[0]) for each in got if each] == list(range(60))

    run(test)


def test_connections_that_break_while_nothing_is_ready_lose_nothing() -> None:
    """What those who asked by them would have got goes to those who ask again."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            keys = [f"late-{n}" for n in range(4)]
            getting = [asyncio.create_task(reader.get(key, wanted)) for key in keys]
            for _ in range(3):
                await asyncio.sleep(0.3)
                for comm, operation in list(there.scheduler._comms.items()):
                    if operation == TAKE:
                        comm.abort()
            await asyncio.sleep(0.3)
            futures = []
            for key in keys:
                futures.append(there.client.submit(abs, -2, key=key, pure=False))
                await futures[-1]
            got = await asyncio.gather(*getting)
            assert [each.value for each in got if each] == [2] * 4

    run(test)


def test_lost_value_is_waited_for() -> None:
    """A value whose worker is gone comes from the one that makes it again."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            first = there.client.submit(abs, -1, key="x")
            await first
            (worker,) = there.scheduler.workers
            await there.scheduler.retire_workers([worker], remove=True, close_workers=True)
            getting = asyncio.create_task(reader.get("x", wanted))
            async with Worker(there.scheduler.address, nthreads=1, memory_limit=0):
                assert (got := await getting) is not None
                assert got.value == 1

    run(test)


def hold_up(there: Cluster, held_up: str) -> asyncio.Event:
    """Let the scheduler never collect a value the first time it tries; tell when it does."""
    gather, tried = there.scheduler.gather, asyncio.Event()

    async def never_at_first(keys: Any, **how: Any) -> Any:
        if held_up in keys and not tried.is_set():
            tried.set()
            await asyncio.Event().wait()
        return await gather(keys, **how)

    there.scheduler.gather = never_at_first  # type: ignore[method-assign]
    return tried


def test_worker_that_is_gone_is_not_waited_for() -> None:
    """What is being collected from a worker that is lost is collected from another."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            other = await Worker(there.scheduler.address, nthreads=1, memory_limit=0)
            futures = await there.client.scatter({"x": np.arange(9)}, broadcast=True)
            tried = hold_up(there, "x")
            getting = asyncio.create_task(reader.get("x", wanted))
            await tried.wait()
            await other.close()
            got = await getting
            assert got is not None
            np.testing.assert_array_equal(got.value, np.arange(9))
            del futures

    run(test)


def test_value_that_takes_long_does_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is collected, what gets ready later is taken."""
    monkeypatch.setattr("xr_locality.execution.remote.value_client._POLL_SECONDS", 0.05)

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            futures = await there.client.scatter({"x": np.arange(9)})
            tried = hold_up(there, "x")
            getting = [asyncio.create_task(reader.get(key, wanted)) for key in ("x", "late")]
            await tried.wait()
            # Many polls.
            await asyncio.sleep(0.5)
            late = there.client.submit(abs, -2, key="late")
            assert (got := await getting[1]) is not None
            assert got.value == 2
            assert not getting[0].done()
            getting[0].cancel()
            del futures, late

    run(test)


def test_what_nobody_wants_is_not_waited_for() -> None:
    """A wait ends when nobody wants the value, and the scheduler forgets it."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            assert await reader.get("never", lambda: False) is None
            for _ in range(1000):
                if not there.value_server._wanted_by:
                    break
                await asyncio.sleep(0.01)
            assert not there.value_server._wanted_by

    run(test)


class Stubborn:
    """A value that cannot be opened where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ConnectionError("the store inside does not answer")


def test_value_that_cannot_be_deserialised_fails_at_once() -> None:
    """What a value raises is its own error, not that of a link, and is not tried again."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            made = there.client.submit(Stubborn, key="stubborn")
            with pytest.raises(ConnectionError, match="the store inside") as caught:
                await reader.get("stubborn", wanted)
            assert not hasattr(caught.value, "xr_locality_link")
            assert n_gathers(there) == 1
            del made

    run(test)


def test_scheduler_out_of_reach_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that never answers ends all waits within its time."""
    from xr_locality.execution.remote import rpc_client

    monkeypatch.setattr(rpc_client, "FIRST_CONTACT_SECONDS", 0.3)

    async def test() -> None:
        reader = remote.ValueClient(remote.RpcClient("tcp://127.0.0.1:1", {}, 1.0))
        try:
            answers = await asyncio.gather(
                reader.get("a", wanted), reader.get("b", wanted), return_exceptions=True
            )
        finally:
            await reader.close()
        assert all(isinstance(answer, ConnectionRefusedError) for answer in answers)

    run(test)


def test_nothing_is_left_on_the_scheduler() -> None:
    """When the last client needs it no more, plugin and handlers are gone."""

    async def test() -> None:
        async with cluster() as there:
            before = set(there.scheduler.handlers)
            await open_value_server("another", remote.WINDOW, dask_scheduler=there.scheduler)
            assert TAKE in before
            await close_value_server(there.client.id, dask_scheduler=there.scheduler)
            assert TAKE not in there.scheduler.handlers
            assert "xr-locality-value-server-3" not in there.scheduler.plugins

    run(test)
