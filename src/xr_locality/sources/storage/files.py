"""Find the files that Python itself has open."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from xr_locality.compat.fsspec import attributes, open_instances
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.stored_bytes import ask_once

__all__ = ["FileFinder", "local_file"]


class FileFinder:
    """Finds open files and memory-mapped arrays of this machine."""

    name = "files"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an open file lies; None for other objects."""
        if isinstance(obj, np.memmap):
            name = obj.filename
            return () if name is None else (local_file(os.fspath(name), obj),)
        if not isinstance(
            obj, io.FileIO | io.BufferedReader | io.BufferedRandom | io.TextIOWrapper
        ):
            return None
        if not isinstance(obj.name, str):
            # Pipes and sockets are named by number, and lie nowhere.
            return ()
        return (local_file(obj.name, obj),)


def local_file(path: str, reader: object) -> Found:
    """Find a file of this machine.

    Parameters
    ----------
    path : str
        Where it lies.
    reader : object
        What reads it.

    Returns
    -------
    Found
        Of unknown place if it is a cache's copy of a file that lies elsewhere: no
        other machine has it, and nothing tells what it was copied from.
    """
    directory = str(Path(path).absolute().parent)
    if any(directory == cache for cache in _caches()):
        return Found.unknown(reader, detail="a local copy that one of fsspec's caches made")
    nbytes = ask_once(path, lambda: Path(path).stat().st_size)
    return replace(Found.at(Store.at("file", path), detail="file"), stored_nbytes=nbytes)


def _caches() -> Iterator[str]:
    """List the directories where fsspec keeps copies of whole files."""
    if "fsspec.implementations.cached" not in sys.modules:
        return
    from fsspec.implementations.cached import SimpleCacheFileSystem, WholeFileCacheFileSystem

    for kind in (WholeFileCacheFileSystem, SimpleCacheFileSystem):
        for fs in open_instances(kind):
            yield from map(os.path.abspath, attributes(fs)["storage"])
