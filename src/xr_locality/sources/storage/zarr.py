"""Find what zarr's arrays, groups and stores read from."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from xr_locality.compat.zarr import memory_contents, wrapped_store
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk, no_size
from xr_locality.sources.storage.fsspec import listed_nbytes, store_at
from xr_locality.sources.stored_bytes import (
    MOST_CHUNKS,
    ask_once,
    generic_nbytes,
    is_metadata,
    n_pieces,
)

__all__ = ["ZarrFinder"]


class ZarrFinder:
    """Finds zarr's arrays, groups and stores, of formats 2 and 3.

    An array is where its ``StorePath`` is. A finder of another kind of store
    says where a ``StorePath`` of such a store is; it may leave the stored bytes
    to this one, which asks the store.
    """

    name = "zarr"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an object of zarr's reads from; None for other objects."""
        if "zarr" not in sys.modules:
            return None
        import zarr
        from zarr.abc.store import Store as ZarrStore
        from zarr.storage import StorePath

        if isinstance(obj, zarr.Array | zarr.AsyncArray):
            return _array(obj, walk)
        if isinstance(obj, zarr.Group | zarr.AsyncGroup):
            found = walk(obj.store_path)
            return [replace(each, detail=f"zarr group {obj.name!r}") for each in found]
        if isinstance(obj, StorePath):
            return _place(obj.store, obj.path, walk)
        if isinstance(obj, ZarrStore):
            return _store(obj, walk)
        return None


def _array(array: Any, walk: Walk) -> Iterable[Found]:
    found = walk(array.store_path)
    several = len(found) > 1
    for each in found:
        nbytes: int | None = array.nbytes
        stored_nbytes = each.stored_nbytes
        if several:
            nbytes = None if each.share is None else round(array.nbytes * each.share)
        elif stored_nbytes is no_size:
            stored_nbytes = ask_once(array.name, lambda: _stored_nbytes(array))
        yield replace(
            each,
            detail=f"zarr array {array.name!r}",
            array_nbytes=nbytes,
            itemsize=array.dtype.itemsize or None,
            stored_nbytes=stored_nbytes,
        )


def _place(store: Any, path: str, walk: Walk) -> Iterable[Found]:
    """Find where a path in one of zarr's stores is."""
    from zarr.storage import StorePath, WrapperStore, ZipStore

    if isinstance(store, WrapperStore):
        return walk(StorePath(wrapped_store(store), path))
    if isinstance(store, ZipStore):
        return _store(store, walk)
    return [each.inside(path) for each in walk(store)]


def _store(store: Any, walk: Walk) -> Iterable[Found]:
    from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore, ZipStore

    if isinstance(store, WrapperStore):
        return walk(wrapped_store(store))
    if isinstance(store, FsspecStore):
        place = store_at(store.fs, store.path)
    elif isinstance(store, LocalStore):
        place = Store.at("file", str(store.root))
    elif isinstance(store, ZipStore):
        place = Store.at("file", str(store.path))
        return [Found.at(place, detail="zip archive")]
    elif isinstance(store, MemoryStore):
        # Named as zarr itself names it. Views of one memory are one store.
        place = Store.from_url(str(store))
    else:
        # Still a source, whose region a person may know: never silently nothing.
        return walk(vars(store)) or [Found.unknown(store, detail="zarr store")]
    return [Found.at(place, detail="zarr store")]


def _stored_nbytes(array: Any) -> int | None:
    # Not zarr's own ``nbytes_stored``: it asks for each chunk by itself, and takes
    # array ``a2`` for a part of ``a``.
    from fsspec.implementations.local import LocalFileSystem
    from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore, ZipStore

    if n_pieces(array) > MOST_CHUNKS:
        return None
    store, path = array.store_path.store, array.store_path.path
    while isinstance(store, WrapperStore):
        store = wrapped_store(store)
    if isinstance(store, FsspecStore):
        inside = "/".join(part.rstrip("/") for part in (store.path, path) if part)
        return listed_nbytes(store.fs, inside, skip=is_metadata)
    if isinstance(store, LocalStore):
        return listed_nbytes(LocalFileSystem(), str(store.root / path), skip=is_metadata)
    if isinstance(store, MemoryStore):
        return sum(
            len(value)
            for key, value in memory_contents(store).items()
            if key.startswith(f"{path}/" if path else "") and not is_metadata(key)
        )
    # An archive would be read to answer.
    return None if isinstance(store, ZipStore) else generic_nbytes(store, path)
