"""Find the files that dask DataFrames are read from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final
from weakref import WeakKeyDictionary

from xr_locality.compat.parquet import fragment_of, packed_fragment, s3_endpoint
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.storage.fsspec import callable_here, store_at
from xr_locality.sources.stored_bytes import ask_once
from xr_locality.sources.traversal import Task

__all__ = ["DataFrameFinder"]

_ARROW: Final = {"s3": "s3", "gcs": "gs", "abfs": "az", "local": "file"}


class DataFrameFinder:
    """Finds the files of ``read_parquet``, with fsspec's filesystems and pyarrow's.

    What ``read_csv`` and others read as bytes are fsspec's files. Parquet files of
    one directory are one group, whatever partitions (``year=2020/``) they are in.
    """

    name = "dataframe"
    #: The files of a task are its argument, and their filesystem is its function's.
    calls = frozenset({"ParquetFunctionWrapper"})

    def __init__(self) -> None:
        # Sizes of files, for each filesystem and directory that was asked for.
        self._listed: WeakKeyDictionary[Any, dict[str, dict[str, int | None]]] = WeakKeyDictionary()

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where pieces of a DataFrame are; None for other objects."""
        if isinstance(obj, Task):
            return self._pieces(obj)
        package, _, rest = type(obj).__module__.partition(".")
        if package == "pyarrow":
            return _arrow(obj)
        if package == "dask" and "parquet" in rest and type(obj).__name__ == "FragmentWrapper":
            fragment, nbytes = fragment_of(obj)
            return _packed(obj) if fragment is None else _fragment(fragment, nbytes)
        return None

    def _pieces(self, task: Task) -> Iterable[Found] | None:
        function: Any = task.func
        kind = type(function)
        if kind.__name__ != "ParquetFunctionWrapper" or not kind.__module__.startswith("dask."):
            return None
        parts = task.args[0] if task.args else ()
        parts = parts if isinstance(parts, list | tuple) else [parts]
        found = []
        for part in parts:
            path = part["piece"][0] if isinstance(part, dict) and "piece" in part else None
            if not isinstance(path, str):
                return (Found.unknown(function, detail="parquet"),)
            found.append(_piece(store_at(function.fs, path), ask=self._question(function.fs, path)))
        return found

    def _question(self, fs: Any, path: str) -> Callable[[], int | None]:
        directory = path.rpartition("/")[0]

        def ask() -> int | None:
            # One listing for all files of a directory.
            known = self._listed.setdefault(fs, {})
            if directory not in known:
                entries = callable_here(fs).ls(directory, detail=True)
                known[directory] = {entry["name"]: entry["size"] for entry in entries}
            return known[directory].get(path)

        return ask


def _piece(store: Store, *, ask: Callable[[], int | None]) -> Found:
    directory = store.path.rpartition("/")[0]
    while "=" in directory.rpartition("/")[2]:
        directory = directory.rpartition("/")[0]
    group = replace(store, path=directory)
    found = Found(store=store, group=group, detail="parquet file")
    return replace(found, stored_nbytes=ask_once(store.url, ask))


def _arrow(obj: Any) -> Iterable[Found] | None:
    """Find what pyarrow's fragments, datasets and filesystems read."""
    if "pyarrow.dataset" not in sys.modules:
        return None
    import pyarrow.dataset
    from pyarrow.fs import FileSystem, SubTreeFileSystem

    if isinstance(obj, pyarrow.dataset.FileFragment):
        return _fragment(obj, None)
    if isinstance(obj, pyarrow.dataset.FileSystemDataset):
        return [_arrow_piece(obj.filesystem, path, None) for path in obj.files]
    if isinstance(obj, SubTreeFileSystem):
        return (Found.at(_arrow_store(obj, ""), detail="directory"),)
    if isinstance(obj, FileSystem):
        return ()  # A filesystem alone may read anything.
    return None


def _arrow_piece(fs: Any, path: str, nbytes: int | None) -> Found:
    def ask() -> int | None:
        size: int | None = nbytes if nbytes is not None else fs.get_file_info(path).size
        return size

    return _piece(_arrow_store(fs, path), ask=ask)


def _fragment(fragment: Any, nbytes: int | None) -> Iterable[Found]:
    if not fragment.path:  # In memory.
        return ()
    return (_arrow_piece(fragment.filesystem, fragment.path, nbytes),)


def _packed(wrapper: Any) -> Iterable[Found]:
    packed = packed_fragment(wrapper)
    if not isinstance(packed.path, str):  # In memory.
        return ()
    if packed.filesystem is None:
        return (Found.unknown(wrapper, detail="parquet"),)
    return (_arrow_piece(packed.filesystem, packed.path, packed.nbytes),)


def _arrow_store(fs: Any, path: str) -> Store:
    from pyarrow.fs import PyFileSystem, SubTreeFileSystem

    while isinstance(fs, SubTreeFileSystem):
        path = "/".join(part.strip("/") if part is path else part for part in (fs.base_path, path))
        fs = fs.base_fs
    if isinstance(fs, PyFileSystem):
        return store_at(fs.handler.fs, path)
    options: dict[str, Any] = {}
    if fs.type_name == "s3":
        options["endpoint_url"] = s3_endpoint(fs)
    return Store.at(_ARROW.get(fs.type_name, fs.type_name), path, options)
