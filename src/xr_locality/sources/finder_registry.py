"""The registered kinds of objects that read from storage."""

from __future__ import annotations

import importlib.metadata
import threading
import warnings
from typing import Final

from xr_locality.errors import ConfigurationError, LocalityWarning
from xr_locality.sources.finder import SourceFinder
from xr_locality.sources.storage.dataframe import DataFrameFinder
from xr_locality.sources.storage.files import FileFinder
from xr_locality.sources.storage.fsspec import FsspecFinder
from xr_locality.sources.storage.futures import FutureFinder
from xr_locality.sources.storage.hdf5 import Hdf5Finder
from xr_locality.sources.storage.icechunk import IcechunkFinder
from xr_locality.sources.storage.kerchunk import KerchunkFinder
from xr_locality.sources.storage.netcdf import NetcdfFinder
from xr_locality.sources.storage.obstore import ObstoreFinder
from xr_locality.sources.storage.process import ProcessFinder
from xr_locality.sources.storage.raster import RasterFinder
from xr_locality.sources.storage.unknown import UnknownFinder
from xr_locality.sources.storage.virtualizarr import VirtualizarrFinder
from xr_locality.sources.storage.xarray import XarrayFinder
from xr_locality.sources.storage.zarr import ZarrFinder

__all__ = ["GROUP", "finders", "register_finder", "unregister_finder"]

#: The group of entry points in which other packages name their finders: classes, or
#: functions without arguments that make one.
GROUP: Final = "xr_locality.finders"

_lock: Final = threading.RLock()
# Kinds of stores come before zarr's own, and what nobody knows comes last.
_FINDERS: Final[list[SourceFinder]] = [
    FutureFinder(),
    ProcessFinder(),
    KerchunkFinder(),
    VirtualizarrFinder(),
    IcechunkFinder(),
    ObstoreFinder(),
    ZarrFinder(),
    NetcdfFinder(),
    RasterFinder(),
    DataFrameFinder(),
    XarrayFinder(),
    FsspecFinder(),
    Hdf5Finder(),
    FileFinder(),
    UnknownFinder(),
]
_discovered = False


def finders() -> tuple[SourceFinder, ...]:
    """Return the registered finders, in the order they are asked.

    The first call adds those that installed packages name in their entry points.
    """
    with _lock:
        _discover()
        return tuple(_FINDERS)


def _discover() -> None:
    global _discovered  # noqa: PLW0603  # Once a process, as what is installed.
    if _discovered:
        return
    _discovered = True
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            register_finder(entry.load()())
        except Exception as err:  # noqa: BLE001  # One broken package must not stop the others.
            warnings.warn(
                f"The source finder {entry.value!r} of the entry point {entry.name!r} cannot be "
                f"used, and what it would find is not found: {type(err).__name__}: {err}",
                LocalityWarning,
                stacklevel=3,
            )


def register_finder(finder: SourceFinder) -> None:
    """Add a finder, and ask it before those that are there.

    Parameters
    ----------
    finder : SourceFinder
        Its name must be free.

    Raises
    ------
    ConfigurationError
        If the name is taken.
    """
    with _lock:
        if any(each.name == finder.name for each in _FINDERS):
            raise ConfigurationError(
                f"There is a source finder {finder.name!r} already. Unregister it first."
            )
        _FINDERS.insert(0, finder)


def unregister_finder(name: str) -> None:
    """Remove a finder.

    Parameters
    ----------
    name : str
        Its name.

    Raises
    ------
    ConfigurationError
        If no finder has that name.
    """
    with _lock:
        for finder in _FINDERS:
            if finder.name == name:
                _FINDERS.remove(finder)
                return
        names = ", ".join(finder.name for finder in _FINDERS)
    raise ConfigurationError(f"No source finder is called {name!r}; there are {names}.")
