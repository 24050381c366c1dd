"""Opens the endpoints that a run needs, and tells how that goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Final

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.execution.progress import Watchers
from xr_locality.regions.region import Region

__all__ = ["open_regions"]

logger = logging.getLogger(__name__)

#: Seconds between two looks at which regions are open.
_LOOK_SECONDS: Final = 0.1
#: Seconds after which it is told again what a region waits for, though nothing has changed.
_AGAIN_SECONDS: Final = 1.0


async def open_regions(
    pool: EndpointPool, regions: Iterable[Region], *, watchers: Watchers
) -> Mapping[Region, Connection]:
    """Open regions in parallel and tell of each that is open, as soon as it is.

    Parameters
    ----------
    pool : EndpointPool
        What opens them.
    regions : iterable of Region
        The regions of a plan.
    watchers : Watchers
        Told ``opening``, ``starting`` and ``opened``.

    Returns
    -------
    Mapping of Region to Connection

    Raises
    ------
    EndpointError, ConfigurationError
        If one cannot be opened.
    LocalityErrorGroup
        If several cannot.
    """
    started = time.monotonic()
    missing = []
    for region in sorted(set(regions)):
        if (connection := pool.connections.get(region)) is not None:
            where = connection.endpoint.describe()
            logger.info("Using %s in %s, which is open", where, region)
            watchers.tell("", "opened", region=region, endpoint=where, seconds=0.0, reused=True)
            continue
        missing.append(region)
        endpoint = pool.endpoints.get(region)
        where = "no endpoint" if endpoint is None else endpoint.describe()
        logger.info("Opening %s in %s", where, region)
        watchers.tell("", "opening", region=region, endpoint=where)
    opening = asyncio.ensure_future(pool.open(regions))
    told: dict[Region, tuple[str, float]] = {}
    try:
        while missing:
            await asyncio.wait({opening}, timeout=_LOOK_SECONDS)
            _tell_starting(pool, missing, told, watchers)
            for region in list(missing):
                if (connection := pool.connections.get(region)) is not None:
                    missing.remove(region)
                    _tell_opened(connection, time.monotonic() - started, watchers)
            if opening.done():
                break
        return await opening
    except BaseException:
        # The pool sees to it that what was started is closed again: wait for that.
        opening.cancel()
        await asyncio.wait({opening})
        raise


def _tell_starting(
    pool: EndpointPool,
    missing: list[Region],
    told: dict[Region, tuple[str, float]],
    watchers: Watchers,
) -> None:
    """Tell what regions wait for, where that is new or a second old."""
    for region, starting in pool.starting.items():
        doing, seconds = told.get(region, ("", 0.0))
        changed = starting.doing != doing
        if region not in missing or not (changed or starting.seconds - seconds >= _AGAIN_SECONDS):
            continue
        told[region] = starting.doing, starting.seconds
        if changed:
            logger.info("Starting %s: %s", region, starting.doing)
        watchers.tell(
            "",
            "starting",
            region=region,
            endpoint=starting.endpoint,
            doing=starting.doing,
            seconds=starting.seconds,
            deadline_seconds=pool.deadline_seconds,
        )


def _tell_opened(connection: Connection, seconds: float, watchers: Watchers) -> None:
    where, region = connection.endpoint.describe(), connection.region
    name = connection.cluster_name
    what = where if name is None else f"cluster {name!r} of {where}"
    logger.info("Opened %s in %s after %.1f s", what, region, seconds)
    watchers.tell("", "opened", region=region, endpoint=where, seconds=seconds, reused=False)
