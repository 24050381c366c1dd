"""Regions from tags: set by hand, or by the catalog that a source came from."""

from __future__ import annotations

from xr_locality.regions.detection import Detection
from xr_locality.regions.detectors.hostnames import as_bucket
from xr_locality.regions.store import Store
from xr_locality.regions.tag_registry import REGISTRY, Kind, TagRegistry

__all__ = ["TagDetector"]


class TagDetector:
    """Knows a region from the tags of one kind.

    Parameters
    ----------
    name : str
        Name of the detector.
    kind : {"hand", "catalog"}
        Whose tags.
    registry : TagRegistry, optional
        Where to look; by default the one of the process.
    """

    def __init__(self, name: str, *, kind: Kind, registry: TagRegistry = REGISTRY) -> None:
        self.name = name
        self._kind: Kind = kind
        self._registry = registry

    def detect(self, store: Store) -> Detection | None:
        """Return what the tag of `store`, or of a prefix above it, says."""
        tag = self._registry.find(store, kind=self._kind)
        if tag is None and (bucket := as_bucket(store)) is not store:
            tag = self._registry.find(bucket, kind=self._kind)
        if tag is None:
            return None
        return Detection(
            region=tag.region,
            evidence=tag.evidence,
            how=self.name,
            requester_pays=tag.requester_pays,
            leaves=tag.leaves,
            replicas=tag.replicas,
        )
