"""A small read of each source, made from the very objects that a graph holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from io import IOBase
from typing import Any, Final

from dask.highlevelgraph import Layer
from xarray.backends.file_manager import CachingFileManager

from xr_locality.execution import remote
from xr_locality.graph.layers import embedded_objects
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found
from xr_locality.sources.search import find_readers
from xr_locality.sources.storage.fsspec import callable_here, peel
from xr_locality.sources.traversal import Task

__all__ = ["Read", "reads_of"]

#: Sources of one bucket that are read from; they are opened with the same credentials.
_MOST_IN_A_BUCKET: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A read of a little of one source."""

    #: The source.
    store: Store
    #: Reads; raises whatever is wrong. It holds the store's credentials.
    try_out: Callable[[], None] = field(repr=False)


def reads_of(layers: Iterable[Layer]) -> list[Read]:
    """Make a small read of each source that some layers hold.

    Parameters
    ----------
    layers : iterable of Layer
        Those that hold what reads, of one region.

    Returns
    -------
    list of Read
        One for each source, in the order met, of at most 20 in a bucket. Kinds of objects
        of which no small read is known are left out.
    """
    objects = (held for layer in layers for held in embedded_objects(layer))
    reads: dict[Store, Read] = {}
    n_in: dict[tuple[str, str, str | None, str | None], int] = {}
    for reader, found in find_readers(objects):
        store = found[0].group
        if store in reads or store.protocol == "memory":
            continue
        try_out = _way_to_read(reader, found[0])
        bucket = (store.protocol, store.bucket, store.endpoint_url, store.account)
        if try_out is None or n_in.get(bucket, 0) >= _MOST_IN_A_BUCKET:
            continue
        n_in[bucket] = n_in.get(bucket, 0) + 1
        reads[store] = Read(store=store, try_out=try_out)
    return list(reads.values())


def _way_to_read(reader: Any, found: Found) -> Callable[[], None] | None:
    for way in _WAYS:
        if (try_out := way(reader, found)) is not None:
            return try_out
    return None


def _zarr(reader: Any, found: Found) -> Callable[[], None] | None:
    if "zarr" not in sys.modules:
        return None
    import zarr
    from zarr.storage import FsspecStore, LocalStore, WrapperStore, ZipStore

    if not isinstance(reader, zarr.Array):
        return None
    store = reader.store_path.store
    while isinstance(store, WrapperStore):
        store = store._store
    plain = isinstance(store, LocalStore | ZipStore) or type(store).__name__ == "ObjectStore"
    if isinstance(store, FsspecStore):
        plain = type(peel(store.fs, store.path)[0]).__name__ != "ReferenceFileSystem"
    return partial(remote.read_zarr, reader, not plain)


def _fsspec(reader: Any, found: Found) -> Callable[[], None] | None:
    if "fsspec" not in sys.modules:
        return None
    from fsspec.core import OpenFile

    # Files that are open, or to be opened; not what maps a directory.
    if not isinstance(reader, OpenFile | IOBase) or not hasattr(reader, "fs"):
        return None
    file: Any = reader
    fs, path = peel(file.fs, file.path)
    return partial(remote.read_file, callable_here(fs), path)


def _managed(reader: Any, found: Found) -> Callable[[], None] | None:
    if not isinstance(reader, CachingFileManager):
        return None
    return partial(remote.open_managed, reader)


def _parquet(reader: Any, found: Found) -> Callable[[], None] | None:
    if isinstance(reader, Task) and hasattr(reader.func, "fs") and reader.args:
        parts = reader.args[0] if isinstance(reader.args[0], list | tuple) else [reader.args[0]]
        return partial(remote.read_file, callable_here(reader.func.fs), parts[0]["piece"][0])
    fragment = getattr(reader, "_fragment", None)
    if fragment is not None and hasattr(fragment, "filesystem"):
        return partial(remote.read_arrow, fragment.filesystem, fragment.path)
    return None


#: Each makes a read of one kind of object, and returns None for others.
_WAYS: Final[tuple[Callable[[Any, Found], Callable[[], None] | None], ...]] = (
    _zarr,
    _managed,
    _parquet,
    _fsspec,
)
