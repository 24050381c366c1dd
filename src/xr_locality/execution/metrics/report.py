"""What a run measured, beside what its plan predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xr_locality.plan.model import Moved, Plan
from xr_locality.regions.region import Region

__all__ = ["RegionReport", "Report"]


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
class Report:
    """What a run moved and took, measured.

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
    plan : Plan
        What was predicted.
    remote_reads : mapping of (Region, Region) to int or None
        Stored bytes that workers read from another region; None where nobody counted
        them, and then they are in no other figure. What a worker that was lost had read
        in its last second is not counted.
    seconds_moving : mapping of (Region, Region) to float or None
        For how long something was moving between two regions; None where nobody knows.
    """

    moved: Moved
    usd: float
    seconds: float
    by_region: Mapping[Region, RegionReport]
    retries: int
    plan: Plan = field(repr=False)
    remote_reads: Mapping[tuple[Region, Region], int | None] = field(default_factory=dict)
    seconds_moving: Mapping[tuple[Region, Region], float | None] = field(default_factory=dict)

    @property
    def nbytes_moved(self) -> int:
        """All bytes that crossed."""
        return sum(self.moved.values())

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-ready form, without the plan."""
        return {
            "moved": [
                {
                    "from": str(source),
                    "to": str(target),
                    "nbytes": nbytes,
                    "nbytes_from_stores": self.remote_reads.get((source, target), 0),
                    "usd": self.plan.costs.usd(source, target, nbytes),
                    "seconds": self.seconds_moving.get((source, target)),
                }
                for (source, target), nbytes in self.moved.items()
            ],
            "nbytes_moved": self.nbytes_moved,
            "usd": self.usd,
            "seconds": self.seconds,
            "by_region": {
                str(region): {
                    "tasks": each.tasks,
                    "seconds": each.seconds,
                    "nbytes_read": each.nbytes_read,
                }
                for region, each in self.by_region.items()
            },
            "retries": self.retries,
        }

    def __str__(self) -> str:
        from xr_locality.display.text import compare

        return compare(self)

    def _repr_html_(self) -> str:
        from xr_locality.display.html import render_report

        return render_report(self)
