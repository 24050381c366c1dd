"""Driver of a run: the asynchronous shell around its state machine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from distributed.client import ClosedClientError

from xr_locality.config import Transfer
from xr_locality.endpoints.connection import Connection
from xr_locality.errors import LocalityError
from xr_locality.execution.events import (
    Cancel,
    Failed,
    Finish,
    Gather,
    Instruction,
    Release,
    Reopen,
    Reopened,
    Submit,
    Submitted,
    Verify,
)
from xr_locality.execution.gather import KeptResult, ResultGatherer
from xr_locality.execution.liveness import ReopenRegion, comes_back, find_gone
from xr_locality.execution.machine import PartitionKeys, RunMachine
from xr_locality.execution.metrics.measuring import RunMeasurements
from xr_locality.execution.metrics.read_counting import CountedReads
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.execution.monitor import Monitor
from xr_locality.execution.progress import (
    RegionLost,
    RegionReopened,
    RunFailed,
    RunFinished,
    TasksSubmitted,
)
from xr_locality.execution.run import Run
from xr_locality.execution.submission import Remainder, submit
from xr_locality.execution.transport.cluster_links import OpenLink
from xr_locality.execution.transport.relaying import RelayManager
from xr_locality.execution.transport.staging import Staging
from xr_locality.execution.worker_messages import (
    FetchedValue,
    FetchFailure,
    ReadCounts,
    WorkerMessage,
)
from xr_locality.plan.model import Partition, PlanRecord
from xr_locality.program.executable import Program
from xr_locality.regions.region import Region
from xr_locality.runtime import formatting

__all__ = ["RunDriver", "n_workers"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class RunDriver:
    """Driver of one run: carries out the instructions of its state machine.

    Parameters
    ----------
    run : Run
        The run.
    program : Program
        What to send; workers count what they read.
    counted : CountedReads
        What workers count.
    reopen : callable
        Opens a region again whose cluster is gone.
    transfer : {"direct", "relay", "stage", "auto"}
        How values cross: from region to region, by way of the client, by way of object
        stores, or by way of the client where a region's workers do not reach the
        other's scheduler.
    annotations : mapping
        What ``dask.annotate`` has set where the user called.
    keep : dict of key to KeptResult, optional
        Filled with the Futures of results that stay in their regions, instead of
        bringing the results here.
    staging : Staging, optional
        Where values are staged, if they are.
    """

    run: Run
    program: Program
    counted: CountedReads
    reopen: ReopenRegion
    transfer: Transfer
    annotations: Mapping[str, Any]
    keep: dict[Key, KeptResult] | None = None
    staging: Staging | None = None
    _relays: RelayManager = field(init=False)
    _monitor: Monitor = field(init=False)
    _results: ResultGatherer = field(init=False)
    _measurements: RunMeasurements = field(init=False)
    #: The connections that regions had before.
    _replaced: dict[Region, Connection] = field(default_factory=dict)
    #: Functions that end the subscriptions to messages of workers.
    _unsubscribe: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        run = self.run
        self._relays = RelayManager(state=run, transfer=self.transfer)
        self._monitor = Monitor(state=run, relays=self._relays)
        self._results = ResultGatherer(state=run, kept=self.keep)
        self._measurements = RunMeasurements(state=run, counted=self.counted, kept=self.keep)

    async def execute(self) -> tuple[dict[Key, Any], ReportRecord]:
        """Run the plan to its end.

        Returns
        -------
        values : dict of key to object
            The value of each output key.
        report : ReportRecord
            What was measured.

        Raises
        ------
        Exception
            What a task raised, as it is, with a note of where it ran.
        EndpointError
            If a region was lost and could not be opened again.
        TransferError
            If a boundary value could not be moved.
        """
        run, plan = self.run, self.run.plan
        started = time.monotonic()
        machine = RunMachine(_owed(plan), retries=run.retries, stay=self.keep is not None)
        async with AsyncExitStack() as stack:
            if self.staging is not None:
                # Closed last, when no task writes any more.
                stack.push_async_callback(self.staging.close)
                await self.staging.open(
                    {target for each in plan.boundaries for target in each.targets}
                )
            stack.push_async_callback(self._clean_up)
            for connection in run.connections.values():
                self._listen(connection)
            if run.callbacks:
                run.start(self._measurements.watch_progress())
            instructions = machine.start()
            while True:
                finish = await self._carry_out(instructions)
                if finish is not None:
                    break
                instructions = machine.handle(await run.events.get())
            if finish.error is not None:
                run.report(RunFailed(error=finish.error))
                logger.info("Run %s: failed with %s", run.name, type(finish.error).__name__)
                raise finish.error
            await self._measurements.finish()
        seconds = time.monotonic() - started
        run.report(RunFinished(seconds=seconds))
        report = self._measurements.report(seconds)
        logger.info(
            "Run %s: finished in %s, %s moved for %s, %d values moved again",
            run.name,
            formatting.seconds(seconds),
            formatting.nbytes(report.nbytes_moved),
            formatting.usd(report.usd),
            report.retries,
        )
        return self._results.values, report

    async def _carry_out(self, instructions: list[Instruction]) -> Finish | None:
        if submits := [each for each in instructions if isinstance(each, Submit)]:
            await self._submit_all(submits)
        for instruction in instructions:
            match instruction:
                case Gather(region=region, key=key):
                    self._results.take(region, key)
                    if self._results.all_asked:
                        # While the last results travel.
                        self._measurements.begin()
                case Release(region=region, sends=sends, fetches=fetches):
                    if (submission := self.run.submissions.get(region)) is not None:
                        submission.release(sends=sends, fetches=fetches)
                case Cancel(region=region):
                    if (submission := self.run.submissions.get(region)) is not None:
                        submission.cancel()
                case Reopen(region=region, anew=anew):
                    self._abandon(region)
                    self.run.start(self._reopen(region, anew=anew))
                case Verify(region=region, attempt=attempt, error=error):
                    self.run.start(self._monitor.verify(region, attempt, error))
                case Finish():
                    return instruction
                case Submit():
                    pass
        return None

    async def _submit_all(self, submits: list[Submit]) -> None:
        # All are waited for, so that what was sent is known if one of them fails.
        answers = await asyncio.gather(
            *(self._submit(each) for each in submits), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        self._relays.begin({each.region for each in submits})

    async def _submit(self, instruction: Submit) -> None:
        """Send a region its partition, or the rest of it; if it cannot be reached, it is lost."""
        region, attempt = instruction.region, instruction.attempt
        if attempt:
            self._abandon(region)
        self.run.attempts[region] = attempt
        try:
            await self._send(instruction)
        except (OSError, TimeoutError, ClosedClientError) as error:
            connection = self.run.connections[region]
            lost = connection.failure(
                f"could not be sent its tasks ({type(error).__name__}: {error})",
                advice="See whether its cluster still runs.",
            )
            lost.__cause__ = error
            self.run.lose(region, attempt, lost)

    async def _send(self, instruction: Submit) -> None:
        region, attempt = instruction.region, instruction.attempt
        program = self.program.region(region)
        partition = program.partition
        connection = self.run.connections[region]
        rest = None
        if attempt:
            rest = Remainder(attempt=attempt, outputs=instruction.outputs, sends=instruction.sends)
        submission = await submit(
            program,
            connection,
            run=self.run.name,
            links=await self._open_links(partition, anew=attempt > 0),
            annotations=self.annotations,
            fall_back=self.transfer == "auto",
            n_workers=n_workers(connection),
            stores=await self.staging.give(connection, partition, self.run.plan)
            if self.staging is not None
            else None,
            rest=rest,
        )
        self.run.submissions[region] = submission
        if attempt:
            await self._redirect_consumers(region)
            fetches = frozenset(submission.fetches)
            self.run.events.put_nowait(Submitted(region=region, attempt=attempt, fetches=fetches))
        self.run.report(TasksSubmitted(region=region, tasks=partition.n_tasks))
        logger.info(
            "Run %s: sent %s its partition of %s tasks, %d values to fetch, %d to send",
            self.run.name,
            region,
            "an unknown number" if partition.n_tasks is None else partition.n_tasks,
            len(partition.fetches),
            len(partition.sends),
        )
        self.run.crossed(self.run.plan.client, region, partition.upload_nbytes)
        self._monitor.begin(region)

    async def _open_links(self, partition: Partition, *, anew: bool) -> dict[Region, OpenLink]:
        consumer = self.run.connections[partition.region]
        for boundary in partition.fetches:
            self.run.check(boundary.source, partition.region, boundary.key, why="boundary")
        sources = sorted({boundary.source for boundary in partition.fetches})

        async def open_link(source: Region) -> OpenLink:
            origin: Connection | None = self.run.connections[source]
            if self._relays.take_over(source, partition.region):
                origin = None
            serving = [self._serve(source)]
            if origin is None or self.transfer == "auto":
                # Values may have to be relayed.
                serving.append(self.run.links.serve(consumer, anew=anew))
            opened, _ = await asyncio.gather(
                self.run.links.open(consumer, origin, anew=anew), asyncio.gather(*serving)
            )
            return opened

        opened = await asyncio.gather(*map(open_link, sources))
        return dict(zip(sources, opened, strict=True))

    async def _serve(self, source: Region) -> None:
        """Serve the values of a region; if it cannot be reached, it is lost, not its consumer."""
        attempt = self.run.attempts.get(source, 0)
        try:
            await self.run.links.serve(self.run.connections[source])
        except (OSError, TimeoutError) as error:
            gone = await find_gone(self.run.connections[source])
            self.run.lose(source, attempt, gone or error)

    async def _redirect_consumers(self, region: Region) -> None:
        """Redirect the fetches of other regions to the values of the new attempt."""
        connection = self.run.connections[region]
        await self.run.links.serve(connection, anew=True)
        await self.run.links.redirect(
            connection,
            instead_of=self._replaced.get(region, connection),
            run=self.run.name,
            attempt=self.run.attempts[region],
        )

    async def _reopen(self, region: Region, *, anew: bool) -> None:
        """Reconnect to the cluster of a region if it can be reached, else open a new one."""
        lost = self.run.connections[region]
        self.run.report(RegionLost(region=region, error=self.run.lost[region]))
        logger.warning("Run %s: lost %s: %s", self.run.name, region, self.run.lost[region])
        if await comes_back(lost):
            self.run.events.put_nowait(Reopened(region=region, anew=False))
            return
        try:
            if not anew:
                raise lost.failure(
                    "was lost again, after it had been opened again",
                    advice="See what ends its clusters; running again starts a new one.",
                )
            opened = await self.reopen(region, lost)
        except LocalityError as error:
            error.add_note(f"It was opened again for: {self.run.lost[region]}")
            self.run.events.put_nowait(Failed(region=region, error=error))
            return
        self._replaced[region] = lost
        self.run.connections[region] = opened
        self._listen(opened)
        self.run.report(RegionReopened(region=region))
        logger.info("Run %s: opened %s again", self.run.name, region)
        self.run.events.put_nowait(Reopened(region=region, anew=True))

    def _abandon(self, region: Region) -> None:
        """Drop the submission of a region: it is gone, or sent again."""
        self.run.stop(region)
        if (submission := self.run.submissions.pop(region, None)) is not None:
            submission.cancel()
        self._results.abandon(region)

    def _listen(self, connection: Connection) -> None:
        self._unsubscribe.append(self.run.links.listen(connection, self.run.name, self._receive))

    def _receive(self, message: WorkerMessage) -> None:
        match message:
            case ReadCounts():
                self._measurements.add_reads(message)
            case FetchFailure():
                self._relays.handle_failure(message)
            case FetchedValue():
                self._measurements.add_fetch(message)

    async def _clean_up(self) -> None:
        """Release all Futures of the run, and stop all that runs here."""
        await self.run.stop_all()
        for submission in self.run.submissions.values():
            submission.cancel()
        self._relays.close()
        for end in self._unsubscribe:
            end()
        self.run.links.forget(self.run.name)


def n_workers(connection: Connection) -> int:
    """Count the workers that a region has, or may get."""
    # An asynchronous client does not ask the scheduler: it knows the last number of workers.
    info = connection.client.scheduler_info()
    running: int = info.get("n_workers", len(info["workers"]))
    return max(1, running, getattr(connection.endpoint, "maximum", None) or 0)


def _owed(plan: PlanRecord) -> dict[Region, PartitionKeys]:
    """List the keys that each region owes."""
    return {
        partition.region: PartitionKeys(
            outputs=frozenset(partition.outputs),
            sends={
                boundary.key: frozenset(boundary.targets)
                for boundary in plan.boundaries
                if boundary.source == partition.region
            },
            fetches=frozenset(boundary.key for boundary in partition.fetches),
        )
        for partition in plan.partitions
    }
