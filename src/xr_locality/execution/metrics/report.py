"""Records of what runs measured, beside what their plans predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xr_locality.plan.model import Moved, PlanRecord
from xr_locality.regions.region import Region

__all__ = ["RegionReport", "ReportRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionReport:
    """What one region did.

    Attributes
    ----------
    tasks : int
        Tasks that the scheduler ran, after optimisation.
    seconds : float
        Seconds that workers spent computing, summed over them.
    nbytes_read : int or None
        Stored bytes read, from wherever; None where not all of it was counted: zarr's
        arrays are, other files are not.
    """

    tasks: int
    seconds: float
    nbytes_read: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReportRecord:
    """Figures of a run: what it moved and took, measured, beside the plan.

    :class:`xr_locality.Report` is this record with methods that show it.

    Attributes
    ----------
    moved : mapping of (Region, Region) to int
        Bytes that crossed, as serialised, counted where they moved; with the stored
        bytes that workers read from another region, where these were counted.
    usd : float
        What these bytes cost at the plan's prices.
    seconds : float
        From the submission to the last result, as the user waited.
    by_region : mapping of Region to RegionReport
        What each region did.
    retries : int
        Boundary values that were moved again.
    plan : PlanRecord
        What was predicted.
    remote_reads : mapping of (Region, Region) to int or None
        Stored bytes that workers read from another region; None where they were not
        counted, and then they are in no other figure. What a lost worker had read in
        its last second is not counted.
    seconds_moving : mapping of (Region, Region) to float or None
        For how long something was moving between two regions; None where unknown.
    """

    moved: Moved
    usd: float
    seconds: float
    by_region: Mapping[Region, RegionReport]
    retries: int
    plan: PlanRecord = field(repr=False)
    remote_reads: Mapping[tuple[Region, Region], int | None] = field(default_factory=dict)
    seconds_moving: Mapping[tuple[Region, Region], float | None] = field(default_factory=dict)

    @property
    def nbytes_moved(self) -> int:
        """All bytes that crossed."""
        return sum(self.moved.values())
