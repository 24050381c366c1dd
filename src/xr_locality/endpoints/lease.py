"""Lease of a cluster, as seen from the client: begun and ended with its connection."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xr_locality.endpoints import scheduler_watch
from xr_locality.runtime.by_value import ByValue
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Lease", "take_lease"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Lease:
    """Agreement with a scheduler to keep, and finally to end, its cluster."""

    client: Client
    #: Whether the scheduler runs a watch for the client at all.
    watched: bool
    #: Seconds after which an idle timeout ends the cluster; 0 never.
    idle_seconds: float

    async def claim(self, change: int) -> None:
        """Report that a run begins (1) or has ended (-1), if there is an idle timeout.

        Parameters
        ----------
        change : int
            Number to add to the count of running runs.
        """
        if self.watched and self.idle_seconds and self.client.status == "running":
            await _ask(self.client, scheduler_watch.claim, self.client.id, change)

    async def end(self) -> None:
        """Stop the watch on a scheduler that keeps running."""
        if self.watched and self.client.status == "running":
            await _ask(self.client, scheduler_watch.unwatch, self.client.id)


async def take_lease(client: Client, lease_seconds: float | None) -> Lease:
    """Start a watch on a scheduler that keeps its cluster while the client is connected.

    A scheduler that refuses is logged: everything else works without a lease.

    Parameters
    ----------
    client : Client
        The connected client.
    lease_seconds : float or None
        Seconds without a sign of the client after which the cluster is ended; None for
        adopted clusters.
    """
    answer = await _ask(client, scheduler_watch.watch, client.id, lease_seconds)
    watched, idle_seconds = (False, 0.0) if answer is None else answer
    return Lease(client=client, watched=watched, idle_seconds=idle_seconds)


async def _ask(client: Client, function: Any, *args: Any) -> Any:
    try:
        async with asyncio.timeout(timeouts().lease_request):
            return await client.run_on_scheduler(ByValue(function, scheduler_watch), *args)
    except Exception as error:  # noqa: BLE001 - functions there may raise anything
        logger.warning("%s could not be run on a scheduler: %r", function.__name__, error)
        return None
