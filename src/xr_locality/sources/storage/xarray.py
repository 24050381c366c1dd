"""Find what xarray's objects and file managers read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xr_locality.compat.xarray_backends import is_file_manager, managed_file
from xr_locality.compat.xarray_variables import data_of
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk

__all__ = ["XarrayFinder"]


class XarrayFinder:
    """Finds what xarray opened lazily, with or without chunks."""

    name = "xarray"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an object of xarray's reads from; None for other objects."""
        if isinstance(obj, xr.Dataset):
            return walk([data_of(variable) for variable in obj.variables.values()])
        if isinstance(obj, xr.DataArray):
            coordinates = (coordinate.variable for coordinate in obj.coords.values())
            return walk([data_of(variable) for variable in (obj.variable, *coordinates)])
        if is_file_manager(obj):
            return _managed(obj, walk)
        return None


def _managed(manager: Any, walk: Walk) -> Iterable[Found]:
    file = managed_file(manager)
    if file is None:
        return [Found.unknown(manager, detail="file manager")]
    arguments = file.arguments
    named = bool(arguments) and isinstance(arguments[0], str)
    found = list(walk([file.opener, arguments[named:], file.options]))
    if named:
        found.append(Found.at(Store.from_url(arguments[0]), detail="file"))
    return found
