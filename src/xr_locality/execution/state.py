"""What the parts of one run share: its plan, its regions as they are now, what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.endpoints.connection import Connection
from xr_locality.execution.events import Event, Failed, Lost
from xr_locality.execution.metrics.counters import Tally
from xr_locality.execution.progress import Watchers
from xr_locality.execution.submission import Submission
from xr_locality.execution.transport.cluster_links import Links
from xr_locality.plan.model import PlanRecord, Transfer, Why
from xr_locality.plan.residency import Residency
from xr_locality.regions.region import Region

__all__ = ["RunState"]


@dataclass(slots=True, kw_only=True)
class RunState:
    """How one run stands, and how its parts tell of what happens.

    Parameters
    ----------
    name : str
        Marks the keys of the run on every scheduler.
    plan : PlanRecord
        What to do.
    connections : dict of Region to Connection
        One, open, for each region of the plan; replaced when a region is opened again.
    links : Links
        The session's links between clusters.
    retries : int
        How often what finds no answer tries again.
    watchers : Watchers
        Told of what happens.
    residency : Residency
        Knows what may not leave its region.
    tally : Tally
        Counts what moves.
    """

    name: str
    plan: PlanRecord
    connections: dict[Region, Connection]
    links: Links
    retries: int
    watchers: Watchers
    residency: Residency
    tally: Tally
    #: For the state machine.
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    #: What regions were sent, those that are lost left out.
    submissions: dict[Region, Submission] = field(default_factory=dict)
    #: Submissions of each region so far, the first not counted.
    attempts: dict[Region, int] = field(default_factory=dict)
    #: Why regions were lost.
    lost: dict[Region, BaseException] = field(default_factory=dict)
    #: What runs here, and for which region's present attempt, if for one.
    _tasks: dict[asyncio.Task[None], Region | None] = field(default_factory=dict)

    def start(
        self, coroutine: Coroutine[Any, Any, None], region: Region | None = None
    ) -> asyncio.Task[None]:
        """Run something here; if it fails, so does the run.

        Parameters
        ----------
        coroutine : coroutine
            What to run.
        region : Region, optional
            Whose present attempt it is for, and ends with.
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
        """Stop what runs here for a region's present attempt."""
        for task, each in self._tasks.items():
            if each == region:
                task.cancel()

    async def stop_all(self) -> None:
        """Stop all that runs here, and wait until it has."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def lose(self, region: Region, attempt: int, error: BaseException) -> None:
        """Tell that a region is gone, as an attempt of its has found."""
        self.lost[region] = error
        self.events.put_nowait(Lost(region=region, attempt=attempt, error=error))

    def check(self, source: Region, target: Region, key: Key, *, why: Why) -> None:
        """Refuse a value that may not leave its region, when it is about to."""
        if self.residency.kept:
            crossing = Transfer(source=source, target=target, key=key, nbytes=0, why=why)
            self.residency.check(crossing)

    def crossed(
        self, source: Region, target: Region, nbytes: int, *, began: float | None = None
    ) -> None:
        """Count and tell what this process has moved."""
        if source != target and nbytes:
            self.tally.add(source, target, nbytes, began=began)
            self.tell("moved", source=source, target=target, nbytes=nbytes)

    def tell(self, what: str, **facts: Any) -> None:
        """Tell those who watch."""
        self.watchers.tell(self.name, what, **facts)
