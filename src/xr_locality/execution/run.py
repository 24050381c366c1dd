"""Carries out a run: the asynchronous shell around the state machine."""

from __future__ import annotations

import asyncio
import logging
import secrets
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
from xr_locality.execution.checks.residency_check import check_residency
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
from xr_locality.execution.gather import Gathering, Kept
from xr_locality.execution.liveness import Reopening, comes_back, find_gone
from xr_locality.execution.machine import PartitionKeys, RunMachine
from xr_locality.execution.metrics.counters import Tally
from xr_locality.execution.metrics.measuring import Measuring
from xr_locality.execution.metrics.read_counting import count_reads
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.execution.monitor import Guarding
from xr_locality.execution.progress import Watchers
from xr_locality.execution.state import RunState
from xr_locality.execution.submission import Rest, submit
from xr_locality.execution.transport.cluster_links import Links, Opened
from xr_locality.execution.transport.relaying import Carrying
from xr_locality.execution.transport.staging import Staging
from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import Moved, Partition, PlanRecord
from xr_locality.program.executable import Program
from xr_locality.regions.region import Region
from xr_locality.runtime import formatting

__all__ = ["Run", "n_workers"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Run:
    """One execution of a plan over open connections.

    Parameters
    ----------
    program : Program
        What to send; from :meth:`execute` on its workers count what they read.
    connections : dict of Region to Connection
        One, open, for each region of the program; replaced when a region is opened again.
    links : Links
        The session's links between clusters.
    reopen : callable
        Opens a region again whose cluster is gone.
    costs : CostModel
        Prices what was measured.
    transfer : {"direct", "relay", "stage", "auto"}
        How values cross: from region to region, by way of the client, by way of object
        stores, or by way of the client where a region's workers do not reach the
        other's scheduler.
    annotations : mapping
        What ``dask.annotate`` has set where the user called.
    retries : int
        How often a fetch may find no answer and try again, and how often a region may
        lose sight of us and be found again.
    watchers : Watchers
        Told of what happens.
    """

    program: Program
    connections: dict[Region, Connection]
    links: Links
    reopen: Reopening
    costs: CostModel
    transfer: Transfer
    annotations: Mapping[str, Any]
    retries: int
    watchers: Watchers = field(default_factory=Watchers)
    #: Where to put the Futures of results that stay in their regions, instead of
    #: bringing the results here.
    keep: dict[Key, Kept] | None = None
    #: Where to stage values, if they are staged.
    staging: Staging | None = None
    #: Marks the keys of this run on every scheduler.
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    _state: RunState = field(init=False)
    _carrying: Carrying = field(init=False)
    _guarding: Guarding = field(init=False)
    _gathering: Gathering = field(init=False)
    _measuring: Measuring = field(init=False)
    #: The connections that regions had before.
    _left: dict[Region, Connection] = field(default_factory=dict)
    #: End the listening to what workers say.
    _listening: list[Callable[[], None]] = field(default_factory=list)
    _tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self._tally = Tally(self.costs)

    @property
    def plan(self) -> PlanRecord:
        """The plan that is carried out."""
        return self.program.plan

    @property
    def moved(self) -> Moved:
        """Bytes that have crossed so far."""
        return self._tally.moved

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
        SourceError
            If something would leave a region that may not; nothing was sent.
        """
        residency = check_residency(
            self.plan, relay=self.transfer == "relay", keep=self.keep is not None
        )
        started = time.monotonic()
        self.program, counted = await asyncio.to_thread(count_reads, self.program, self.name)
        self._state = RunState(
            name=self.name,
            plan=self.plan,
            connections=self.connections,
            links=self.links,
            retries=self.retries,
            watchers=self.watchers,
            residency=residency,
            tally=self._tally,
        )
        self._carrying = Carrying(state=self._state, transfer=self.transfer)
        self._guarding = Guarding(state=self._state, carrying=self._carrying)
        self._gathering = Gathering(state=self._state, kept=self.keep)
        self._measuring = Measuring(state=self._state, counted=counted, kept=self.keep)
        machine = RunMachine(_owed(self.plan), retries=self.retries, stay=self.keep is not None)
        async with AsyncExitStack() as stack:
            if self.staging is not None:
                # Last of all, when nobody writes any more.
                stack.push_async_callback(self.staging.close)
                await self.staging.open(
                    {target for each in self.plan.boundaries for target in each.targets}
                )
            stack.push_async_callback(self._clean_up)
            for connection in self.connections.values():
                self._listen(connection)
            if self.watchers:
                self._state.start(self._measuring.watch_progress())
            instructions = machine.start()
            while True:
                finish = await self._carry_out(instructions)
                if finish is not None:
                    break
                instructions = machine.handle(await self._state.events.get())
            if finish.error is not None:
                self._state.tell("failed", error=finish.error)
                logger.info("Run %s: failed with %s", self.name, type(finish.error).__name__)
                raise finish.error
            await self._measuring.finish()
        seconds = time.monotonic() - started
        self._state.tell("finished", seconds=seconds)
        report = self._measuring.report(seconds)
        logger.info(
            "Run %s: finished in %s, %s moved for %s, %d values moved again",
            self.name,
            formatting.seconds(seconds),
            formatting.nbytes(report.nbytes_moved),
            formatting.usd(report.usd),
            report.retries,
        )
        return self._gathering.values, report

    async def _carry_out(self, instructions: list[Instruction]) -> Finish | None:
        if submits := [each for each in instructions if isinstance(each, Submit)]:
            await self._submit_all(submits)
        for instruction in instructions:
            match instruction:
                case Gather(region=region, key=key):
                    self._gathering.take(region, key)
                    if self._gathering.all_asked:
                        # While the last results travel.
                        self._measuring.begin()
                case Release(region=region, sends=sends, fetches=fetches):
                    if (submission := self._state.submissions.get(region)) is not None:
                        submission.release(sends=sends, fetches=fetches)
                case Cancel(region=region):
                    if (submission := self._state.submissions.get(region)) is not None:
                        submission.cancel()
                case Reopen(region=region, anew=anew):
                    self._abandon(region)
                    self._state.start(self._reopen(region, anew=anew))
                case Verify(region=region, attempt=attempt, error=error):
                    self._state.start(self._guarding.verify(region, attempt, error))
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
        self._carrying.begin({each.region for each in submits})

    async def _submit(self, told: Submit) -> None:
        """Send a region its partition, or the rest of it; if it cannot be reached, it is lost."""
        region, attempt = told.region, told.attempt
        if attempt:
            self._abandon(region)
        self._state.attempts[region] = attempt
        try:
            await self._send(told)
        except (OSError, TimeoutError, ClosedClientError) as error:
            connection = self.connections[region]
            lost = connection.failure(
                f"could not be sent its tasks ({type(error).__name__}: {error})",
                advice="See whether its cluster still runs.",
            )
            lost.__cause__ = error
            self._state.lose(region, attempt, lost)

    async def _send(self, told: Submit) -> None:
        region, attempt = told.region, told.attempt
        program = self.program.region(region)
        partition = program.partition
        connection = self.connections[region]
        rest = None
        if attempt:
            rest = Rest(attempt=attempt, outputs=told.outputs, sends=told.sends)
        submission = await submit(
            program,
            connection,
            run=self.name,
            links=await self._open_links(partition, anew=attempt > 0),
            annotations=self.annotations,
            fall_back=self.transfer == "auto",
            n_workers=n_workers(connection),
            stores=await self.staging.give(connection, partition, self.plan)
            if self.staging is not None
            else None,
            rest=rest,
        )
        self._state.submissions[region] = submission
        if attempt:
            await self._lead_others_to(region)
            fetches = frozenset(submission.fetches)
            self._state.events.put_nowait(
                Submitted(region=region, attempt=attempt, fetches=fetches)
            )
        self._state.tell("submitted", region=region, tasks=partition.n_tasks)
        logger.info(
            "Run %s: sent %s its partition of %s tasks, %d values to fetch, %d to send",
            self.name,
            region,
            "an unknown number" if partition.n_tasks is None else partition.n_tasks,
            len(partition.fetches),
            len(partition.sends),
        )
        self._state.crossed(self.plan.client, region, partition.upload_nbytes)
        self._guarding.begin(region)

    async def _open_links(self, partition: Partition, *, anew: bool) -> dict[Region, Opened]:
        consumer = self.connections[partition.region]
        for boundary in partition.fetches:
            self._state.check(boundary.source, partition.region, boundary.key, why="boundary")
        sources = sorted({boundary.source for boundary in partition.fetches})

        async def open_link(source: Region) -> Opened:
            way: Connection | None = self.connections[source]
            if self._carrying.take_over(source, partition.region):
                way = None
            serving = [self._serve(source)]
            if way is None or self.transfer == "auto":
                # It may turn out that values must be relayed.
                serving.append(self.links.serve(consumer, anew=anew))
            opened, _ = await asyncio.gather(
                self.links.open(consumer, way, anew=anew), asyncio.gather(*serving)
            )
            return opened

        opened = await asyncio.gather(*map(open_link, sources))
        return dict(zip(sources, opened, strict=True))

    async def _serve(self, source: Region) -> None:
        """Let a region give its values; one that cannot be reached is lost, not who asks."""
        attempt = self._state.attempts.get(source, 0)
        try:
            await self.links.serve(self.connections[source])
        except (OSError, TimeoutError) as error:
            gone = await find_gone(self.connections[source])
            self._state.lose(source, attempt, gone or error)

    async def _lead_others_to(self, region: Region) -> None:
        """Lead the fetches of other regions to what is made anew."""
        connection = self.connections[region]
        await self.links.serve(connection, anew=True)
        await self.links.lead(
            connection,
            instead_of=self._left.get(region, connection),
            run=self.name,
            attempt=self._state.attempts[region],
        )

    async def _reopen(self, region: Region, *, anew: bool) -> None:
        """Come back to a region: to the same cluster if it can be found, else to a new one."""
        lost = self.connections[region]
        self._state.tell("lost", region=region, error=self._state.lost[region])
        logger.warning("Run %s: lost %s: %s", self.name, region, self._state.lost[region])
        if await comes_back(lost):
            self._state.events.put_nowait(Reopened(region=region, anew=False))
            return
        try:
            if not anew:
                raise lost.failure(
                    "was lost again, after it had been opened again",
                    advice="See what ends its clusters; running again starts a new one.",
                )
            opened = await self.reopen(region, lost)
        except LocalityError as error:
            error.add_note(f"It was opened again for: {self._state.lost[region]}")
            self._state.events.put_nowait(Failed(region=region, error=error))
            return
        self._left[region] = lost
        self.connections[region] = opened
        self._listen(opened)
        self._state.tell("reopened", region=region)
        logger.info("Run %s: opened %s again", self.name, region)
        self._state.events.put_nowait(Reopened(region=region, anew=True))

    def _abandon(self, region: Region) -> None:
        """Let go of what a region was sent: it is gone, or made anew."""
        self._state.stop(region)
        if (submission := self._state.submissions.pop(region, None)) is not None:
            submission.cancel()
        self._gathering.abandon(region)

    def _listen(self, connection: Connection) -> None:
        self._listening.append(self.links.listen(connection, self.name, self._told_by_worker))

    def _told_by_worker(self, told: Mapping[str, Any]) -> None:
        if "reads" in told:
            self._measuring.add_reads(told["process"], told["reads"])
        elif "unreachable" in told:
            self._carrying.hear(told)
        else:
            self._measuring.add_fetch(told)

    async def _clean_up(self) -> None:
        """Leave nothing of the run on any scheduler, and nothing running here."""
        await self._state.stop_all()
        for submission in self._state.submissions.values():
            submission.cancel()
        self._carrying.close()
        for end in self._listening:
            end()
        self.links.forget(self.name)


def n_workers(connection: Connection) -> int:
    """Count the workers that a region has, or may get."""
    # An asynchronous client does not ask: it has been told a moment ago, of their number only.
    told = connection.client.scheduler_info()
    running: int = told.get("n_workers", len(told["workers"]))
    return max(1, running, getattr(connection.endpoint, "maximum", None) or 0)


def _owed(plan: PlanRecord) -> dict[Region, PartitionKeys]:
    """Tell the machine what each region owes."""
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
