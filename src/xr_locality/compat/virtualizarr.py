"""Contents of VirtualiZarr's manifests and manifest stores.

A ``ManifestStore`` has no public attribute for its group and its registry of object stores.
A ``ChunkManifest`` offers its references one by one only, where a million of them are needed
as arrays. Last verified with VirtualiZarr 2.5.1 and 2.8.0.

Where a name is gone, an ``AttributeError`` is raised, and the search for sources reports the
store as a source of unknown region, with one warning.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["manifest_paths", "store_contents"]


def store_contents(store: Any) -> tuple[Any, Any]:
    """Return the group and the registry of object stores of a ``ManifestStore``."""
    return store._group, store._registry


def manifest_paths(manifest: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the paths and the lengths in bytes of a manifest's chunks, of the grid's shape."""
    return manifest._paths, manifest._lengths
