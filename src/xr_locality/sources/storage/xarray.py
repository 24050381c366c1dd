"""Find what xarray's objects and file managers read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr
from xarray.backends.file_manager import CachingFileManager, PickleableFileManager

from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk

__all__ = ["XarrayFinder"]


class XarrayFinder:
    """Finds what xarray opened lazily, with or without chunks."""

    name = "xarray"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an object of xarray's reads from; None for other objects."""
        if isinstance(obj, xr.Dataset):
            return walk([variable._data for variable in obj.variables.values()])
        if isinstance(obj, xr.DataArray):
            coordinates = (coordinate.variable for coordinate in obj.coords.values())
            return walk([variable._data for variable in (obj.variable, *coordinates)])
        if isinstance(obj, CachingFileManager | PickleableFileManager):
            return _managed(obj, walk)
        return None


def _managed(manager: Any, walk: Walk) -> Iterable[Found]:
    # Not the manager's other attributes: among them is the cache of all open files.
    arguments = manager._args
    found = list(walk([manager._opener, arguments, manager._kwargs]))
    if arguments and isinstance(arguments[0], str):
        found.append(Found.at(Store.from_url(arguments[0]), detail="file"))
    return found
