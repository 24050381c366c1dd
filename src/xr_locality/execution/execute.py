"""Execution of a program: open the clusters that it needs, run it, give workers back."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from dask.typing import Key

from xr_locality.config import Settings
from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.errors import LocalityError
from xr_locality.execution.checks.preflight import Preflight
from xr_locality.execution.checks.residency_check import check_residency
from xr_locality.execution.driver import RunDriver
from xr_locality.execution.gather import KeptResult
from xr_locality.execution.liveness import open_again
from xr_locality.execution.metrics.audit import Audit
from xr_locality.execution.metrics.counters import TransferCounters
from xr_locality.execution.metrics.read_counting import count_reads
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.execution.opening import open_regions
from xr_locality.execution.parallelism import workers_for
from xr_locality.execution.progress import Callbacks
from xr_locality.execution.run import Run
from xr_locality.execution.transport.cluster_links import ClusterLinks
from xr_locality.execution.transport.staging import Staging
from xr_locality.placement.costs import CostModel
from xr_locality.program.executable import Program
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["execute_program"]

logger = logging.getLogger(__name__)


async def execute_program(
    program: Program,
    *,
    pool: EndpointPool,
    links: ClusterLinks,
    preflight: Preflight,
    audit: Audit,
    settings: Settings,
    annotations: Mapping[str, Any],
    callbacks: Callbacks,
    keep: dict[Key, KeptResult] | None,
) -> tuple[dict[Any, Any], ReportRecord]:
    """Open the clusters that a program needs, run it, and release the extra workers."""
    plan = program.plan
    try:
        await pool.check(plan.regions, deadline_seconds=timeouts().run_check, recent_too=False)
    except LocalityError as error:
        # Connections found dead were dropped, and are opened again below.
        logger.warning("%s", error)
    staging = None
    if settings.transfer == "stage" and plan.boundaries:
        staging = Staging(stores=settings.staging)
        staging.check(target for each in plan.boundaries for target in each.targets)
    await pool.preflight(plan.regions)
    before = set(pool.connections.values())
    connections = await open_regions(pool, plan.regions, callbacks=callbacks)
    audit.opened(
        {region: one.cluster_name or one.scheduler_address for region, one in connections.items()}
    )
    useful = {
        part.region: workers_for(part, threads=connections[part.region].threads_per_worker)
        for part in plan.partitions
    }
    asked: list[tuple[Connection, int]] = []

    async def ask(region: Region, connection: Connection) -> None:
        await connection.ensure_workers(useful[region])
        asked.append((connection, useful[region]))

    async def reopen(region: Region, lost: Connection) -> Connection:
        opened = await open_again(pool, region, lost)
        await ask(region, opened)
        try:
            await check({region: opened})
        except LocalityError:
            await pool.abandon({opened})
            raise
        return opened

    async def check(those: Mapping[Region, Connection]) -> None:
        await preflight.check(
            program,
            those,
            versions=settings.version_check,
            sources=settings.source_check,
            seconds=settings.start_timeout,
        )

    try:
        await asyncio.gather(*(ask(*each) for each in connections.items()))
        try:
            await check(connections)
        except LocalityError:
            await pool.abandon(set(connections.values()) - before)
            raise
        audit.started = True
        name = secrets.token_hex(4)
        run = Run(
            name=name,
            plan=plan,
            connections=dict(connections),
            links=links,
            retries=settings.retries,
            callbacks=callbacks,
            residency=check_residency(
                plan, relay=settings.transfer == "relay", keep=keep is not None
            ),
            counters=TransferCounters(CostModel(settings.prices, links=settings.links)),
        )
        counting, counted = await asyncio.to_thread(count_reads, program, name)
        driver = RunDriver(
            run=run,
            program=counting,
            counted=counted,
            reopen=reopen,
            transfer=settings.transfer,
            annotations=annotations,
            keep=keep,
            staging=staging,
        )
        try:
            async with preflight.watching(run.connections, versions=settings.version_check):
                return await driver.execute()
        finally:
            # What has crossed counts even if the run fails.
            audit.moved(run.counters.moved)
    finally:
        await asyncio.gather(*(connection.restore(n) for connection, n in asked))
