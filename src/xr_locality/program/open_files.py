"""Files that are open in this process, so that workers elsewhere open them again.

Most open files are pickled as what opens them. Others are not: a netCDF 3 file that
scipy has read from an open file is pickled with all of its data, as a class that other
processes lack; Azure's files can be pickled once, and not again by the scheduler; and
Python's own, such as those of caches, cannot.
"""

from __future__ import annotations

import io
import pickle
import sys
from functools import partial
from operator import methodcaller
from typing import Any

import cloudpickle
from dask.highlevelgraph import Layer
from xarray.backends import CachingFileManager, FileManager
from xarray.backends.file_manager import DummyFileManager

from xr_locality.program.retarget import swap
from xr_locality.sources.storage.process import is_plain_file

__all__ = ["reopening"]


def reopening(layer: Layer) -> Layer:
    """Make a layer open files again where it is unpickled.

    Parameters
    ----------
    layer : Layer
        One that reads files; others are returned as they are.

    Returns
    -------
    Layer
        To be pickled and not to be run: what is in the place of open files is not one
        before it is unpickled.
    """
    return swap(layer, _instead)


class _Pickled:
    """Stands for an object that is pickled already, and is it where it is unpickled."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._content,)


class _Opened:
    """Is a newly opened file where it is unpickled."""

    def __init__(self, fs: Any, path: str, **options: Any) -> None:
        self._fs = fs
        self._open = methodcaller("open", path, mode="rb", **options)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._open, (self._fs,)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # cloudpickle has no types.
    """Pickles files as what opens them."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.reopened = False

    def reducer_override(self, obj: Any) -> Any:
        """Say how to make an open file; leave all else to others."""
        reduced = _reduced(obj)
        if reduced is None:
            return super().reducer_override(obj)
        self.reopened = True
        return reduced


def _instead(obj: Any) -> _Pickled | None:
    if not isinstance(obj, FileManager):
        return None
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(obj)
    return _Pickled(stream.getvalue()) if pickler.reopened else None


def _reduced(obj: Any) -> tuple[Any, ...] | None:
    if isinstance(obj, DummyFileManager):
        return _reduced_netcdf3(obj.acquire())
    if is_plain_file(obj):
        # By its path, which those who open such files take as well.
        return str, (obj.name,)

    # What fsspec opens again is told its size, and told it twice when that is pickled.
    if _is_azures(obj):
        cache = "none" if obj.cache is None else obj.cache.name
        opened = _Opened(obj.fs, obj.path, block_size=obj.blocksize, cache_type=cache)
        return opened.__reduce__()
    return None


def _reduced_netcdf3(dataset: Any) -> tuple[Any, ...] | None:
    from scipy.io import netcdf_file

    if not isinstance(dataset, netcdf_file):
        return None
    options = {"mmap": False, "version": dataset.version_byte}
    opening = partial(CachingFileManager, mode="r", kwargs=options)
    if is_plain_file(dataset.fp):
        return opening, (netcdf_file, dataset.fp)
    fs, path = (getattr(dataset.fp, name, None) for name in ("fs", "path"))
    if fs is None or not isinstance(path, str):
        return None
    return opening, (netcdf_file, _Opened(fs, path))


def _is_azures(obj: Any) -> bool:
    # A module that nobody has imported has opened no file.
    spec = sys.modules.get("fsspec.spec")
    return (
        spec is not None and isinstance(obj, spec.AbstractBufferedFile) and "az" in obj.fs.protocol
    )
