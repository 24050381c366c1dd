"""The pool of endpoints, over clusters inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from distributed import Scheduler

from support.endpoint_doubles import CENTRAL, WEST, eventually
from xr_locality.endpoints import (
    AddressEndpoint,
    Connection,
    ConnectionState,
    EmbeddedEndpoint,
    Endpoint,
    EndpointPool,
)
from xr_locality.errors import EndpointError, LocalityErrorGroup
from xr_locality.regions import LOCAL, Region

Run = Callable[[Any], Any]


@dataclass(eq=False)
class Told(Endpoint):
    """An embedded cluster that opens when told, or fails as told, and remembers all."""

    gate: Callable[[], Any] | None = None
    problem: Exception | None = None
    asked: int = 0
    opened: list[Connection] = field(default_factory=list)

    @property
    def adopted(self) -> bool:
        """False: what it opens is closed."""
        return False

    def describe(self) -> str:
        """Name it."""
        return "told endpoint"

    async def preflight(self, *, region: Region, deadline_seconds: float = 1) -> None:
        """Fail if told to."""
        self.asked += 1
        if self.problem is not None:
            raise self.problem

    async def open(self, *, region: Region, deadline_seconds: float) -> Connection:
        """Wait and fail if told to, else open."""
        self.asked += 1
        if self.gate is not None:
            await self.gate()
        if self.problem is not None:
            raise self.problem
        endpoint = EmbeddedEndpoint(threads=1)
        self.opened.append(await endpoint.open(region=region, deadline_seconds=deadline_seconds))
        return self.opened[-1]


def states(*endpoints: Told) -> list[ConnectionState]:
    """Say how far the connections have come that these endpoints opened."""
    return [one.state for endpoint in endpoints for one in endpoint.opened]


def test_opens_in_parallel(run: Run) -> None:
    """No endpoint waits for another to be open."""

    async def body() -> None:
        both = asyncio.Barrier(2)
        pool = EndpointPool({WEST: Told(gate=both.wait), CENTRAL: Told(gate=both.wait)})
        connections = await pool.open([CENTRAL, WEST, WEST])
        assert list(connections) == [WEST, CENTRAL]
        assert all(one.alive for one in connections.values())
        assert pool.connections == connections
        await pool.close()
        assert dict(pool.connections) == {}

    run(body())


def test_each_is_opened_once(run: Run) -> None:
    """Callers at the same time, and later ones, share a connection."""

    async def body() -> None:
        endpoint = Told()
        async with asyncio.TaskGroup() as group:
            pool = EndpointPool({WEST: endpoint})
            first = group.create_task(pool.open([WEST]))
            second = group.create_task(pool.open([WEST]))
        third = await pool.open([WEST])
        assert first.result()[WEST] is second.result()[WEST] is third[WEST]
        assert endpoint.asked == 1
        await pool.close()

    run(body())


def test_nothing_is_opened_where_an_endpoint_is_missing(run: Run) -> None:
    """Regions without an endpoint, or with a name only, are told of together, first."""

    async def body() -> None:
        endpoint = Told()
        pool = EndpointPool({WEST: endpoint, CENTRAL: None})
        with pytest.raises(EndpointError, match="'gcp:us-central1' needs an endpoint and has only"):
            await pool.open([WEST, CENTRAL])
        with pytest.raises(LocalityErrorGroup, match="'local' needs an endpoint and has none"):
            await pool.open([WEST, CENTRAL, LOCAL])
        with pytest.raises(EndpointError, match="Set locality.endpoints or pass endpoints="):
            await pool.preflight([LOCAL, WEST])
        assert (endpoint.asked, endpoint.opened) == (1, [])
        await pool.close()

    run(body())


def test_one_failure_closes_the_others(run: Run) -> None:
    """If one fails, what this call opened is closed, and the problem is raised as it is."""

    async def body() -> None:
        good, bad = Told(), Told(problem=EndpointError("down"))
        pool = EndpointPool({WEST: good, CENTRAL: bad})
        with pytest.raises(EndpointError, match="^down$"):
            await pool.open([WEST, CENTRAL])
        assert states(good) == [ConnectionState.CLOSED]
        assert dict(pool.connections) == {}
        bad.problem = None
        await pool.open([WEST, CENTRAL])
        await pool.close()
        assert states(good, bad) == [ConnectionState.CLOSED] * 3

    run(body())


def test_a_slow_one_is_given_up_after_a_failure(run: Run) -> None:
    """Nobody waits minutes for a cluster that is of no use any more."""

    async def body() -> None:
        slow, bad = Told(gate=asyncio.Event().wait), Told(problem=EndpointError("down"))
        pool = EndpointPool({WEST: slow, CENTRAL: bad})
        with pytest.raises(EndpointError, match="^down$"):
            await pool.open([WEST, CENTRAL])
        assert (slow.asked, slow.opened) == (1, [])

    run(body())


def test_all_problems_are_raised_together(run: Run) -> None:
    """Independent failures come as one group, from preflight and from opening."""

    async def body() -> None:
        pool = EndpointPool(
            {
                WEST: Told(problem=EndpointError("west is down")),
                CENTRAL: Told(problem=EndpointError("central is down")),
                LOCAL: Told(),
            }
        )
        for attempt in (pool.preflight, pool.open):
            with pytest.raises(LocalityErrorGroup) as caught:
                await attempt([WEST, CENTRAL, LOCAL])
            assert [str(one) for one in caught.value.exceptions] == [
                "west is down",
                "central is down",
            ]
        await pool.close()

    run(body())


def test_a_failing_call_leaves_other_callers_theirs(run: Run) -> None:
    """A connection that somebody else was given, or waits for, is not closed."""

    async def body() -> None:
        gate = asyncio.Event()
        shared, bad = Told(gate=gate.wait), Told(problem=EndpointError("down"))
        pool = EndpointPool({WEST: shared, CENTRAL: bad})
        other = asyncio.create_task(pool.open([WEST]))
        failing = asyncio.create_task(pool.open([WEST, CENTRAL]))
        await eventually(lambda: bad.asked == 1)
        gate.set()
        with pytest.raises(EndpointError, match="down"):
            await failing
        with pytest.raises(EndpointError, match="down"):
            await pool.open([WEST, CENTRAL])
        assert (await other)[WEST].alive
        assert shared.asked == 1
        await pool.close()

    run(body())


def test_a_cancelled_caller_leaves_other_callers_theirs(run: Run) -> None:
    """Of two who wait for one endpoint, one may be cancelled; then the last one too."""

    async def body() -> None:
        gate = asyncio.Event()
        endpoint = Told(gate=gate.wait)
        pool = EndpointPool({WEST: endpoint})
        first, second = (asyncio.create_task(pool.open([WEST])) for _ in range(2))
        await eventually(lambda: endpoint.asked == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        assert (await second)[WEST].alive

        gate.clear()
        third_pool = EndpointPool({WEST: endpoint})
        third = asyncio.create_task(third_pool.open([WEST]))
        await eventually(lambda: endpoint.asked == 2)
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        assert len(endpoint.opened) == 1
        await pool.close()
        await third_pool.close()

    run(body())


def test_closing_ends_what_is_being_opened(run: Run) -> None:
    """A pool that closes lets nobody wait, and opens nothing afterwards."""

    async def body() -> None:
        endpoint = Told(gate=asyncio.Event().wait)
        pool = EndpointPool({WEST: endpoint})
        waiting = asyncio.create_task(pool.open([WEST]))
        await eventually(lambda: endpoint.asked == 1)
        await pool.close()
        with pytest.raises(EndpointError, match="session was closed while"):
            await waiting
        with pytest.raises(EndpointError, match="session that is closed"):
            await pool.open([WEST])
        await pool.close()
        assert endpoint.opened == []

    run(body())


def test_all_are_closed_although_one_cannot_be(run: Run) -> None:
    """A failure to close one is raised at the end, after the others were closed."""

    class Sticky(Told):
        async def open(self, *, region: Region, deadline_seconds: float) -> Connection:
            """Open, and add what cannot be closed."""
            connection = await super().open(region=region, deadline_seconds=deadline_seconds)
            connection._resources.callback(self.stick)
            return connection

        def stick(self) -> None:
            """Fail to close."""
            raise EndpointError("stuck")

    async def body() -> None:
        sticky, good = Sticky(), Told()
        pool = EndpointPool({WEST: sticky, CENTRAL: good})
        await pool.open([WEST, CENTRAL])
        with pytest.raises(EndpointError, match="stuck"):
            await pool.close()
        assert states(sticky, good) == [ConnectionState.CLOSED] * 2
        await pool.close()

    run(body())


def test_open_regions_pass_preflight_unasked(run: Run) -> None:
    """What is open already is not asked again."""

    async def body() -> None:
        endpoint = Told()
        pool = EndpointPool({WEST: endpoint})
        await pool.open([WEST])
        await pool.preflight([WEST])
        assert endpoint.asked == 1
        await pool.close()

    run(body())


def test_finds_whose_scheduler_it_is(run: Run) -> None:
    """Trap 3: a Future's scheduler is recognised, opened or only known, and others are not."""

    async def body() -> None:
        async with Scheduler(
            host="127.0.0.1", dashboard=False, dashboard_address="127.0.0.1:0"
        ) as scheduler:
            pool = EndpointPool(
                {
                    WEST: AddressEndpoint(scheduler.address),
                    CENTRAL: AddressEndpoint("tls://10.0.0.7:8786"),
                    LOCAL: EmbeddedEndpoint(),
                    Region.parse("hpc:named"): None,
                }
            )
            assert pool.find(scheduler.address) == WEST
            assert pool.find("tls://10.0.0.7:8786/") == CENTRAL
            assert pool.find("tls://10.0.0.8:8786") is None
            opened = await pool.open([WEST, LOCAL])
            future = opened[LOCAL].client.submit(sum, [1, 2])
            assert pool.find(future.client.scheduler.address) == LOCAL
            assert pool.find(opened[WEST].client.scheduler.address) == WEST
            await pool.close()
            assert pool.find(future.client.id) is None

    run(body())


