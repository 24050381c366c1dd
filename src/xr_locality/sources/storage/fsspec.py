"""Find what fsspec's filesystems, files and mappings read from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from xr_locality.compat.fsspec import attributes
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.stored_bytes import ask_once

__all__ = ["FsspecFinder", "callable_here", "listed_nbytes", "peel", "store_at"]

_OPTIONS: Final = (
    "account_host",
    "account_name",
    "client_kwargs",
    "connection_string",
    "endpoint_url",
    "host",
    "port",
)
# Where one listing tells the size of every object below a prefix.
_LISTED: Final = frozenset({"az", "file", "gs", "memory", "s3"})
_DEEPEST: Final = 16


class FsspecFinder:
    """Finds fsspec's filesystems, open files, files to open and mappings."""

    name = "fsspec"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an object of fsspec's reads from; None for other objects."""
        if "fsspec" not in sys.modules:
            return None
        from fsspec import AbstractFileSystem
        from fsspec.mapping import FSMap

        if isinstance(obj, FSMap):
            return (Found.at(store_at(obj.fs, obj.root), detail="fsspec mapping"),)
        if issubclass(type(obj), AbstractFileSystem):
            inner, directory = peel(obj, "")
            # A filesystem alone may read anything; its paths are with its callers.
            return (Found.at(store_at(inner, directory), detail="directory"),) if directory else ()
        state = attributes(obj)
        fs, path = state.get("fs"), state.get("path")
        if issubclass(type(fs), AbstractFileSystem) and isinstance(path, str):
            # OpenFile, AbstractBufferedFile, LocalFileOpener, MemoryFile, …
            found = Found.at(store_at(fs, path), detail="file")
            return (replace(found, stored_nbytes=_nbytes(*peel(fs, path))),)
        return None


def peel(fs: Any, path: str) -> tuple[Any, str]:
    """Take off the filesystems that only wrap another.

    Parameters
    ----------
    fs : AbstractFileSystem
        Caches, directories, archives and asynchronous wrappers are peeled.
    path : str
        A path in `fs`.

    Returns
    -------
    fs : AbstractFileSystem
        The one that holds the bytes.
    path : str
        The same place in it; for an archive, the archive.
    """
    from fsspec.archive import AbstractArchiveFileSystem
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.cached import CachingFileSystem
    from fsspec.implementations.dirfs import DirFileSystem

    for _ in range(_DEEPEST):
        kind, state = type(fs), attributes(fs)
        if issubclass(kind, AsyncFileSystemWrapper):
            fs = state["sync_fs"]
        elif issubclass(kind, CachingFileSystem):
            fs = state["fs"]
        elif issubclass(kind, DirFileSystem):
            fs, path = state["fs"], "/".join(part for part in (state["path"], path) if part)
        elif issubclass(kind, AbstractArchiveFileSystem) and attributes(state.get("fo")).get("fs"):
            fs, path = state["fo"].fs, state["fo"].path
        else:
            break
    return fs, path


def store_at(fs: Any, path: str) -> Store:
    """Return the store that a path in a filesystem is.

    Parameters
    ----------
    fs : AbstractFileSystem
        Any; wrappers are peeled.
    path : str
        A path in it.

    Returns
    -------
    Store
    """
    fs, path = peel(fs, path)
    state = attributes(fs)
    options = dict(state.get("storage_options") or {})
    options |= {name: state[name] for name in _OPTIONS if state.get(name)}
    if options.get("endpoint"):  # obstore's word for it.
        options.setdefault("endpoint_url", options["endpoint"])
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return Store.at(protocol, path, options)


def listed_nbytes(fs: Any, path: str, *, skip: Callable[[str], bool]) -> int | None:
    """Ask an object store for the bytes of everything below a path.

    Parameters
    ----------
    fs : AbstractFileSystem
        Any; wrappers are peeled.
    path : str
        A path in it.
    skip : callable
        Says of a file's path whether it does not count.

    Returns
    -------
    int or None
        None where the filesystem cannot list with sizes.
    """
    fs, path = peel(fs, path)
    if store_at(fs, path).protocol not in _LISTED:
        return None
    files = callable_here(fs).find(path, detail=True)
    sizes = [facts["size"] for name, facts in files.items() if not skip(name)]
    return None if None in sizes else sum(sizes)


def callable_here(fs: Any) -> Any:
    """Return a filesystem, or its twin, that may be called outside of an event loop."""
    if fs.async_impl and fs.asynchronous:
        # fsspec keeps one of each.
        return type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": False})
    return fs


def _nbytes(fs: Any, path: str) -> Callable[[], int | None]:
    """Make a question for the size of a file."""
    return ask_once(f"a file in {type(fs).__name__}", lambda: callable_here(fs).size(path))
