"""What a run measured beside what its plan predicted, as text and HTML show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from xr_locality.display.summary import predicted_reads
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.placement.costs import CostModel
from xr_locality.regions.region import Region
from xr_locality.runtime import formatting

__all__ = [
    "Compared",
    "ComparedTime",
    "ComparedWork",
    "Comparison",
    "compare_measured",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What crossed, predicted and measured.

    Attributes
    ----------
    predicted_nbytes : int
        Bytes predicted.
    nbytes : int or None
        Bytes measured; None where they were not counted.
    predicted_usd : float
        What those predicted cost.
    usd : float or None
        What those measured cost.
    """

    predicted_nbytes: int
    nbytes: int | None
    predicted_usd: float
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTime:
    """For how long something moved between two regions.

    Attributes
    ----------
    predicted_seconds : float
        At what one worker of each region can move, and one round trip.
    seconds : float or None
        Measured, moves at the same time once; None where unknown.
    """

    predicted_seconds: float
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedWork:
    """What a region did.

    Attributes
    ----------
    planned_tasks : int or None
        Tasks before optimisation, which fuses many into few; None where they were not counted.
    tasks : int
        Tasks that ran.
    seconds : float
        Seconds that workers spent computing.
    predicted_nbytes_read, nbytes_read : int or None
        Stored bytes that workers there read, predicted and measured.
    """

    planned_tasks: int | None
    tasks: int
    seconds: float
    predicted_nbytes_read: int | None
    nbytes_read: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside its plan.

    Attributes
    ----------
    pairs : mapping of (Region, Region) to Compared
        What values crossed, by pair of regions.
    remote_reads : mapping of (Region, Region) to Compared
        Stored bytes that were read from another region.
    total : Compared
        The sum of all that was measured, and of what was predicted of it.
    leaving : mapping of Region to Compared
        The same sums by the region that the bytes leave.
    times : mapping of (Region, Region) to ComparedTime
        For how long something moved.
    predicted_seconds, seconds : float
        Predicted for all moves, one after another; measured for the whole run.
    regions : mapping of Region to ComparedWork
        What each region did.
    retries : int
        Boundary values that were moved again.
    """

    pairs: Mapping[tuple[Region, Region], Compared]
    remote_reads: Mapping[tuple[Region, Region], Compared]
    total: Compared
    leaving: Mapping[Region, Compared]
    times: Mapping[tuple[Region, Region], ComparedTime]
    predicted_seconds: float
    seconds: float
    regions: Mapping[Region, ComparedWork]
    retries: int

    @property
    def headline(self) -> str:
        """The run in one line."""
        return ", ".join(
            (
                f"{formatting.nbytes(self.total.nbytes)} moved",
                formatting.usd(self.total.usd),
                formatting.seconds(self.seconds),
            )
        )


def compare_measured(report: ReportRecord) -> Comparison:
    """Put what a run measured beside what its plan predicted.

    Parameters
    ----------
    report : ReportRecord
        What was measured, with its plan. Stores are listed for the bytes that were to be
        read of them, if some were counted.

    Returns
    -------
    Comparison
    """
    plan = report.plan
    values: dict[tuple[Region, Region], int] = {}
    remote: dict[tuple[Region, Region], int] = {}
    for each in plan.transfers.groups:
        into = remote if each.why == "remote-read" else values
        pair = each.source, each.target
        into[pair] = into.get(pair, 0) + each.nbytes
    read = report.remote_reads
    moved = {pair: nbytes - (read.get(pair) or 0) for pair, nbytes in report.moved.items()}
    shown = sorted({*values, *(pair for pair in moved if moved[pair] or pair not in read)})
    pairs = {
        pair: _compared(plan.costs, pair, values.get(pair, 0), moved.get(pair, 0)) for pair in shown
    }
    remote_reads = {
        pair: _compared(plan.costs, pair, remote.get(pair, 0), read.get(pair))
        for pair in sorted({*remote, *read})
    }
    counted = [(pair, each) for pair, each in remote_reads.items() if each.nbytes is not None]
    every = [*pairs.items(), *counted]
    sources = sorted({pair[0] for pair, _ in every})
    return Comparison(
        pairs=pairs,
        remote_reads=remote_reads,
        total=replace(_total(each for _, each in every), usd=report.usd),
        leaving={
            source: _total(each for pair, each in every if pair[0] == source) for source in sources
        },
        times={
            pair: ComparedTime(
                predicted_seconds=plan.costs.duration(*pair, values.get(pair, 0)),
                seconds=report.seconds_moving.get(pair),
            )
            for pair in pairs
        },
        predicted_seconds=plan.seconds,
        seconds=report.seconds,
        regions=_work(report),
        retries=report.retries,
    )


def _compared(
    costs: CostModel, pair: tuple[Region, Region], predicted: int, measured: int | None
) -> Compared:
    return Compared(
        predicted_nbytes=predicted,
        nbytes=measured,
        predicted_usd=costs.usd(*pair, predicted),
        usd=None if measured is None else costs.usd(*pair, measured),
    )


def _total(of: Iterable[Compared]) -> Compared:
    every = list(of)
    return Compared(
        predicted_nbytes=sum(each.predicted_nbytes for each in every),
        nbytes=sum(each.nbytes or 0 for each in every),
        predicted_usd=sum(each.predicted_usd for each in every),
        usd=sum(each.usd or 0.0 for each in every),
    )


def _work(report: ReportRecord) -> dict[Region, ComparedWork]:
    planned = {each.region: each.n_tasks for each in report.plan.partitions}
    predicted: Mapping[Region, int | None] = {}
    if any(each.nbytes_read is not None for each in report.by_region.values()):
        predicted = predicted_reads(report.plan)
    return {
        region: ComparedWork(
            planned_tasks=planned.get(region),
            tasks=each.tasks,
            seconds=each.seconds,
            predicted_nbytes_read=predicted.get(region),
            nbytes_read=each.nbytes_read,
        )
        for region, each in report.by_region.items()
    }
