"""Arguments of xarray's file managers, and kinds of its backend arrays.

xarray offers no public way to see what a file manager opens. Its backend arrays and indexing
adapters are in modules without documentation. Last verified with xarray 2026.9.0.

Where a class is gone, its objects are reported by the last finder as readers of unknown
region. Where an attribute is gone, an ``AttributeError`` is raised, and the search for
sources reports the object as a source of unknown region, with one warning.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple

__all__ = [
    "ManagedFile",
    "array_manager",
    "is_file_manager",
    "is_indexing_adapter",
    "is_netcdf_array",
    "is_open_for_writing",
    "is_scipy_array",
    "managed_file",
    "stored_h5_dataset",
]


class ManagedFile(NamedTuple):
    """The call with which a file manager opens its file."""

    opener: Any
    arguments: tuple[Any, ...]
    options: Any


def managed_file(manager: Any) -> ManagedFile | None:
    """Return what a file manager, xarray's or rioxarray's, opens; None if it does not open.

    Its other attributes are not looked at: among them is the cache of all open files.
    """
    if not hasattr(manager, "_opener"):
        return None
    return ManagedFile(manager._opener, tuple(manager._args), manager._kwargs)


def is_file_manager(obj: object) -> bool:
    """Whether an object is a file manager that opens its file by a call."""
    module = "xarray.backends.file_manager"
    return isinstance(
        obj, _classes(module, "CachingFileManager") + _classes(module, "PickleableFileManager")
    )


def is_open_for_writing(manager: Any) -> bool:
    """Whether a file manager may write; one whose mode has no known name is taken to read."""
    mode = getattr(manager, "_mode", None)
    return isinstance(mode, str) and mode != "r"


def is_netcdf_array(obj: object) -> bool:
    """Whether an object is a variable of a netCDF or HDF5 file that xarray opened."""
    return isinstance(obj, _classes("xarray.backends.netCDF4_", "BaseNetCDF4Array")) or (
        is_scipy_array(obj)
    )


def is_scipy_array(obj: object) -> bool:
    """Whether an object is a variable of a netCDF 3 file that xarray opened with scipy."""
    return isinstance(obj, _classes("xarray.backends.scipy_", "ScipyArrayWrapper"))


def is_indexing_adapter(obj: object) -> bool:
    """Whether an object is one of xarray's adapters around an array."""
    return isinstance(obj, _classes("xarray.core.indexing", "ExplicitlyIndexed"))


def array_manager(array: Any) -> tuple[Any, str | None]:
    """Return the file manager of a backend array's file, and the group it is opened at."""
    datastore = array.datastore
    return datastore._manager, getattr(datastore, "_group", None)


def stored_h5_dataset(variable: Any) -> Any:
    """Return h5py's dataset of a variable of h5netcdf; None for other variables."""
    return getattr(variable, "_h5ds", None)


@cache
def _classes(module: str, name: str) -> tuple[type, ...]:
    """Return a class for ``isinstance``; an empty tuple where xarray no longer has it."""
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return ()
    return (found,) if isinstance(found, type) else ()
