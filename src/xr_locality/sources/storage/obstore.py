"""Find what obstore's object stores read from, alone or under zarr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.stored_bytes import MOST_CHUNKS, ask_once, is_metadata

__all__ = ["ObstoreFinder", "object_store_at"]

_PROTOCOLS: Final = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az"}
# Azurite's own default.
_EMULATOR: Final = "http://127.0.0.1:10000/devstoreaccount1"


class ObstoreFinder:
    """Finds obstore's stores, and zarr's places in them."""

    name = "obstore"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where an object store is; None for other objects."""
        if "obstore" not in sys.modules:
            return None
        store, path = _store_and_path(obj)
        if store is None:
            return None
        root = object_store_at(store)
        if root is None:
            return (Found.unknown(store, detail="object store"),)
        nbytes = ask_once(str(root / path), lambda: _listed_nbytes(store, path))
        found = Found.at(root, detail="object store").inside(path)
        return (replace(found, stored_nbytes=nbytes),)


def _store_and_path(obj: object) -> tuple[Any, str]:
    path = ""
    if "zarr" in sys.modules:
        from zarr.storage import ObjectStore, StorePath

        if isinstance(obj, StorePath):
            path, obj = obj.path, obj.store
        if isinstance(obj, ObjectStore):
            obj = obj.store
    return (obj, path) if _is_store(obj) else (None, "")


def _is_store(obj: object) -> bool:
    # The classes that obstore makes for other packages are in modules of theirs.
    return any(
        base.__module__.partition(".")[0] == "obstore" and base.__name__.endswith("Store")
        for base in type(obj).__mro__
        if base.__name__ != "FsspecStore"
    )


def object_store_at(store: Any) -> Store | None:
    """Return the store that one of obstore's is.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        Any.

    Returns
    -------
    Store or None
        None for a kind that is not known.
    """
    names = [base.__name__ for base in type(store).__mro__]
    if "HTTPStore" in names:
        return Store.from_url(store.url)
    if "LocalStore" in names:
        return Store.at("file", str(store.prefix or "/"))
    if "MemoryStore" in names:
        return Store(protocol="memory", path=f"{id(store):x}")
    protocol = next((_PROTOCOLS[name] for name in names if name in _PROTOCOLS), None)
    if protocol is None:
        return None
    # It holds credentials too, which go no further.
    config = store.config
    options = {"endpoint_url": config.get("endpoint"), "account_name": config.get("account_name")}
    if str(config.get("use_emulator", "")).lower() == "true":
        options["endpoint_url"] = options["endpoint_url"] or _EMULATOR
    bucket = config.get("bucket") or config.get("container_name") or ""
    return Store.at(protocol, f"{bucket}/{str(store.prefix or '').strip('/')}", options)


def _listed_nbytes(store: Any, path: str) -> int | None:
    import obstore

    total = count = 0
    for some in obstore.list(store, f"{path}/" if path else None):
        for entry in some:
            if not is_metadata(entry["path"]):
                total += entry["size"]
                count += 1
        if count > MOST_CHUNKS:
            return None
    return total
