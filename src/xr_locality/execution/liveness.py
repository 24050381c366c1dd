"""Liveness of regions, and reconnecting to one that was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.errors import EndpointError
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["ReopenRegion", "comes_back", "find_gone", "open_again"]

logger = logging.getLogger(__name__)

#: Opens a region again whose connection has failed.
ReopenRegion: TypeAlias = Callable[[Region, Connection], Awaitable[Connection]]


async def find_gone(connection: Connection) -> EndpointError | None:
    """Return why a region is gone; None if it answers.

    Parameters
    ----------
    connection : Connection
        Its connection.
    """
    try:
        async with asyncio.timeout(timeouts().scheduler_answer):
            await connection.check(deadline_seconds=timeouts().scheduler_answer)
    except EndpointError as error:
        return error
    except TimeoutError:
        return connection.failure(
            f"has not answered for {timeouts().scheduler_answer:g} seconds",
            advice="See whether its cluster still runs.",
            reached=False,
        )
    return None


async def comes_back(connection: Connection) -> bool:
    """Wait until a lost scheduler answers again, and its client has reconnected.

    Parameters
    ----------
    connection : Connection
        Its connection.

    Returns
    -------
    bool
        False if its gateway reports that it is gone, or it does not answer in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeouts().liveness_return
    while loop.time() < deadline:
        try:
            async with asyncio.timeout_at(deadline):
                await connection.check(deadline_seconds=timeouts().liveness_attempt)
                if connection.client.status == "running":
                    return True
        except TimeoutError:
            break
        except EndpointError as error:
            if getattr(error, "reached", True):
                return False
        await asyncio.sleep(timeouts().reopen_pause)
    return False


async def open_again(pool: EndpointPool, region: Region, lost: Connection) -> Connection:
    """Open a region whose cluster is gone; once for all runs that have lost it.

    Parameters
    ----------
    pool : EndpointPool
        Holds the connections.
    region : Region
        The region.
    lost : Connection
        The connection that has failed; closed.

    Raises
    ------
    EndpointError
        If the region cannot be opened.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeouts().reopen
    pool.drop(region, lost)
    while True:
        try:
            return (await pool.open([region]))[region]
        except EndpointError as error:
            if getattr(error, "reached", True) or loop.time() > deadline:
                raise
            logger.info("Opening %s again: %s", region, error)
        await asyncio.sleep(timeouts().reopen_pause)
