"""Find what icechunk's repositories read from: their storage, and files elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from xr_locality.compat.icechunk import container_options, is_virtual, storage_fields
from xr_locality.compat.zarr import run_in_loop
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk

__all__ = ["IcechunkFinder"]

logger = logging.getLogger(__name__)

#: Chunks of an array whose kind is looked up, of as many as one batch of a manifest lists.
_MOST_LOOKS: Final = 8
_BATCH: Final = 1000
_SECONDS: Final = 10
_MOST_REMEMBERED: Final = 10_000


class IcechunkFinder:
    """Finds icechunk's stores and sessions, and zarr's places in them.

    Chunks lie in the repository's storage, or in files elsewhere that the
    repository's configuration allows: its virtual chunk containers. Where it names
    any, the beginning of an array's manifest, which its first chunk would be read
    through as well, tells which of the two the array is in. In which of several
    containers is not told, so it is in all of them.
    """

    name = "icechunk"

    def __init__(self) -> None:
        # By snapshot and path: none of them changes.
        self._kinds: dict[tuple[str, str], frozenset[str]] = {}

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
        here = found.inside(path)
        virtual = [
            replace(Found.at(place, detail="virtual chunks of icechunk"), group=place)
            for place in _containers(obj.config)
        ]
        if not virtual:
            return (here,)
        kinds = self._kinds_of(obj, path) if path else _EITHER
        return _alike(
            [*([here] if "native" in kinds else []), *(virtual if "virtual" in kinds else [])]
        )

    def _kinds_of(self, session: Any, path: str) -> frozenset[str]:
        """Tell whether an array's chunks are in the repository, elsewhere, or both."""
        key = (session.snapshot_id, path)
        if key not in self._kinds:
            kinds = _look_up(session, path)
            if not session.read_only:
                return kinds
            if len(self._kinds) >= _MOST_REMEMBERED:
                self._kinds.clear()
            self._kinds[key] = kinds
        return self._kinds[key]


_EITHER: Final = frozenset({"native", "virtual"})


def _alike(found: list[Found]) -> tuple[Found, ...]:
    """Give places of which nobody knows what lies where parts of one size."""
    if len(found) == 1:
        return tuple(found)
    return tuple(replace(each, share=1 / len(found)) for each in found)


def _look_up(session: Any, path: str) -> frozenset[str]:
    async def look() -> set[str]:
        coordinates = []
        async for each in session.chunk_coordinates(f"/{path.strip('/')}", batch_size=_BATCH):
            coordinates.append(each)
            if len(coordinates) == _BATCH:
                break
        step = max(1, len(coordinates) // _MOST_LOOKS)
        kinds = [
            await session.chunk_type_async(f"/{path.strip('/')}", each)
            for each in coordinates[::step]
        ]
        return {"virtual" if is_virtual(each) else "native" for each in kinds}

    try:
        # An array without a chunk is read from the repository, which has its metadata.
        return frozenset(run_in_loop(look(), seconds=_SECONDS)) or frozenset({"native"})
    except Exception as err:  # noqa: BLE001  # Storage raises anything, of groups as well.
        logger.info("Chunks of %r are taken to lie anywhere: %s", path, type(err).__name__)
        return _EITHER


def _storage(session: Any) -> Store | None:
    """Return the store of a session's storage; None for a kind that is not known."""
    # The fields hold credentials, which go no further.
    fields = storage_fields(session)
    if fields.get("type") == "S3Storage":
        _, endpoint, *_ = fields["config"]
        return Store.at(
            "s3", f"{fields['bucket']}/{fields.get('prefix') or ''}", {"endpoint_url": endpoint}
        )
    return _backend(fields["backend"], session)


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
        options = container_options(container.store)
        endpoint = getattr(options, "endpoint_url", None)
        if isinstance(options, Mapping):
            endpoint = options.get("endpoint") or options.get("azure_endpoint")
        places.append(Store.from_url(container.url_prefix, {"endpoint_url": endpoint}))
    return sorted(places, key=str)
