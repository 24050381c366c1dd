"""Whether endpoints can be used: asked when that must be known, or some time before."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.regions import Region

__all__ = ["Questions"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Question:
    """Whether a region can be opened, or an open connection is alive."""

    # When it was asked, by the loop's clock.
    since: float
    connection: Connection | None
    answer: asyncio.Task[None]


@dataclass(slots=True, eq=False)
class Questions:
    """What regions are asked, each once where it was asked ahead of time."""

    _asked: dict[Region, _Question] = field(default_factory=dict)

    def anticipate(self, region: Region, endpoint: Endpoint, connection: Connection | None) -> None:
        """Begin to ask what :meth:`preflight` or :meth:`check` will; once until they do.

        Parameters
        ----------
        region : Region
            The region.
        endpoint : Endpoint
            Asked whether it can be opened, if it is not open.
        connection : Connection or None
            Asked whether it is alive, if it is.
        """
        if region in self._asked:
            return
        asking = endpoint.preflight(region=region) if connection is None else connection.check()
        task = asyncio.create_task(asking, name=f"xr-locality: check {region}")
        # Whoever takes the answer raises it; where nobody does it is of no concern.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        since = asyncio.get_running_loop().time()
        self._asked[region] = _Question(since=since, connection=connection, answer=task)

    async def preflight(
        self, region: Region, endpoint: Endpoint, *, deadline_seconds: float | None
    ) -> None:
        """Raise unless an endpoint can be opened; see :meth:`Endpoint.preflight`."""
        asking = self._take_answer(region, None)
        if asking is None:
            await endpoint.preflight(region=region, deadline_seconds=deadline_seconds)
        else:
            await asking

    async def check(
        self, region: Region, connection: Connection, *, deadline_seconds: float | None
    ) -> None:
        """Raise unless a connection is alive; see :meth:`Connection.check`."""
        asking = self._take_answer(region, connection)
        if asking is None:
            await connection.check(deadline_seconds=deadline_seconds)
            return
        done, _ = await asyncio.wait(
            {asking},
            timeout=timeouts().scheduler_answer if deadline_seconds is None else deadline_seconds,
        )
        if done:
            await asking
        else:
            asking.cancel()
            await connection.check(deadline_seconds=deadline_seconds)

    def _take_answer(
        self, region: Region, connection: Connection | None
    ) -> asyncio.Task[None] | None:
        """Get what :meth:`anticipate` has begun to ask, if it is not too old to hold."""
        asked = self._asked.pop(region, None)
        if asked is None or asked.connection is not connection:
            return None
        fresh = asyncio.get_running_loop().time() - asked.since < timeouts().preflight_lifetime
        return asked.answer if fresh else None

    async def close(self) -> None:
        """Give up what was asked and not taken; may be called twice."""
        asked, self._asked = self._asked, {}
        given_up = [each.answer for each in asked.values()]
        for answer in given_up:
            answer.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
