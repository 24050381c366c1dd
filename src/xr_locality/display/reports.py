"""Reports as a user sees them: a record with text, HTML and a JSON-ready form."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self

from xr_locality.display.plans import Plan
from xr_locality.execution.metrics.report import ReportRecord

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report(ReportRecord):
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
        Stored bytes that workers read from another region; None where they were not
        counted, and then they are in no other figure. What a lost worker had read in
        its last second is not counted.
    seconds_moving : mapping of (Region, Region) to float or None
        For how long something was moving between two regions; None where unknown.
    """

    plan: Plan = field(repr=False)

    @classmethod
    def from_record(cls, record: ReportRecord, *, plan: Plan) -> Self:
        """Make a report of a record.

        Parameters
        ----------
        record : ReportRecord
            As the execution made it.
        plan : Plan
            The plan that was executed, as its user has it.

        Returns
        -------
        Report
        """
        values = {each.name: getattr(record, each.name) for each in fields(ReportRecord)}
        return cls(**{**values, "plan": plan})

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
        from xr_locality.display.run_page import run_page
        from xr_locality.display.text import lay_out

        return lay_out(run_page(self))

    def _repr_html_(self) -> str:
        from xr_locality.display.html import render
        from xr_locality.display.run_page import run_page

        return render(run_page(self))
