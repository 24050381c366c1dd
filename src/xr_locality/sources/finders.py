"""The registered kinds of objects that read from storage."""

from __future__ import annotations

import threading
from typing import Final

from xr_locality.errors import ConfigurationError
from xr_locality.sources.base import SourceFinder
from xr_locality.sources.files import FileFinder
from xr_locality.sources.fsspec import FsspecFinder
from xr_locality.sources.xarray import XarrayFinder
from xr_locality.sources.zarr import ZarrFinder

__all__ = ["finders", "register_finder", "unregister_finder"]

_lock: Final = threading.Lock()
_FINDERS: Final[list[SourceFinder]] = [
    ZarrFinder(),
    XarrayFinder(),
    FsspecFinder(),
    FileFinder(),
]


def finders() -> tuple[SourceFinder, ...]:
    """Return the registered finders, in the order they are asked."""
    with _lock:
        return tuple(_FINDERS)


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
