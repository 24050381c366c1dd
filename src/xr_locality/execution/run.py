"""State of one run: its plan, its regions at present, its events and what runs for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.endpoints.connection import Connection
from xr_locality.execution.events import Event, Failed, Lost
from xr_locality.execution.metrics.counters import TransferCounters
from xr_locality.execution.progress import BytesMoved, Callbacks, RunEvent
from xr_locality.execution.submission import Submission
from xr_locality.execution.transport.cluster_links import ClusterLinks
from xr_locality.plan.model import PlanRecord, Transfer, Why
from xr_locality.plan.residency import Residency
from xr_locality.regions.region import Region

__all__ = ["Run"]


@dataclass(slots=True, kw_only=True)
class Run:
    """State of one run, shared by the parts that carry it out.

    Parameters
    ----------
    name : str
        Marks the keys of the run on every scheduler.
    plan : PlanRecord
        The plan.
    connections : dict of Region to Connection
        One, open, for each region of the plan; replaced when a region is opened again.
    links : ClusterLinks
        The session's links between clusters.
    retries : int
        How often a fetch without an answer is tried again, and a lost cluster looked for.
    callbacks : Callbacks
        Called with each event.
    residency : Residency
        Says which values may not leave their regions.
    counters : TransferCounters
        Count the bytes that cross.
    """

    name: str
    plan: PlanRecord
    connections: dict[Region, Connection]
    links: ClusterLinks
    retries: int
    callbacks: Callbacks
    residency: Residency
    counters: TransferCounters
    #: For the state machine.
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    #: Submissions of the regions that are not lost.
    submissions: dict[Region, Submission] = field(default_factory=dict)
    #: How often each region was sent its tasks again.
    attempts: dict[Region, int] = field(default_factory=dict)
    #: Why regions were lost.
    lost: dict[Region, BaseException] = field(default_factory=dict)
    #: Tasks of the event loop, and the region whose present attempt each is for.
    _tasks: dict[asyncio.Task[None], Region | None] = field(default_factory=dict)

    def start(
        self, coroutine: Coroutine[Any, Any, None], region: Region | None = None
    ) -> asyncio.Task[None]:
        """Start a task of the event loop; if it fails, so does the run.

        Parameters
        ----------
        coroutine : coroutine
            The coroutine of the task.
        region : Region, optional
            The task ends with the present attempt of this region.
        """
        task = asyncio.create_task(coroutine)
        self._tasks[task] = region
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        region = self._tasks.pop(task) or next(iter(self.connections))
        if not task.cancelled() and (error := task.exception()) is not None:
            self.events.put_nowait(Failed(region=region, error=error))

    def stop(self, region: Region) -> None:
        """Stop the tasks of a region's present attempt."""
        for task, each in self._tasks.items():
            if each == region:
                task.cancel()

    async def stop_all(self) -> None:
        """Stop all tasks, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def lose(self, region: Region, attempt: int, error: BaseException) -> None:
        """Report that a region is lost, as one of its attempts has found."""
        self.lost[region] = error
        self.events.put_nowait(Lost(region=region, attempt=attempt, error=error))

    def check(self, source: Region, target: Region, key: Key, *, why: Why) -> None:
        """Refuse to move a value that may not leave its region."""
        if self.residency.kept:
            crossing = Transfer(source=source, target=target, key=key, nbytes=0, why=why)
            self.residency.check(crossing)

    def crossed(
        self, source: Region, target: Region, nbytes: int, *, began: float | None = None
    ) -> None:
        """Count and report bytes that this process has moved."""
        if source != target and nbytes:
            self.counters.add(source, target, nbytes, began=began)
            self.report(BytesMoved(source=source, target=target, nbytes=nbytes))

    def report(self, event: RunEvent) -> None:
        """Call the callbacks with an event."""
        self.callbacks.report(event, run=self.name)
