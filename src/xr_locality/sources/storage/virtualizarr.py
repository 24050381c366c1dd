"""Find the files that VirtualiZarr's manifests lead to."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from xr_locality.compat.virtualizarr import manifest_paths, store_contents
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.storage.obstore import object_store_at
from xr_locality.sources.storage.references import found_at, group_by_bucket

__all__ = ["VirtualizarrFinder"]


class VirtualizarrFinder:
    """Finds what lies behind manifests, as a zarr store or as arrays of their own."""

    name = "virtualizarr"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where manifests lead; None for other objects."""
        if "virtualizarr.manifests" not in sys.modules:
            return None
        from virtualizarr.manifests import ManifestArray, ManifestStore
        from zarr.storage import StorePath

        if isinstance(obj, ManifestArray):
            return _found([obj], None)
        path = ""
        if isinstance(obj, StorePath):
            path, obj = obj.path, obj.store
        if not isinstance(obj, ManifestStore):
            return None
        group, registry = store_contents(obj)
        return _found(_arrays(group, path), registry)


def _arrays(group: Any, path: str) -> list[Any]:
    """List the arrays at and below a path."""
    name, _, rest = path.strip("/").partition("/")
    if not name:
        below = [array for inner in group.groups.values() for array in _arrays(inner, "")]
        return [*group.arrays.values(), *below]
    if name in group.arrays:
        return [group.arrays[name]]
    return _arrays(group.groups[name], rest) if name in group.groups else []


def _found(arrays: Iterable[Any], registry: Any) -> tuple[Found, ...]:
    files: dict[str, tuple[float, int | None]] = {}
    for array in arrays:
        # A million paths stay in numpy's strings; only the different ones come out.
        paths, lengths = manifest_paths(array.manifest)
        urls, which = np.unique(paths, return_inverse=True)
        counts = np.bincount(which.ravel(), minlength=len(urls))
        nbytes = np.bincount(which.ravel(), weights=lengths.ravel(), minlength=len(urls))
        for url, count, size in zip(urls.tolist(), counts.tolist(), nbytes.tolist(), strict=True):
            if "://" in url:  # Chunks left out, and those that the manifest itself holds.
                before, more = files.get(url, (0, 0))
                files[url] = (before + count, (more or 0) + round(size))
    return found_at(
        group_by_bucket(files), lambda url: _locate(registry, url), kind="virtual chunks"
    )


def _locate(registry: Any, url: str) -> Store:
    """Find a URL's store: its service and account are those of the object store that reads it."""
    place = Store.from_url(url)
    try:
        store, _ = registry.resolve(url)
    except (AttributeError, ValueError):
        return place
    service = object_store_at(store)
    if service is None or service.protocol != place.protocol or not service.bucket:
        return place
    return Store(
        protocol=place.protocol,
        bucket=service.bucket,
        path=place.path,
        endpoint_url=service.endpoint_url,
        account=service.account,
    )