def test_a_dead_connection_is_dropped(run: Run) -> None:
    """After check() has found a scheduler gone, the others stay and opening tries anew."""

    async def body() -> None:
        async with Scheduler(
            host="127.0.0.1", dashboard=False, dashboard_address="127.0.0.1:0"
        ) as scheduler:
            endpoint = AddressEndpoint(scheduler.address)
            pool = EndpointPool({WEST: endpoint, LOCAL: EmbeddedEndpoint()}, deadline_seconds=1)
            opened = await pool.open([WEST, LOCAL])
            await pool.check()
        await pool.check([LOCAL, CENTRAL])
        with pytest.raises(EndpointError, match="'aws:us-west-2'"):
            await pool.check(deadline_seconds=0.5)
        assert list(pool.connections) == [LOCAL]
        with pytest.raises(EndpointError, match="while connecting"):
            await pool.open([WEST])
        await pool.close()
        assert opened[WEST].state is ConnectionState.CLOSED

    run(body())


def test_what_was_anticipated_is_asked_once(run: Run) -> None:
    """A preflight takes the answer that is on its way, problem or not, and only once."""

    async def body() -> None:
        good, bad = Told(), Told(problem=EndpointError("down"))
        pool = EndpointPool({WEST: good, CENTRAL: bad})
        pool.anticipate([WEST, CENTRAL, LOCAL])
        await eventually(lambda: good.asked == 1 and bad.asked == 1)
        await pool.preflight([WEST])
        with pytest.raises(EndpointError, match="down"):
            await pool.preflight([WEST, CENTRAL])
        assert (good.asked, bad.asked) == (2, 1)
        assert states(good, bad) == []
        pool.anticipate([CENTRAL])
        await pool.close()

    run(body())


def test_an_anticipated_check_finds_the_dead(run: Run) -> None:
    """A connection that was found dead while planning went on is opened anew."""

    async def body() -> None:
        endpoint = Told()
        pool = EndpointPool({WEST: endpoint})
        first = (await pool.open([WEST]))[WEST]
        await first.client.close()
        pool.anticipate([WEST])
        await eventually(lambda: not first.alive)
        await pool.check([WEST])
        await pool.preflight([WEST])
        second = (await pool.open([WEST]))[WEST]
        assert second is not first
        assert second.alive
        await pool.close()

    run(body())
