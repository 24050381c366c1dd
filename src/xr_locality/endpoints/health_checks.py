"""Checks of endpoints and connections, some of them begun before their answer is needed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.regions import Region

__all__ = ["HealthChecks"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _HealthCheck:
    """One check: that a region can be opened, or that an open connection is alive."""

    # When it began, by the loop's clock.
    since: float
    connection: Connection | None
    answer: asyncio.Task[None]


@dataclass(slots=True, eq=False)
class HealthChecks:
    """Checks of regions that were begun ahead of time, one a region."""

    _begun: dict[Region, _HealthCheck] = field(default_factory=dict)

    def anticipate(self, region: Region, endpoint: Endpoint, connection: Connection | None) -> None:
        """Begin the check whose answer :meth:`preflight` or :meth:`check` will use.

        Parameters
        ----------
        region : Region
            The region.
        endpoint : Endpoint
            Checked if the region is not open.
        connection : Connection or None
            Its open connection, which is checked; None if it is not open.
        """
        if region in self._begun:
            return
        checking = endpoint.preflight(region=region) if connection is None else connection.check()
        task = asyncio.create_task(checking, name=f"xr-locality: check {region}")
        # The error is raised where the answer is used; an unused one is not reported.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        since = asyncio.get_running_loop().time()
        self._begun[region] = _HealthCheck(since=since, connection=connection, answer=task)

    async def preflight(
        self, region: Region, endpoint: Endpoint, *, deadline_seconds: float | None
    ) -> None:
        """Raise unless an endpoint can be opened; see :meth:`Endpoint.preflight`."""
        checking = self._take_answer(region, None)
        if checking is None:
            await endpoint.preflight(region=region, deadline_seconds=deadline_seconds)
        else:
            await checking

    async def check(
        self, region: Region, connection: Connection, *, deadline_seconds: float | None
    ) -> None:
        """Raise unless a connection is alive; see :meth:`Connection.check`."""
        checking = self._take_answer(region, connection)
        if checking is None:
            await connection.check(deadline_seconds=deadline_seconds)
            return
        done, _ = await asyncio.wait(
            {checking},
            timeout=timeouts().scheduler_answer if deadline_seconds is None else deadline_seconds,
        )
        if done:
            await checking
        else:
            checking.cancel()
            await connection.check(deadline_seconds=deadline_seconds)

    def _take_answer(
        self, region: Region, connection: Connection | None
    ) -> asyncio.Task[None] | None:
        """Return the check that :meth:`anticipate` has begun, if it is not too old."""
        begun = self._begun.pop(region, None)
        if begun is None or begun.connection is not connection:
            return None
        fresh = asyncio.get_running_loop().time() - begun.since < timeouts().preflight_lifetime
        return begun.answer if fresh else None

    async def close(self) -> None:
        """Cancel the checks that were not used; may be called twice."""
        asked, self._begun = self._begun, {}
        given_up = [each.answer for each in asked.values()]
        for answer in given_up:
            answer.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
