"""Find what zarr's arrays, groups and stores read from."""

from __future__ import annotations

import functools
import logging
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from xr_locality.regions.store import Store
from xr_locality.sources.base import Found, Walk
from xr_locality.sources.fsspec import listed_nbytes, store_at

__all__ = ["ZarrFinder"]

logger = logging.getLogger(__name__)

_METADATA: Final = frozenset({"zarr.json", ".zarray", ".zattrs"})
# A listing answers a thousand names at a time: ten requests at most.
_MOST_CHUNKS: Final = 10_000


class ZarrFinder:
    """Finds zarr's arrays, groups and stores, of formats 2 and 3."""

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
            found = _locate(obj.store_path.store, obj.store_path.path, walk)
            return [replace(each, detail=f"zarr group {obj.name!r}") for each in found]
        if isinstance(obj, StorePath):
            return _locate(obj.store, obj.path, walk)
        if isinstance(obj, ZarrStore):
            return _locate(obj, "", walk)
        return None


def _array(array: Any, walk: Walk) -> Iterable[Found]:
    place = array.store_path
    found = _locate(place.store, place.path, walk)
    several = len(found) > 1
    return [
        replace(
            each,
            detail=f"zarr array {array.name!r}",
            array_nbytes=None if several else array.nbytes,
            stored_nbytes=each.stored_nbytes if several else _ask(array),
        )
        for each in found
    ]


def _locate(store: Any, path: str, walk: Walk) -> tuple[Found, ...]:
    """Find where `path` in one of zarr's stores is."""
    from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore, ZipStore

    if isinstance(store, WrapperStore):
        return _locate(store._store, path, walk)
    if isinstance(store, FsspecStore):
        root = store_at(store.fs, store.path)
    elif isinstance(store, LocalStore):
        root = Store.at("file", str(store.root))
    elif isinstance(store, ZipStore):
        root = Store.at("file", str(store.path))
        return (Found.at(root, detail="zip archive"),)
    elif isinstance(store, MemoryStore):
        # Named as zarr itself names it. Views of one memory are one store.
        root = Store.from_url(str(store))
    elif inside := walk(vars(store)):
        return tuple(replace(each, store=each.store / path, group=each.store) for each in inside)
    else:
        # Still a source, whose region a person may know: never silently nothing.
        kind = type(store)
        root = Store(protocol="unknown", bucket=f"{kind.__module__}.{kind.__qualname__}")
        root = root / f"{id(store):x}"
    return (Found(store=root / path, group=root, detail="zarr store"),)


def _ask(array: Any) -> Callable[[], int | None]:
    @functools.cache
    def stored_nbytes() -> int | None:
        try:
            return _stored_nbytes(array)
        except Exception as err:  # noqa: BLE001  # A store may raise anything; this only helps.
            logger.info("No stored size of %s: %s: %s", array.name, type(err).__name__, err)
            return None

    return stored_nbytes


def _stored_nbytes(array: Any) -> int | None:
    # Not zarr's own ``nbytes_stored``: it asks for each chunk by itself, and takes
    # array ``a2`` for a part of ``a``.
    from fsspec.implementations.local import LocalFileSystem
    from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

    pieces = array.shards or array.chunks
    n_pieces = math.prod(
        math.ceil(size / piece) for size, piece in zip(array.shape, pieces, strict=True) if piece
    )
    if n_pieces > _MOST_CHUNKS:
        return None
    store, path = array.store_path.store, array.store_path.path
    while isinstance(store, WrapperStore):
        store = store._store
    if isinstance(store, FsspecStore):
        inside = "/".join(part.rstrip("/") for part in (store.path, path) if part)
        return listed_nbytes(store.fs, inside, skip=_METADATA)
    if isinstance(store, LocalStore):
        return listed_nbytes(LocalFileSystem(), str(store.root / path), skip=_METADATA)
    if isinstance(store, MemoryStore):
        return sum(
            len(value)
            for key, value in store._store_dict.items()
            if key.startswith(f"{path}/" if path else "")
            and key.rpartition("/")[2] not in _METADATA
        )
    return None
