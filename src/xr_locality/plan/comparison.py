"""What a run measured beside what its plan predicted, as text and HTML show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xr_locality.plan import words
from xr_locality.regions.model import Region

if TYPE_CHECKING:
    from xr_locality.plan.model import Moved, Plan

__all__ = ["Compared", "Comparison", "Measured", "MeasuredRegion", "compare_measured"]


class MeasuredRegion(Protocol):
    """What one region did, as a report says it."""

    @property
    def tasks(self) -> int:
        """Tasks that ran."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds that workers spent computing."""
        ...

    @property
    def nbytes_read(self) -> int | None:
        """Stored bytes read; None where nobody counts them."""
        ...


class Measured(Protocol):
    """A report: execution makes them, and planning must not know execution."""

    @property
    def moved(self) -> Moved:
        """Bytes that crossed, by pair of regions."""
        ...

    @property
    def usd(self) -> float:
        """What they cost."""
        ...

    @property
    def seconds(self) -> float:
        """Duration of the run."""
        ...

    @property
    def by_region(self) -> Mapping[Region, MeasuredRegion]:
        """What each region did."""
        ...

    @property
    def retries(self) -> int:
        """Boundary values that were moved again."""
        ...

    @property
    def plan(self) -> Plan:
        """What was predicted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One amount predicted and measured.

    Attributes
    ----------
    predicted_nbytes, nbytes : int
        Bytes predicted and measured.
    predicted_usd, usd : float
        What they cost.
    """

    predicted_nbytes: int
    nbytes: int
    predicted_usd: float
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside its plan.

    Attributes
    ----------
    pairs : mapping of (Region, Region) to Compared
        What values crossed, by pair of regions.
    total : Compared
        The sum of the pairs.
    remote_reads : mapping of (Region, Region) to int
        Stored bytes predicted to be read from another region: not measured, and so
        in no other figure here.
    predicted_seconds, seconds : float
        Predicted for all moves, one after another; measured for the whole run.
    regions : mapping of Region to MeasuredRegion
        What each region did.
    retries : int
        Boundary values that were moved again.
    """

    pairs: Mapping[tuple[Region, Region], Compared]
    total: Compared
    remote_reads: Mapping[tuple[Region, Region], int]
    predicted_seconds: float
    seconds: float
    regions: Mapping[Region, MeasuredRegion]
    retries: int

    @property
    def headline(self) -> str:
        """The run in one line."""
        return ", ".join(
            (
                f"{words.nbytes(self.total.nbytes)} moved",
                words.usd(self.total.usd),
                words.seconds(self.seconds),
            )
        )


def compare_measured(report: Measured) -> Comparison:
    """Put what a run measured beside what its plan predicted.

    Parameters
    ----------
    report : Report
        What was measured, with its plan.

    Returns
    -------
    Comparison
    """
    plan = report.plan
    costs = plan.costs
    predicted: dict[tuple[Region, Region], int] = {}
    remote: dict[tuple[Region, Region], int] = {}
    for each in plan.transfers.groups:
        into = remote if each.why == "remote-read" else predicted
        pair = each.source, each.target
        into[pair] = into.get(pair, 0) + each.nbytes
    pairs = {
        pair: Compared(
            predicted_nbytes=predicted.get(pair, 0),
            nbytes=report.moved.get(pair, 0),
            predicted_usd=costs.usd(*pair, predicted.get(pair, 0)),
            usd=costs.usd(*pair, report.moved.get(pair, 0)),
        )
        for pair in sorted({*predicted, *report.moved})
    }
    return Comparison(
        pairs=pairs,
        total=Compared(
            predicted_nbytes=sum(each.predicted_nbytes for each in pairs.values()),
            nbytes=sum(each.nbytes for each in pairs.values()),
            predicted_usd=sum(each.predicted_usd for each in pairs.values()),
            usd=report.usd,
        ),
        remote_reads=dict(sorted(remote.items())),
        predicted_seconds=plan.seconds,
        seconds=report.seconds,
        regions=report.by_region,
        retries=report.retries,
    )
