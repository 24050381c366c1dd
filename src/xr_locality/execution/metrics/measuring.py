"""What schedulers and workers tell of a run: what was done, read and moved, and how large."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from distributed.client import ClosedClientError

from xr_locality.endpoints.connection import Connection
from xr_locality.execution import remote
from xr_locality.execution.gather import Kept
from xr_locality.execution.liveness import ANSWER_SECONDS
from xr_locality.execution.metrics.read_counting import CountedReads
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.execution.remote.counting_store import collect_reads
from xr_locality.execution.ship import Shipped
from xr_locality.execution.state import RunState
from xr_locality.execution.submission import Submission
from xr_locality.regions.region import Region

__all__ = ["Measuring"]

logger = logging.getLogger(__name__)

#: Seconds that a scheduler may take to tell what it has done.
_MEASURE_SECONDS = 10.0

#: Seconds between two measurements of how far a run is.
_PROGRESS_SECONDS = 0.25


@dataclass(slots=True, kw_only=True)
class Measuring:
    """Measures one run, while it lasts and at its end.

    Parameters
    ----------
    state : RunState
        How the run stands.
    counted : CountedReads
        What workers count of what they read.
    kept : dict of key to Kept or None
        What stays in its region.
    """

    state: RunState
    counted: CountedReads
    kept: dict[Key, Kept] | None
    #: What each scheduler says that the run's tasks have done.
    _measured: dict[Region, Mapping[str, float]] = field(default_factory=dict)
    _begun: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Measure what the tasks have done, as they all have run; once in a run."""
        if self._begun is None:
            self._begun = self.state.start(self._measure_all())

    async def finish(self) -> None:
        """Measure unless that was begun, and wait until it is done."""
        # What was measured before a region was lost and opened again is too little.
        if self._begun is None or self.state.lost:
            await self._measure_all()
        else:
            await self._begun

    def report(self, seconds: float) -> ReportRecord:
        """Make the report of a run that took so long."""
        state = self.state
        return state.tally.report(
            state.plan, seconds=seconds, measured=self._measured, counted=self.counted
        )

    def add_fetch(self, told: Mapping[str, Any]) -> None:
        """Count and tell what a worker tells of a value that it fetched."""
        crossed = self.state.tally.add_fetch(told, client=self.state.plan.client)
        self.state.tell("moved", **crossed)

    def add_reads(self, process: str, reads: Iterable[tuple[str, str, int]]) -> None:
        """Count and tell what a process of workers has read in all, from where to where."""
        for source, target, nbytes in reads:
            origin, reader = Region.parse(source), Region.parse(target)
            more = self.state.tally.add_read(process, origin, reader, nbytes)
            if more and origin != reader:
                self.state.tell("moved", source=origin, target=reader, nbytes=more)

    async def watch_progress(self) -> None:
        """Tell how far each region is, for as long as the run lasts."""
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            await self._measure()
            for region, measured in self._measured.items():
                self.state.tell(
                    "progress", region=region, done=measured["done"], tasks=measured["tasks"]
                )

    async def _measure_all(self) -> None:
        await asyncio.gather(self._measure(), self._measure_kept(), self._collect_reads())

    async def _measure(self) -> None:
        """Ask each scheduler what the run's tasks have done, before they are forgotten."""

        async def ask(region: Region, submission: Submission) -> None:
            try:
                async with asyncio.timeout(_MEASURE_SECONDS):
                    self._measured[region] = await submission.connection.run_on_scheduler(
                        Shipped(remote.measure_span), submission.span_id
                    )
            except (OSError, TimeoutError, ClosedClientError) as error:
                # All that was asked for is here: a report without it is no error.
                logger.info("Region %s does not tell what it has done: %r", region, error)

        await asyncio.gather(*(ask(*each) for each in self.state.submissions.items()))

    async def _measure_kept(self) -> None:
        """Ask how large results are that stay: later plans count with their real bytes."""
        by_region: dict[Region, list[Kept]] = {}
        for kept in (self.kept or {}).values():
            by_region.setdefault(kept.region, []).append(kept)
        for region, staying in by_region.items():
            async with asyncio.timeout(ANSWER_SECONDS):
                sizes = await self.state.connections[region].run_on_scheduler(
                    Shipped(remote.sizes_of), [each.future.key for each in staying]
                )
            for each, nbytes in zip(staying, sizes, strict=True):
                each.nbytes = nbytes

    async def _collect_reads(self) -> None:
        """Ask workers what they have read in all; those that were lost have told before."""
        state = self.state

        async def ask(connection: Connection) -> None:
            try:
                async with asyncio.timeout(_MEASURE_SECONDS):
                    answers = await connection.run_on_workers(Shipped(collect_reads), state.name)
            except (OSError, TimeoutError, ClosedClientError) as error:
                logger.info(
                    "Region %s does not tell what it has read: %r", connection.region, error
                )
                return
            for process, reads in answers.values():
                self.add_reads(process, reads)

        counting = self.counted.regions | {target for _, target in self.counted.uncounted}
        await asyncio.gather(
            *(ask(state.connections[region]) for region in state.submissions if region in counting)
        )
