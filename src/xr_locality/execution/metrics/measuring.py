"""Measurements of a run by its schedulers and workers: tasks, bytes read, sizes of results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from dask.typing import Key
from distributed.client import ClosedClientError

from xr_locality.endpoints.connection import Connection
from xr_locality.execution import remote
from xr_locality.execution.gather import KeptResult
from xr_locality.execution.metrics.read_counting import CountedReads
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.execution.progress import BytesMoved, TasksDone
from xr_locality.execution.remote.counting_store import collect_reads
from xr_locality.execution.run import Run
from xr_locality.execution.ship import Shipped
from xr_locality.execution.submission import Submission
from xr_locality.execution.worker_messages import FetchedValue, ReadCounts, parse_reads
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["RunMeasurements"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class RunMeasurements:
    """Measurements of one run, while it lasts and at its end.

    Parameters
    ----------
    state : Run
        The run.
    counted : CountedReads
        What workers count of what they read.
    kept : dict of key to KeptResult or None
        The results that stay in their regions.
    """

    state: Run
    counted: CountedReads
    kept: dict[Key, KeptResult] | None
    #: The tasks and seconds of each region, as its scheduler counts them.
    _measured: dict[Region, Mapping[str, float]] = field(default_factory=dict)
    _begun: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the last measurement, now that all tasks have run; once in a run."""
        if self._begun is None:
            self._begun = self.state.start(self._measure_all())

    async def finish(self) -> None:
        """Wait for the last measurement; start it if it was not started."""
        # A measurement from before a region was lost and opened again is incomplete.
        if self._begun is None or self.state.lost:
            await self._measure_all()
        else:
            await self._begun

    def report(self, seconds: float) -> ReportRecord:
        """Make the report of a run that took some seconds."""
        state = self.state
        return state.counters.report(
            state.plan, seconds=seconds, measured=self._measured, counted=self.counted
        )

    def add_fetch(self, message: FetchedValue) -> None:
        """Count and report a value that a worker has fetched."""
        self.state.report(self.state.counters.add_fetch(message, client=self.state.plan.client))

    def add_reads(self, message: ReadCounts) -> None:
        """Count and report stored bytes that a process of workers has read."""
        for source, target, nbytes in message.reads:
            more = self.state.counters.add_read(message.process, source, target, nbytes)
            if more and source != target:
                self.state.report(BytesMoved(source=source, target=target, nbytes=more))

    async def watch_progress(self) -> None:
        """Report how far each region is, until the run ends."""
        while True:
            await asyncio.sleep(timeouts().progress_poll)
            await self._measure()
            for region, measured in self._measured.items():
                self.state.report(
                    TasksDone(region=region, done=measured["done"], tasks=measured["tasks"])
                )

    async def _measure_all(self) -> None:
        await asyncio.gather(self._measure(), self._measure_kept(), self._collect_reads())

    async def _measure(self) -> None:
        """Ask each scheduler for the measurements of the run's tasks, before it forgets them."""

        async def ask(region: Region, submission: Submission) -> None:
            try:
                async with asyncio.timeout(timeouts().measurement):
                    self._measured[region] = await submission.connection.run_on_scheduler(
                        Shipped(remote.measure_span), submission.span_id
                    )
            except (OSError, TimeoutError, ClosedClientError) as error:
                # The results have arrived: a report without these figures is no error.
                logger.info("Region %s did not report its measurements: %r", region, error)

        await asyncio.gather(*(ask(*each) for each in self.state.submissions.items()))

    async def _measure_kept(self) -> None:
        """Ask for the bytes of results that stay: later plans count with them."""
        by_region: dict[Region, list[KeptResult]] = {}
        for kept in (self.kept or {}).values():
            by_region.setdefault(kept.region, []).append(kept)
        for region, staying in by_region.items():
            async with asyncio.timeout(timeouts().scheduler_answer):
                sizes = await self.state.connections[region].run_on_scheduler(
                    Shipped(remote.sizes_of), [each.future.key for each in staying]
                )
            for each, nbytes in zip(staying, sizes, strict=True):
                each.nbytes = nbytes

    async def _collect_reads(self) -> None:
        """Ask workers for the bytes that they have read; lost workers have reported before."""
        state = self.state

        async def ask(connection: Connection) -> None:
            try:
                async with asyncio.timeout(timeouts().measurement):
                    answers = await connection.run_on_workers(Shipped(collect_reads), state.name)
            except (OSError, TimeoutError, ClosedClientError) as error:
                logger.info(
                    "Region %s did not report what it has read: %r", connection.region, error
                )
                return
            for process, reads in answers.values():
                self.add_reads(parse_reads(process, reads))

        counting = self.counted.regions | {target for _, target in self.counted.uncounted}
        await asyncio.gather(
            *(ask(state.connections[region]) for region in state.submissions if region in counting)
        )
