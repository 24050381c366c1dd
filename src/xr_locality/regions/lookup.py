"""What is known of one place: its region and why, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xr_locality.regions.detection import Detection
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store

__all__ = ["Lookup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What is known of a place."""

    store: Store
    #: None where nobody knows its region.
    detection: Detection | None
    #: How the region is known, or why it is not.
    evidence: str

    @property
    def url(self) -> str:
        """The place's URL, with its endpoint and without anything secret."""
        return str(self.store)

    @property
    def region(self) -> Region | None:
        """The region; None where nobody knows."""
        return None if self.detection is None else self.detection.region

    @property
    def conflicts(self) -> tuple[Detection, ...]:
        """What others say who contradict it."""
        return () if self.detection is None else self.detection.conflicts

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        detection = self.detection
        return {
            "url": self.url,
            "region": None if detection is None else str(detection.region),
            "evidence": self.evidence,
            "how": None if detection is None else detection.how,
            "requester_pays": None if detection is None else detection.requester_pays,
            "leaves": None if detection is None else detection.leaves,
            "access": None if detection is None else detection.access,
            "conflicts": [
                {"region": str(each.region), "evidence": each.evidence, "how": each.how}
                for each in self.conflicts
            ],
        }

    def to_text(self) -> str:
        """Return it as lines for people."""
        lines = [self.url, f"  {self.region or 'unknown'}: {self.evidence}"]
        lines += [f"  but {each.region}: {each.evidence}" for each in self.conflicts]
        if self.detection is not None and self.detection.requester_pays:
            lines.append("  the reader pays for requests and egress")
        return "\n".join(lines)
