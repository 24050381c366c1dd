"""Find the files that xarray's netCDF and HDF5 variables are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from xr_locality.compat.xarray_backends import (
    array_manager,
    is_netcdf_array,
    is_scipy_array,
    stored_h5_dataset,
)
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.stored_bytes import ask_once

__all__ = ["NetcdfFinder", "is_variable"]

_DETAIL: Final = "netCDF variable"


class NetcdfFinder:
    """Finds variables that xarray opened with h5netcdf, netcdf4 or scipy.

    Each is a place of its own inside of its file, which says how much of the file
    it is.
    """

    name = "netcdf"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where a variable is; None for other objects."""
        if not is_netcdf_array(obj):
            return None
        array: Any = obj
        manager, group = array_manager(array)
        variable = array.variable_name
        path = "/".join(part.strip("/") for part in (group, variable) if part)
        nbytes = _nbytes(array)
        return [
            each.inside(
                path,
                detail=f"{_DETAIL} {variable!r}",
                array_nbytes=nbytes,
                itemsize=None if nbytes is None else np.dtype(array.dtype).itemsize,
                stored_nbytes=ask_once(variable, _question(array, each.stored_nbytes, nbytes)),
            )
            for each in walk(manager)
        ]


def is_variable(found: Found) -> bool:
    """Say whether something found is a variable in a file."""
    return found.detail.startswith(_DETAIL)


def _nbytes(array: Any) -> int | None:
    dtype = np.dtype(array.dtype)
    # Strings and other objects are of any size.
    return None if dtype.hasobject else int(np.prod(array.shape, dtype=int)) * dtype.itemsize


def _question(
    array: Any, file_nbytes: Callable[[], int | None], nbytes: int | None
) -> Callable[[], int | None]:
    if is_scipy_array(array):
        # netCDF 3 compresses nothing.
        return lambda: nbytes

    def ask() -> int | None:
        variables = array.datastore.ds.variables
        inside = stored_h5_dataset(variables[array.variable_name])
        if inside is not None:
            return int(inside.id.get_storage_size())
        # netCDF4 does not say: the file, shared by its variables' sizes in memory.
        whole = file_nbytes()
        if whole is None or nbytes is None:
            return None
        sizes = [int(each.size) * np.dtype(each.dtype).itemsize for each in variables.values()]
        return int(whole * nbytes / max(1, sum(sizes)))

    return ask
