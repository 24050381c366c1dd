"""Catalogs: Intake's drivers and readers, region tags, and rules from any catalog."""

from xr_locality.catalog.learn import Learned, learn

__all__ = ["Learned", "learn"]
