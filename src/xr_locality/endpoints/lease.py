"""Our side of what looks after a cluster: begun when we connect, ended when we go."""

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
    """What a scheduler does for a client of ours."""

    client: Client
    #: Whether the scheduler looks after itself for us at all.
    watched: bool
    #: Seconds after which an idle cluster is ended by its owner; 0 never.
    idle_seconds: float

    async def claim(self, change: int) -> None:
        """Say that a run begins (1) or has ended (-1); without an idle timeout, do nothing.

        Parameters
        ----------
        change : int
            What to add to the runs that go on.
        """
        if self.watched and self.idle_seconds and self.client.status == "running":
            await _ask(self.client, scheduler_watch.claim, self.client.id, change)

    async def end(self) -> None:
        """Stop what runs on a scheduler that lives on."""
        if self.watched and self.client.status == "running":
            await _ask(self.client, scheduler_watch.unwatch, self.client.id)


async def take_lease(client: Client, lease_seconds: float | None) -> Lease:
    """Let a scheduler look after its cluster for as long as we are heard of.

    A scheduler that does not let us is logged: everything else works without.

    Parameters
    ----------
    client : Client
        Connected.
    lease_seconds : float or None
        Seconds of our silence after which the cluster is ended; None for clusters
        that are not ours.
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
