"""A cluster on the test's own loop whose scheduler hands out values, and readers of them."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from distributed import Client, Scheduler, Worker

from xr_locality.execution import remote
from xr_locality.execution.remote.value_server import ValueServer, open_value_server

MB = 10**6


@dataclass
class Cluster:
    """A cluster on this loop, and ways to its values."""

    scheduler: Scheduler
    worker: Worker
    client: Client

    @property
    def value_server(self) -> ValueServer:
        """What hands out its values."""
        value_server: Any = self.scheduler.plugins["xr-locality-value-server-3"]
        return value_server

    def rpc(self) -> remote.RpcClient:
        """Make connections as a worker elsewhere does."""
        return remote.RpcClient(self.scheduler.address, self.client.connection_args, 2.0)


@asynccontextmanager
async def cluster(window: int = remote.WINDOW, *, streams: bool = True) -> AsyncIterator[Cluster]:
    """Start a cluster of one worker whose scheduler hands out values."""
    quiet: dict[str, Any] = {"dashboard_address": ":0", "port": 0, "host": "127.0.0.1"}
    async with (
        Scheduler(**quiet) as scheduler,
        Worker(scheduler.address, nthreads=2, memory_limit=0) as worker,
        Client(scheduler.address, asynchronous=True, set_as_default=False) as client,
    ):
        streamer = pickle.dumps(remote.ValueStreamer(remote.STREAMER)) if streams else None
        await open_value_server(client.id, window, streamer, dask_scheduler=scheduler)
        if streamer is not None:
            registering = scheduler.plugins["xr-locality-value-server-3"]._streamer_task
            await registering
        yield Cluster(scheduler, worker, client)


@asynccontextmanager
async def value_client(there: Cluster, **how: Any) -> AsyncIterator[remote.ValueClient]:
    """Make a reader, and close it."""
    made = remote.ValueClient(there.rpc(), **how)
    try:
        yield made
    finally:
        await made.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test within a time that only a hang exceeds."""

    async def limited() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(limited())


def wanted() -> bool:
    """Say that somebody still waits."""
    return True


def n_gathers(there: Cluster) -> int:
    """Count how often the scheduler has collected values."""
    told = [event for _, event in there.scheduler.get_events("all")]
    return sum(event.get("action") == "gather" for event in told)
