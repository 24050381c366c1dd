"""The region of data on the user's own machine."""

from __future__ import annotations

from typing import Final

from xr_locality.regions.detection import Detection
from xr_locality.regions.region import LOCAL
from xr_locality.regions.store import Store

__all__ = ["LocalDetector"]

_EVIDENCE: Final = {
    "file": "a file on this machine",
    "memory": "in the memory of this process",
}


class LocalDetector:
    """Knows that files and memory are local, unless something else was said of them."""

    name = "local"

    def detect(self, store: Store) -> Detection | None:
        """Return ``local`` for a file or for memory."""
        evidence = _EVIDENCE.get(store.protocol)
        if evidence is None:
            return None
        return Detection(region=LOCAL, evidence=evidence, how=self.name)
