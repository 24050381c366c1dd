"""Executes a plan: opens what it needs, runs it, gives back what was asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from dask.typing import Key

from xr_locality.config import Settings
from xr_locality.endpoints.base import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.errors import LocalityError, TransferError
from xr_locality.execution.engine import Kept, Run
from xr_locality.execution.opening import open_regions
from xr_locality.execution.progress import Watchers
from xr_locality.execution.report import Report
from xr_locality.execution.transfer import Links
from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import Plan

__all__ = ["execute_plan"]

logger = logging.getLogger(__name__)

#: Seconds that an open scheduler may take to show that it is still there.
_CHECK_SECONDS = 10.0


async def execute_plan(
    plan: Plan,
    *,
    pool: EndpointPool,
    links: Links,
    settings: Settings,
    annotations: Mapping[str, Any],
    watchers: Watchers,
    keep: dict[Key, Kept] | None,
) -> tuple[dict[Any, Any], Report]:
    """Open what a plan needs, run it, and give back the workers asked for."""
    try:
        await pool.check(plan.regions, deadline_seconds=_CHECK_SECONDS)
    except LocalityError as error:
        # Those found dead were dropped, and are opened anew below.
        logger.warning("%s", error)
    await pool.preflight(plan.regions)
    connections = await open_regions(pool, plan.regions, watchers=watchers)
    asked: list[Connection] = []
    try:
        for connection in connections.values():
            await connection.ensure_workers(1)
            asked.append(connection)
        start = partial(
            Run,
            plan=plan,
            connections=connections,
            links=links,
            costs=CostModel(settings.prices, links=settings.links),
            annotations=annotations,
            retries=settings.retries,
            watchers=watchers,
            keep=keep,
        )
        auto = settings.transfer == "auto"
        relay = settings.transfer == "relay" or (auto and bool(links.unreachable))
        try:
            return await start(relay=relay).execute()
        except TransferError as error:
            if not auto or relay or error.met:
                raise
            links.unreachable = str(error)
            logger.info("Values go by way of this machine from here on: %s", error)
            watchers.tell("", "relayed", reason=str(error))
            return await start(relay=True).execute()
    finally:
        for connection in asked:
            await connection.restore(1)
