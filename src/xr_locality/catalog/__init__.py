"""Catalogs: Intake's drivers and readers, region tags, and rules from any catalog."""

from xr_locality.catalog.check import CheckedEntry, check
from xr_locality.catalog.edit import TaggedFile, tag_file
from xr_locality.catalog.learn import Learned, learn

__all__ = ["CheckedEntry", "Learned", "TaggedFile", "check", "learn", "tag_file"]
