"""Counts what moves in a run, where it moves, and makes the report of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xr_locality.execution.metrics.read_counting import CountedReads
from xr_locality.execution.metrics.report import RegionReport, ReportRecord
from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import PlanRecord
from xr_locality.regions.region import Region

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """What has moved so far in one run.

    Parameters
    ----------
    costs : CostModel
        Prices what was measured.
    """

    costs: CostModel
    _moved: dict[tuple[Region, Region], int] = field(default_factory=dict)
    #: When something moved, by pair of regions: from and to, in seconds of this machine.
    _spells: dict[tuple[Region, Region], list[tuple[float, float]]] = field(default_factory=dict)
    #: Stored bytes read, by the process of workers, from where and to where.
    _reads: dict[tuple[str, Region, Region], int] = field(default_factory=dict)
    _fetched: int = 0
    #: Seconds that fetches took, in which no slot was held and nothing computed.
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

    def add_fetch(self, told: Mapping[str, Any], *, client: Region) -> dict[str, Any]:
        """Count what a worker tells of a value that it fetched.

        Parameters
        ----------
        told : mapping
            What it told: ``source``, ``target``, ``relayed``, ``nbytes``, ``waited_seconds``
            and ``moved_seconds``.
        client : Region
            Where a relayed value came from.

        Returns
        -------
        dict
            ``source``, ``target`` and ``nbytes``, for those who watch.
        """
        source, target = Region.parse(told["source"]), Region.parse(told["target"])
        if told["relayed"]:
            source = client
        began = time.monotonic() - told["moved_seconds"]
        self.add(source, target, told["nbytes"], began=began)
        idle = told["waited_seconds"] + told["moved_seconds"]
        self._idle[target] = self._idle.get(target, 0.0) + idle
        self._fetched += 1
        return {"source": source, "target": target, "nbytes": told["nbytes"]}

    def add_read(self, process: str, source: Region, target: Region, total: int) -> int:
        """Count stored bytes that a process of workers has read.

        Parameters
        ----------
        process : str
            The process.
        source, target : Region
            Where the store is, and the workers.
        total : int
            Bytes that the process has read in all so far.

        Returns
        -------
        int
            How many more these are than was known.
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
            What was predicted.
        seconds : float
            How long it took.
        measured : mapping of Region to mapping
            What each scheduler says that the run's tasks have done.
        counted : CountedReads
            What workers have counted of what they read.
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
