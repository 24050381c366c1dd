from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Worker

from support.value_server_world import MB, Cluster, cluster, n_gathers, run, value_client, wanted
from xr_locality.execution.remote.streaming import BUFFERS_NBYTES, STREAM
from xr_locality.execution.remote.value_server import STREAMER, close_value_server

random = np.random.default_rng(0)


def giving(worker: Worker) -> list[Any]:
    """List a worker's connections by which it gives values now."""
    return [comm for comm, operation in list(worker._comms.items()) if operation == STREAM]


async def until(found: Callable[[], Any]) -> Any:
    """Wait for something to be there, looking in every turn of the loop."""
    for _ in range(100_000):
        if answer := found():
            return answer
        await asyncio.sleep(0)
    raise AssertionError("It was not there in many turns of the loop.")


@pytest.mark.parametrize(
    "value",
    [
        random.random((3, MB)),
        random.random((3, MB)).T,
        random.random((2, 3, MB // 2)).transpose(2, 0, 1),
        np.array(["text", None, 1] * MB, object),
        [random.random((2, MB)), "between", {"other": random.random(MB)}],
        b"bytes" * 5 * MB,
    ],
    ids=["C", "Fortran", "neither", "objects", "nested", "bytes"],
)
def test_large_values_are_streamed(value: Any) -> None:
    """They come as they were, and the scheduler holds buffers of them only."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            (future,) = await there.client.scatter([value])
            got = await reader.get(future.key, wanted)
            assert got is not None
            assert type(got.value) is type(value)
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(got.value, value)
                assert got.value.flags.aligned
            elif isinstance(value, list):
                np.testing.assert_array_equal(got.value[0], value[0])
                np.testing.assert_array_equal(got.value[2]["other"], value[2]["other"])
            else:
                assert got.value == value
            assert n_gathers(there) == 0
            assert 0 < there.value_server.most_held <= BUFFERS_NBYTES
            await until(lambda: not there.value_server.held)

    run(test)


def test_bytes_are_counted_as_they_came() -> None:
    """A streamed value counts as much as one in a message."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            (future,) = await there.client.scatter([np.zeros(30 * MB, "u1")])
            got = await reader.get(future.key, wanted)
            assert got is not None
            assert got.nbytes == 30 * MB

    run(test)


def test_streams_fit_into_the_window() -> None:
    """However many read large values at once, a scheduler holds a window of bytes."""

    async def test() -> None:
        async with cluster(window=2 * BUFFERS_NBYTES) as there:
            futures = await there.client.scatter([np.full(20 * MB, n, "u1") for n in range(12)])
            async with value_client(there) as one, value_client(there) as other:
                got = await asyncio.gather(
                    *(one.get(future.key, wanted) for future in futures[:6]),
                    *(other.get(future.key, wanted) for future in futures[6:]),
                )
            assert [int(each.value[-1]) for each in got if each] == list(range(12))
            assert n_gathers(there) == 0
            assert there.value_server.most_held <= 3 * BUFFERS_NBYTES

    run(test)


def test_value_whose_worker_is_lost_meanwhile_comes_from_another() -> None:
    """Half a value is of no use: it is asked for again, and others are not disturbed."""

    async def test() -> None:
        async with (
            cluster() as there,
            Worker(there.scheduler.address, nthreads=1, memory_limit=0) as other,
            value_client(there) as reader,
        ):
            value = random.integers(0, 255, 200 * MB, "u1")
            (future,) = await there.client.scatter([value], broadcast=True)
            (small,) = await there.client.scatter([np.ones(9)])
            getting = asyncio.create_task(reader.get(future.key, wanted))
            (comm,) = await until(lambda: giving(there.worker) + giving(other))
            comm.abort()
            got, also = await asyncio.gather(getting, reader.get(small.key, wanted))
            assert got is not None
            assert also is not None
            np.testing.assert_array_equal(got.value, value)
            await until(lambda: not there.value_server.held)

    run(test)


def test_reader_that_goes_leaves_nothing() -> None:
    """A reader that closes amid a value ends the stream, up to the worker."""

    async def test() -> None:
        async with cluster() as there:
            (future,) = await there.client.scatter([np.zeros(200 * MB, "u1")])
            async with value_client(there) as reader:
                getting = asyncio.create_task(reader.get(future.key, wanted))
                await until(lambda: giving(there.worker))
            with pytest.raises(ConnectionError, match="closed"):
                await getting
            await until(lambda: not giving(there.worker) and not there.value_server.held)
            async with value_client(there) as another:
                assert (got := await another.get(future.key, wanted)) is not None
                assert got.value.nbytes == 200 * MB

    run(test)


async def _take_large(there: Cluster) -> None:
    async with value_client(there) as reader:
        (future,) = await there.client.scatter([np.arange(4 * MB)])
        got = await reader.get(future.key, wanted)
        assert got is not None
        np.testing.assert_array_equal(got.value, np.arange(4 * MB))


def test_workers_that_cannot_stream_send_a_message() -> None:
    """Where a worker has not got the plugin, its large values go as the others do."""

    async def test() -> None:
        async with cluster(streams=False) as there:
            await _take_large(there)
            assert n_gathers(there) == 1
            await until(lambda: not there.value_server.held)

    run(test)


def test_compression_is_kept() -> None:
    """Where a site compresses what is sent, large values go in messages, compressed."""

    async def test() -> None:
        async with cluster() as there:
            await _take_large(there)
            assert n_gathers(there) == 1

    with dask.config.set({"distributed.comm.compression": "zlib"}):
        run(test)


class Unserialisable:
    """A large value that cannot be sent."""

    def __sizeof__(self) -> int:
        return 100 * MB

    def __reduce__(self) -> Any:
        raise TypeError("the heart of it is a lock")


def test_value_that_cannot_be_serialised_fails() -> None:
    """What is wrong with a large value is said as of a small one, to its taker only."""

    async def test() -> None:
        async with cluster() as there, value_client(there) as reader:
            made = there.client.submit(Unserialisable, key="locked")
            getting = asyncio.create_task(reader.get("locked", wanted))
            (small,) = await there.client.scatter([np.ones(9)])
            assert await reader.get(small.key, wanted) is not None
            with pytest.raises(TypeError, match="the heart of it is a lock"):
                await getting
            del made

    run(test)


def test_nothing_is_left_on_workers() -> None:
    """When the last client needs it no more, plugin and handler are gone."""

    async def test() -> None:
        async with cluster() as there:
            assert STREAM in there.worker.handlers
            await close_value_server(there.client.id, dask_scheduler=there.scheduler)
            assert STREAM not in there.worker.handlers
            assert STREAMER not in there.worker.plugins
            assert STREAMER not in there.scheduler.worker_plugins

    run(test)
