"""Find the files of h5py's and netCDF4's own objects."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.storage.files import local_file
from xr_locality.sources.stored_bytes import ask_once

__all__ = ["Hdf5Finder"]

_LOCAL_DRIVERS: Final = frozenset({"sec2", "stdio", "split", "family", "mpio", "direct"})


class Hdf5Finder:
    """Finds files, groups and datasets of h5py, and datasets and variables of netCDF4."""

    name = "hdf5"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return the file of an object; None for other objects."""
        if "h5py" in sys.modules:
            import h5py

            if isinstance(obj, h5py.Group | h5py.Dataset):
                return _of_h5py(obj) if obj else (_closed(obj),)
        if "netCDF4" in sys.modules:
            import netCDF4

            if isinstance(obj, netCDF4.Variable | netCDF4.Dataset):
                return _of_netcdf4(obj)
        return None


def _closed(obj: object) -> Found:
    return Found.unknown(obj, detail="a file that is closed")


def _of_h5py(obj: Any) -> Iterable[Found]:
    import h5py

    file = obj.file
    if file.driver == "core" and not file.id.get_access_plist().get_fapl_core()[1]:
        return ()  # In memory.
    if file.driver == "ros3":
        found = Found.at(Store.from_url(file.filename), detail="HDF5 file")
    elif file.driver in _LOCAL_DRIVERS or file.driver == "core":
        found = local_file(file.filename, obj)
    else:
        # HDF5 does not give back the Python file that it reads.
        return (Found.unknown(obj, detail=f"HDF5 file on a Python file ({file.driver})"),)
    if not isinstance(obj, h5py.Dataset):
        return (replace(found, detail="HDF5 file"),)
    return (
        found.inside(
            obj.name,
            detail=f"HDF5 dataset {obj.name!r}",
            array_nbytes=int(obj.nbytes),
            itemsize=obj.dtype.itemsize,
            stored_nbytes=ask_once(obj.name, lambda: int(obj.id.get_storage_size())),
        ),
    )


def _of_netcdf4(obj: Any) -> Iterable[Found]:
    import netCDF4

    variable = obj if isinstance(obj, netCDF4.Variable) else None
    group = obj if variable is None else variable.group()
    if not group.isopen():
        return (_closed(obj),)
    name = group.filepath()
    found = Found.at(Store.from_url(name)) if "://" in name else local_file(name, obj)
    if variable is None:
        return (replace(found, detail="netCDF file"),)
    path = f"{group.path}/{variable.name}"
    return (found.inside(path, detail=f"netCDF variable {variable.name!r}"),)
