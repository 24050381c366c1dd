"""Counts what moves in a run, where it moves, and makes the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xr_locality.execution.report import RegionReport, Report
from xr_locality.placement.costs import CostModel
from xr_locality.plan.model import Plan
from xr_locality.regions.model import Region

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
    _fetched: int = 0
    #: Seconds that fetches took, in which no slot was held and nothing computed.
    _idle: dict[Region, float] = field(default_factory=dict)

    @property
    def moved(self) -> dict[tuple[Region, Region], int]:
        """Bytes that have crossed so far, by pair of regions."""
        return dict(sorted(self._moved.items()))

    def add(self, source: Region, target: Region, nbytes: int) -> None:
        """Count bytes that went from one region to another."""
        if source != target and nbytes:
            self._moved[source, target] = self._moved.get((source, target), 0) + nbytes

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
        self.add(source, target, told["nbytes"])
        idle = told["waited_seconds"] + told["moved_seconds"]
        self._idle[target] = self._idle.get(target, 0.0) + idle
        self._fetched += 1
        return {"source": source, "target": target, "nbytes": told["nbytes"]}

    def report(
        self, plan: Plan, *, seconds: float, measured: Mapping[Region, Mapping[str, float]]
    ) -> Report:
        """Make the report of a run that has ended.

        Parameters
        ----------
        plan : Plan
            What was predicted.
        seconds : float
            How long it took.
        measured : mapping of Region to mapping
            What each scheduler says that the run's tasks have done.
        """
        moved = self.moved
        expected = sum(len(boundary.targets) for boundary in plan.boundaries)
        return Report(
            moved=moved,
            usd=sum(
                self.costs.usd(source, target, nbytes) for (source, target), nbytes in moved.items()
            ),
            seconds=seconds,
            by_region={
                region: RegionReport(
                    tasks=int(each["tasks"]),
                    seconds=max(0.0, each["seconds"] - self._idle.get(region, 0.0)),
                )
                for region, each in sorted(measured.items())
            },
            retries=max(0, self._fetched - expected),
            plan=plan,
        )
