"""Find what icechunk's repositories read from: their storage, and files elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from xr_locality.regions.store import Store
from xr_locality.sources.base import Found, Walk

__all__ = ["IcechunkFinder"]


class IcechunkFinder:
    """Finds icechunk's stores and sessions, and zarr's places in them.

    Chunks lie in the repository's storage, or in files elsewhere that the
    repository's configuration allows: its virtual chunk containers. Which chunk
    lies where is in manifests, which are not read, so an array is in all of them.
    """

    name = "icechunk"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where a repository is; None for other objects."""
        if "icechunk" not in sys.modules:
            return None
        from icechunk import IcechunkStore, Session
        from zarr.storage import StorePath

        path = ""
        if isinstance(obj, StorePath):
            path, obj = obj.path, obj.store
        if isinstance(obj, IcechunkStore):
            obj = obj.session
        if not isinstance(obj, Session):
            return None
        storage = _storage(obj)
        if storage is None:
            found = Found.unknown(obj, detail="icechunk repository")
        else:
            found = Found.at(storage, detail="icechunk repository")
        virtual = [
            Found.at(place, detail="virtual chunks of icechunk")
            for place in _containers(obj.config)
        ]
        return (found.inside(path), *(replace(each, group=each.store) for each in virtual))


def _storage(session: Any) -> Store | None:
    """Read where a session's storage is out of what it would send to another process."""
    import msgpack

    # There is no public way to it. The bytes hold credentials, which go no further.
    state = msgpack.unpackb(session._session.as_bytes(), raw=False, strict_map_key=False)
    for part in state:
        if isinstance(part, dict) and part.get("type") == "S3Storage":
            _, endpoint, *_ = part["config"]
            return Store.at(
                "s3", f"{part['bucket']}/{part.get('prefix') or ''}", {"endpoint_url": endpoint}
            )
        if isinstance(part, dict) and isinstance(part.get("backend"), dict):
            return _backend(part["backend"], session)
    return None


def _backend(backend: Mapping[str, Any], session: Any) -> Store | None:
    kind = str(backend.get("object_store_provider_type", ""))
    for word, locate in _BACKENDS.items():
        if word in kind:
            return locate(backend, session)
    return None


def _bucket(protocol: str) -> Callable[[Mapping[str, Any], Any], Store]:
    def locate(backend: Mapping[str, Any], session: Any) -> Store:
        config = backend.get("config")
        endpoint = None
        if isinstance(config, Mapping):
            known = {str(name).lower(): value for name, value in config.items()}
            endpoint = next((known[name] for name in _ENDPOINTS if known.get(name)), None)
        bucket = backend.get("bucket") or backend.get("container") or ""
        return Store.at(
            protocol,
            f"{bucket}/{backend.get('prefix') or ''}",
            {"endpoint_url": endpoint, "account_name": backend.get("account")},
        )

    return locate


def _directory(backend: Mapping[str, Any], session: Any) -> Store:
    return Store.at("file", str(backend["path"]))


def _memory(backend: Mapping[str, Any], session: Any) -> Store:
    return Store(protocol="memory", path=f"{id(session):x}")


_ENDPOINTS: Final = ("endpoint", "endpoint_url", "azure_endpoint", "azure_storage_endpoint")
_BACKENDS: Final[dict[str, Callable[[Mapping[str, Any], Any], Store]]] = {
    "local_file_system": _directory,
    "in_memory": _memory,
    "s3": _bucket("s3"),
    "gcs": _bucket("gs"),
    "azure": _bucket("az"),
}


def _containers(config: Any) -> list[Store]:
    places = []
    for container in (config.virtual_chunk_containers or {}).values():
        options = getattr(container.store, "_0", None)
        endpoint = getattr(options, "endpoint_url", None)
        if isinstance(options, Mapping):
            endpoint = options.get("endpoint") or options.get("azure_endpoint")
        places.append(Store.from_url(container.url_prefix, {"endpoint_url": endpoint}))
    return sorted(places, key=str)
