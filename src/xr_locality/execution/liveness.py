"""Whether a region is still there, and coming back to one that was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.errors import EndpointError
from xr_locality.regions.region import Region

__all__ = ["ANSWER_SECONDS", "Reopening", "comes_back", "find_gone", "open_again"]

logger = logging.getLogger(__name__)

#: Opens a region whose connection is of no use any more.
Reopening: TypeAlias = Callable[[Region, Connection], Awaitable[Connection]]

#: Seconds that a scheduler may take to show that it is there. One that is taking in a
#: graph of a million tasks does not answer for some 20.
ANSWER_SECONDS = 60.0

#: Seconds in which a lost scheduler may be found again, before it counts as gone. A
#: gateway's proxy is back a second after it died, a network after a few.
RETURN_SECONDS = 15.0

#: Seconds for one of the looks at it.
_LOOK_SECONDS = 5.0

#: Seconds in which a gateway that does not answer is asked again for a new cluster.
REOPEN_SECONDS = 45.0

#: Seconds between two attempts.
_PAUSE_SECONDS = 0.5


async def find_gone(connection: Connection) -> EndpointError | None:
    """Say why a region is gone; None if it is there.

    Parameters
    ----------
    connection : Connection
        The way to it.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.check(deadline_seconds=ANSWER_SECONDS)
    except EndpointError as error:
        return error
    except TimeoutError:
        return connection.failure(
            f"has not answered for {ANSWER_SECONDS:g} seconds",
            advice="See whether its cluster still runs.",
            reached=False,
        )
    return None


async def comes_back(connection: Connection) -> bool:
    """Wait for a lost scheduler to be found again, by a client that connects again.

    Parameters
    ----------
    connection : Connection
        The way to it.

    Returns
    -------
    bool
        False if its gateway says that it is gone, or it is not found in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETURN_SECONDS
    while loop.time() < deadline:
        try:
            async with asyncio.timeout_at(deadline):
                await connection.check(deadline_seconds=_LOOK_SECONDS)
                if connection.client.status == "running":
                    return True
        except TimeoutError:
            break
        except EndpointError as error:
            if getattr(error, "reached", True):
                return False
        await asyncio.sleep(_PAUSE_SECONDS)
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
        The connection that is of no use any more; closed.

    Raises
    ------
    EndpointError
        If the region cannot be opened.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REOPEN_SECONDS
    pool.drop(region, lost)
    while True:
        try:
            return (await pool.open([region]))[region]
        except EndpointError as error:
            if getattr(error, "reached", True) or loop.time() > deadline:
                raise
            logger.info("Opening %s again: %s", region, error)
        await asyncio.sleep(_PAUSE_SECONDS)
