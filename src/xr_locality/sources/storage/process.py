"""Finder of objects that have no meaning outside this process."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable
from typing import Any, Final

from xr_locality.compat.xarray_backends import is_file_manager, is_open_for_writing
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.storage.hdf5 import Hdf5Finder

__all__ = ["PROCESS", "ProcessFinder", "is_plain_file"]

#: The protocol of objects of this process, which no URL names.
PROCESS: Final = "process"

#: Files that are read through another open file, or that vanish when they are closed.
_FILES: Final = (
    gzip.GzipFile,
    bz2.BZ2File,
    lzma.LZMAFile,
    tarfile.ExFileObject,
    zipfile.ZipExtFile,
    io.BufferedRandom,
    io.BufferedWriter,
)


class ProcessFinder:
    """Finds files that are open for writing, members of archives, and the like.

    Tasks that hold such objects run in this process, on the objects themselves.
    """

    name = "process"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return a mark and what the object reads; None for objects of other kinds."""
        if is_file_manager(obj):
            return (_mark(obj),) if is_open_for_writing(obj) else None
        if _is_open_hdf5(obj):
            return (_mark(obj), *(Hdf5Finder().find(obj, walk) or ()))
        if isinstance(obj, _FILES) or _is_temporary(obj) or _is_part(obj):
            return (_mark(obj), *walk(_inside(obj)))
        return None


def is_plain_file(obj: object) -> bool:
    """Whether an object is a file of a path, so that it may be opened again by that."""
    return (
        type(obj) is io.BufferedReader and isinstance(obj.name, str) and type(obj.raw) is io.FileIO
    )


def _is_part(obj: object) -> bool:
    """Whether an object reads a part of another file, as members of archives do."""
    return (
        isinstance(obj, io.BufferedReader) and isinstance(obj.name, str) and not is_plain_file(obj)
    )


def _is_temporary(obj: object) -> bool:
    kind = type(obj)
    return (kind.__module__, kind.__name__) == ("tempfile", "_TemporaryFileWrapper")


def _is_open_hdf5(obj: object) -> bool:
    """Whether an object is h5py's or netCDF4's own, which cannot be pickled."""
    kind = type(obj)
    return kind.__module__.partition(".")[0] in ("h5py", "netCDF4") and kind.__name__ in (
        "Dataset",
        "File",
        "Group",
        "Variable",
    )


def _mark(obj: object) -> Found:
    kind = type(obj)
    place = Store(protocol=PROCESS, bucket=f"{kind.__module__}.{kind.__qualname__}")
    return Found.at(place / f"{id(obj):x}", detail="of this process")


def _inside(obj: Any) -> list[object]:
    """List the files that a file reads."""
    names = ("fileobj", "raw", "file", "_fp", "_fileobj", "_file", "buffer")
    return [each for name in names if (each := _attribute(obj, name)) is not None]


def _attribute(obj: Any, name: str) -> Any:
    try:
        return object.__getattribute__(obj, name)
    except (AttributeError, ValueError):
        return None
