"""Sources: the data that tasks read, found in their graph."""

from xr_locality.sources.finder import Found, SourceFinder
from xr_locality.sources.finder_registry import finders, register_finder, unregister_finder
from xr_locality.sources.search import find_clusters, find_sources, find_sources_of_each

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
