"""Instances and references that fsspec keeps.

fsspec names no public attribute for the filesystems that it keeps open, for the chunk grid of
an array of references in parquet, or for a filesystem's own spelling of a URL. The attributes
of its caching filesystems answer for the filesystem behind the cache, unless they are read
past ``__getattribute__``. Last verified with fsspec 2026.9.0.

Where a name is gone, an ``AttributeError`` is raised, and the search for sources reports the
object as a source of unknown region, with one warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["attributes", "open_instances", "reference_grid", "strip_protocol"]


def attributes(obj: object) -> dict[str, Any]:
    """Return an object's own attributes, also those of a caching filesystem."""
    try:
        state = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return {}
    return state if isinstance(state, dict) else {}


def open_instances(kind: Any) -> list[Any]:
    """Return the filesystems of a class that fsspec keeps open."""
    return list(kind._cache.values())


def strip_protocol(fs: Any, url: str) -> str:
    """Return a URL as a path in a filesystem."""
    path: str = fs._strip_protocol(url)
    return path


def reference_grid(mapper: Any, field: str) -> Sequence[int]:
    """Return how many chunks an array of references in parquet has along each axis."""
    grid: Sequence[int] = mapper._get_chunk_sizes(field)
    return grid
