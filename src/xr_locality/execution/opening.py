"""Opening of the endpoints that a run needs, with progress events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.execution.progress import Callbacks, RegionOpened, RegionOpening, RegionStarting
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["open_regions"]

logger = logging.getLogger(__name__)


async def open_regions(
    pool: EndpointPool, regions: Iterable[Region], *, callbacks: Callbacks
) -> Mapping[Region, Connection]:
    """Open regions in parallel, and report each as soon as it is open.

    Parameters
    ----------
    pool : EndpointPool
        Opens the endpoints.
    regions : iterable of Region
        The regions of a plan.
    callbacks : Callbacks
        Receive ``opening``, ``starting`` and ``opened``.

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
            callbacks.report(RegionOpened(region=region, endpoint=where, seconds=0.0, reused=True))
            continue
        missing.append(region)
        endpoint = pool.endpoints.get(region)
        where = "no endpoint" if endpoint is None else endpoint.describe()
        logger.info("Opening %s in %s", where, region)
        callbacks.report(RegionOpening(region=region, endpoint=where))
    opening = asyncio.ensure_future(pool.open(regions))
    reported: dict[Region, tuple[str, float]] = {}
    try:
        while missing:
            await asyncio.wait({opening}, timeout=timeouts().opening_poll)
            _report_starting(pool, missing, reported, callbacks)
            for region in list(missing):
                if (connection := pool.connections.get(region)) is not None:
                    missing.remove(region)
                    _report_opened(connection, time.monotonic() - started, callbacks)
            if opening.done():
                break
        return await opening
    except BaseException:
        # The pool closes what it has started: wait for that.
        opening.cancel()
        await asyncio.wait({opening})
        raise


def _report_starting(
    pool: EndpointPool,
    missing: list[Region],
    reported: dict[Region, tuple[str, float]],
    callbacks: Callbacks,
) -> None:
    """Report what regions wait for, where that has changed or the last report is old."""
    for region, starting in pool.starting.items():
        doing, seconds = reported.get(region, ("", 0.0))
        changed = starting.doing != doing
        if region not in missing or not (
            changed or starting.seconds - seconds >= timeouts().opening_report
        ):
            continue
        reported[region] = starting.doing, starting.seconds
        if changed:
            logger.info("Starting %s: %s", region, starting.doing)
        callbacks.report(
            RegionStarting(
                region=region,
                endpoint=starting.endpoint,
                doing=starting.doing,
                seconds=starting.seconds,
                deadline_seconds=pool.deadline_seconds,
            )
        )


def _report_opened(connection: Connection, seconds: float, callbacks: Callbacks) -> None:
    where, region = connection.endpoint.describe(), connection.region
    name = connection.cluster_name
    what = where if name is None else f"cluster {name!r} of {where}"
    logger.info("Opened %s in %s after %.1f s", what, region, seconds)
    callbacks.report(RegionOpened(region=region, endpoint=where, seconds=seconds, reused=False))
