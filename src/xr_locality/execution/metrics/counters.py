"""Counters of the bytes that move in a run, and the report made of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xr_locality.execution.metrics.read_counting import CountedReads
from xr_locality.execution.metrics.report import RegionReport, ReportRecord
from xr_locality.execution.progress import BytesMoved
from xr_locality.execution.worker_messages import FetchedValue
from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import PlanRecord
from xr_locality.regions.region import Region

__all__ = ["TransferCounters"]


@dataclass(slots=True)
class TransferCounters:
    """Counters of one run: bytes that have moved so far, and when.

    Parameters
    ----------
    costs : CostModel
        Prices the moves.
    """

    costs: CostModel
    _moved: dict[tuple[Region, Region], int] = field(default_factory=dict)
    #: When something moved, by pair of regions: from and to, in seconds of this machine.
    _spells: dict[tuple[Region, Region], list[tuple[float, float]]] = field(default_factory=dict)
    #: Stored bytes read, by the process of workers, from where and to where.
    _reads: dict[tuple[str, Region, Region], int] = field(default_factory=dict)
    _fetched: int = 0
    #: Seconds of fetch tasks, during which they held no thread.
    _idle: dict[Region, float] = field(default_factory=dict)

    @property
    def moved(self) -> dict[tuple[Region, Region], int]:
        """Bytes that have crossed so far, by pair of regions."""
        every = dict(self._moved)
        for (_, source, target), nbytes in self._reads.items():
            if source != target and nbytes:
                every[source, target] = every.get((source, target), 0) + nbytes
        return dict(sorted(every.items()))

    def add(
        self, source: Region, target: Region, nbytes: int, *, began: float | None = None
    ) -> None:
        """Count bytes that went from one region to another.

        Parameters
        ----------
        source, target : Region
            The regions.
        nbytes : int
            Bytes as serialised.
        began : float, optional
            When they began to move, by ``time.monotonic()``; they have arrived now.
        """
        if source == target or not nbytes:
            return
        pair = source, target
        self._moved[pair] = self._moved.get(pair, 0) + nbytes
        if began is not None:
            self._spells.setdefault(pair, []).append((began, time.monotonic()))

    def add_fetch(self, message: FetchedValue, *, client: Region) -> BytesMoved:
        """Count a value that a worker has fetched.

        Parameters
        ----------
        message : FetchedValue
            The message of the worker.
        client : Region
            The region that a relayed value came from.

        Returns
        -------
        BytesMoved
            For callbacks.
        """
        source, target = message.source, message.target
        if message.relayed:
            source = client
        began = time.monotonic() - message.moved_seconds
        self.add(source, target, message.nbytes, began=began)
        idle = message.waited_seconds + message.moved_seconds
        self._idle[target] = self._idle.get(target, 0.0) + idle
        self._fetched += 1
        return BytesMoved(source=source, target=target, nbytes=message.nbytes)

    def add_read(self, process: str, source: Region, target: Region, total: int) -> int:
        """Count stored bytes that a process of workers has read.

        Parameters
        ----------
        process : str
            The process.
        source, target : Region
            Where the store is, and the workers.
        total : int
            Bytes that the process has read so far.

        Returns
        -------
        int
            How many of them are new.
        """
        before = self._reads.get((process, source, target), 0)
        self._reads[process, source, target] = max(before, total)
        return max(0, total - before)

    def report(
        self,
        plan: PlanRecord,
        *,
        seconds: float,
        measured: Mapping[Region, Mapping[str, float]],
        counted: CountedReads,
    ) -> ReportRecord:
        """Make the report of a run that has ended.

        Parameters
        ----------
        plan : PlanRecord
            The plan of the run.
        seconds : float
            How long it took.
        measured : mapping of Region to mapping
            Tasks and seconds by region, as the schedulers count them.
        counted : CountedReads
            Where workers count what they read.
        """
        remote: dict[tuple[Region, Region], int | None] = {}
        read: dict[Region, int] = dict.fromkeys(counted.regions, 0)
        for (_, source, target), nbytes in self._reads.items():
            if target in read:
                read[target] += nbytes
            if source != target:
                remote[source, target] = (remote.get((source, target)) or 0) + nbytes
        remote.update({pair: None for pair in counted.uncounted if pair[0] != pair[1]})
        moved = self.moved
        expected = sum(len(boundary.targets) for boundary in plan.boundaries)
        return ReportRecord(
            moved=moved,
            usd=sum(
                self.costs.usd(source, target, nbytes) for (source, target), nbytes in moved.items()
            ),
            seconds=seconds,
            remote_reads=dict(sorted(remote.items())),
            seconds_moving={pair: _covered(self._spells.get(pair, ())) for pair in moved},
            by_region={
                region: RegionReport(
                    tasks=int(each["tasks"]),
                    seconds=max(0.0, each["seconds"] - self._idle.get(region, 0.0)),
                    nbytes_read=read.get(region),
                )
                for region, each in sorted(measured.items())
            },
            retries=max(0, self._fetched - expected),
            plan=plan,
        )


def _covered(spells: Iterable[tuple[float, float]]) -> float | None:
    """Sum the seconds in which something moved, moves at the same time once; None of none."""
    total, reached = 0.0, float("-inf")
    known = False
    for began, ended in sorted(spells):
        known = True
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total if known else None
