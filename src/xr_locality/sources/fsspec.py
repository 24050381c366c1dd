"""Find what fsspec's filesystems, files and mappings read from."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

from xr_locality.regions.store import Store
from xr_locality.sources.base import Found, Walk

__all__ = ["FsspecFinder", "listed_nbytes", "peel", "store_at"]

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
            store = store_at(obj, "")
            # A filesystem alone may read anything; its paths are with its callers.
            return (Found.at(store, detail="filesystem"),) if store.bucket or store.path else ()
        state = _state(obj)
        path = state.get("path")
        if issubclass(type(state.get("fs")), AbstractFileSystem) and isinstance(path, str):
            # OpenFile, AbstractBufferedFile, LocalFileOpener, MemoryFile, …
            return (Found.at(store_at(state["fs"], path), detail="file"),)
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
        kind, state = type(fs), _state(fs)
        if issubclass(kind, AsyncFileSystemWrapper):
            fs = state["sync_fs"]
        elif issubclass(kind, CachingFileSystem):
            fs = state["fs"]
        elif issubclass(kind, DirFileSystem):
            fs, path = state["fs"], "/".join(part for part in (state["path"], path) if part)
        elif issubclass(kind, AbstractArchiveFileSystem) and _state(state.get("fo")).get("fs"):
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
    state = _state(fs)
    options = dict(state.get("storage_options") or {})
    options |= {name: state[name] for name in _OPTIONS if state.get(name)}
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return Store.at(protocol, path, options)


def listed_nbytes(fs: Any, path: str, *, skip: frozenset[str]) -> int | None:
    """Ask an object store for the bytes of everything below a path.

    Parameters
    ----------
    fs : AbstractFileSystem
        Any; wrappers are peeled.
    path : str
        A path in it.
    skip : frozenset of str
        Names of files that do not count.

    Returns
    -------
    int or None
        None where the filesystem cannot list with sizes.
    """
    fs, path = peel(fs, path)
    if store_at(fs, path).protocol not in _LISTED:
        return None
    if fs.async_impl and fs.asynchronous:
        # Its twin that may be called from here. fsspec keeps one of each.
        fs = type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": False})
    files = fs.find(path, detail=True)
    sizes = [facts["size"] for name, facts in files.items() if name.rpartition("/")[2] not in skip]
    return None if None in sizes else sum(sizes)


def _state(obj: Any) -> dict[str, Any]:
    # A caching filesystem's attributes are its target's, except when read like this.
    try:
        state = object.__getattribute__(obj, "__dict__")
    except AttributeError:
        return {}
    return state if isinstance(state, dict) else {}
