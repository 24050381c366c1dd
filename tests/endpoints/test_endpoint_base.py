"""The states of a connection, over the cluster inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from support.endpoint_doubles import eventually
from support.polling import patience
from xr_locality.endpoints import Connection, ConnectionState, EmbeddedEndpoint
from xr_locality.endpoints.scheduler import Route
from xr_locality.errors import EndpointError
from xr_locality.regions import LOCAL

Run = Callable[[Any], Any]


class Stuck(Connection):
    """A connection whose scheduler never comes, and which counts what it releases."""

    def __init__(self) -> None:
        super().__init__(region=LOCAL, endpoint=EmbeddedEndpoint())
        self.reaching = asyncio.Event()
        self.release = asyncio.Event()
        self.released = 0

    async def _reach(self, resources: AsyncExitStack) -> Route:
        resources.push_async_callback(self._count)
        self.reaching.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def _count(self) -> None:
        await self.release.wait()
        self.released += 1


def test_closes_once_however_often_it_is_asked(run: Run) -> None:
    """Closing twice, and at the same time, is closing once."""

    async def body() -> None:
        connection = await EmbeddedEndpoint().open(region=LOCAL, deadline_seconds=patience(20))
        await asyncio.gather(connection.close(), connection.close())
        await connection.close()
        assert connection.state is ConnectionState.CLOSED
        assert not connection.alive

    run(body())


def test_a_closed_connection_says_so(run: Run) -> None:
    """What needs an open connection is an error afterwards; the address is still known."""

    async def body() -> None:
        connection = await EmbeddedEndpoint().open(region=LOCAL, deadline_seconds=patience(20))
        await connection.close()
        for use in (lambda: connection.client, lambda: connection.security):
            with pytest.raises(EndpointError, match="no open connection: it is closed"):
                use()
        with pytest.raises(EndpointError, match="no open connection"):
            await connection.check()
        assert connection.scheduler_address.startswith("inproc://")
        assert repr(connection) == "<Connection 'local': embedded cluster, closed>"

    run(body())


def test_opens_once(run: Run) -> None:
    """A connection is not opened again, neither open nor closed."""

    async def body() -> None:
        connection = await EmbeddedEndpoint().open(region=LOCAL, deadline_seconds=patience(20))
        with pytest.raises(EndpointError, match="is open and cannot become opening"):
            await connection.open(deadline_seconds=1)
        assert connection.alive
        await connection.close()
        with pytest.raises(EndpointError, match="is closed and cannot become opening"):
            await connection.open(deadline_seconds=1)

    run(body())


def test_one_that_was_never_opened_just_closes(run: Run) -> None:
    """Closing before opening releases nothing and forbids opening."""

    async def body() -> None:
        connection = Stuck()
        with pytest.raises(EndpointError, match="it is unopened"):
            _ = connection.route
        await connection.close()
        assert connection.state is ConnectionState.CLOSED
        assert connection.released == 0
        with pytest.raises(EndpointError, match="cannot become opening"):
            await connection.open(deadline_seconds=1)

    run(body())


def test_a_second_ctrl_c_does_not_stop_the_clearing_up(run: Run) -> None:
    """What was opened is released although the task is cancelled again meanwhile."""

    async def body() -> None:
        connection = Stuck()
        opening = asyncio.create_task(connection.open(deadline_seconds=patience(20)))
        await connection.reaching.wait()
        with pytest.raises(EndpointError, match="Cancel the task that opens it"):
            await connection.close()
        opening.cancel()
        await eventually(lambda: connection.state is ConnectionState.CLOSING)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert connection.released == 0
        connection.release.set()
        await connection.close()
        assert connection.released == 1
        assert connection.state is ConnectionState.CLOSED

    run(body())


def test_lateness_says_what_was_going_on(run: Run) -> None:
    """At the deadline the error says what was being waited for, after clearing up."""

    async def body() -> None:
        connection = Stuck()
        connection.release.set()
        with pytest.raises(
            EndpointError, match="'local': embedded cluster was not open after 0.05"
        ):
            await connection.open(deadline_seconds=0.05)
        assert connection.released == 1

    run(body())
