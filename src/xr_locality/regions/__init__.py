"""Regions: their names, and how the region of a store is known."""

from xr_locality.regions.chain import (
    Chain,
    detectors,
    register_detector,
    unregister_detector,
)
from xr_locality.regions.detection import Detection, Detector
from xr_locality.regions.detectors.rules import Rule, Rules
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Leaves, Replica, Tag
from xr_locality.regions.tag_registry import REGISTRY, TagRegistry

__all__ = [
    "LOCAL",
    "REGISTRY",
    "Chain",
    "Detection",
    "Detector",
    "Leaves",
    "Region",
    "Replica",
    "Rule",
    "Rules",
    "Store",
    "Tag",
    "TagRegistry",
    "detectors",
    "register_detector",
    "unregister_detector",
]
