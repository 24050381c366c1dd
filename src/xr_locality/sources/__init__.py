"""Sources: the data that tasks read, found in their graph."""

from xr_locality.sources.base import Found, SourceFinder
from xr_locality.sources.finders import finders, register_finder, unregister_finder
from xr_locality.sources.walk import find_clusters, find_sources, find_sources_of_each

__all__ = [
    "Found",
    "SourceFinder",
    "find_clusters",
    "find_sources",
    "find_sources_of_each",
    "finders",
    "register_finder",
    "unregister_finder",
]
