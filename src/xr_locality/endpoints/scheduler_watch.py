"""Watch that runs on a cluster's scheduler; its code is sent there by value.

It prevents two problems that only the scheduler sees. A client that is killed leaves its
cluster running: the scheduler ends the cluster after some time without a sign of the
client, which is the lease. And dask-gateway's idle timeout ends a cluster that holds
finished Futures for a client: the scheduler counts as busy while the client wants keys,
or has reported that a run goes on.

This module imports nothing of the package, and each function imports what it needs:
schedulers have dask and distributed, but not xr-locality.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["claim", "unwatch", "watch"]


class SchedulerWatch:
    """Watch over a scheduler on behalf of one client.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        The scheduler that this runs in.
    client : str
        The client's id.
    lease_seconds : float or None
        Seconds of silence after which the cluster is ended; None never ends it.
    idle_seconds : float
        The shortest idle timeout that there is; 0 if there is none.
    """

    def __init__(
        self, scheduler: Any, client: str, lease_seconds: float | None, idle_seconds: float
    ) -> None:
        self.scheduler = scheduler
        self.client = client
        self.lease_seconds = lease_seconds
        self.idle_seconds = idle_seconds
        self.claims = 0
        self.task: Any = None
        # A quarter of an idle timeout, as often as dask-gateway checks.
        periods = [5.0, (lease_seconds or 50.0) / 10, (idle_seconds or 20.0) / 4]
        self.period = max(0.1, min(periods))

    async def run(self) -> None:
        """Check periodically, until the lease has expired or the scheduler ends."""
        silent, last_seen = 0.0, None
        while self.scheduler.status.name in ("init", "starting", "running"):
            await asyncio.sleep(self.period)
            state = self.scheduler.clients.get(self.client)
            if state is not None and state.last_seen != last_seen:
                silent, last_seen = 0.0, state.last_seen
            else:
                # In periods, not by the clock: a scheduler that takes in a large graph
                # receives no messages meanwhile.
                silent += self.period
            # A client that is connected beats every 5 seconds, and later where there
            # are many: one that is only late is not gone.
            patience = self.lease_seconds or 60.0
            if silent >= (patience if state is None else max(patience, 60.0)):
                if self.lease_seconds is not None:
                    await self.end()
                return
            if self.idle_seconds and state is not None and (self.claims or state.wants_what):
                self.touch()

    def touch(self) -> None:
        """Make the scheduler count as active now."""
        from time import time

        scheduler = self.scheduler
        if scheduler.idle_since:
            scheduler.idle_since = time()
        if "gateway" not in scheduler.services:
            return
        # dask-gateway compares the time of the last transition of any task. A real task
        # would need a worker, and would start one where there is none.
        import distributed.scheduler

        made = getattr(distributed.scheduler, "Transition", lambda *fields: fields)
        name = "xr-locality-keep-alive"
        entry = made(name, "released", "released", {}, name, time())
        log = scheduler.transition_log
        if log and log[-1][0] == name:
            log[-1] = entry
        else:
            log.append(entry)

    async def end(self) -> None:
        """End the cluster: by its gateway, which ends the workers too, else by itself."""
        import logging

        log = logging.getLogger("distributed.scheduler")
        log.warning(
            "No sign of client %s for %g seconds: xr-locality's lease ends the cluster",
            self.client,
            self.lease_seconds,
        )
        service = self.scheduler.services.get("gateway")
        for _ in range(3 if service is not None else 0):
            try:
                async with asyncio.timeout(10):
                    await service.gateway.shutdown()
                # The gateway ends this process; if it has not by then, it never will.
                await asyncio.sleep(30)
            except Exception as error:  # noqa: BLE001 - whatever it is, the cluster must end
                log.warning("The gateway did not end the cluster: %r", error)
                await asyncio.sleep(2)
        await self.scheduler.close(reason="xr-locality's lease has expired")


async def watch(
    client: str, lease_seconds: float | None, dask_scheduler: Any = None
) -> tuple[bool, float]:
    """Start a watch for a client; runs on the scheduler.

    Returns
    -------
    watched : bool
        Whether there is a lease or an idle timeout, and so a watch.
    idle_seconds : float
        The shortest idle timeout; 0 if there is none.
    """
    service = dask_scheduler.services.get("gateway")
    timeouts = [getattr(service, "idle_timeout", 0), dask_scheduler.idle_timeout]
    idle_seconds = min((float(each) for each in timeouts if each), default=0.0)
    if lease_seconds is None and not idle_seconds:
        return False, 0.0
    watches = dask_scheduler.__dict__.setdefault("_xr_locality_watches", {})
    if client not in watches:
        made = watches[client] = SchedulerWatch(dask_scheduler, client, lease_seconds, idle_seconds)
        made.task = asyncio.ensure_future(made.run())
        made.task.add_done_callback(lambda _: watches.pop(client, None))
    return True, idle_seconds


async def claim(client: str, change: int, dask_scheduler: Any = None) -> None:
    """Count a run that begins (1) or has ended (-1); runs on the scheduler."""
    found = dask_scheduler.__dict__.get("_xr_locality_watches", {}).get(client)
    if found is not None:
        found.claims += change
        if found.idle_seconds and found.claims:
            found.touch()


async def unwatch(client: str, dask_scheduler: Any = None) -> None:
    """Stop the watch for a client; runs on the scheduler."""
    found = dask_scheduler.__dict__.get("_xr_locality_watches", {}).get(client)
    if found is not None:
        found.task.cancel()
