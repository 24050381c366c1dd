"""Regions in metadata that were written for other programs.

STAC's storage extension says ``storage:schemes`` (version 2) or ``storage:platform``,
``storage:region`` and ``storage:requester_pays`` (version 1), Planetary Computer says
``msft:region``, many catalogs a bare ``region``. None of them was written for us, and
others may mean a part of the world by the same word: what is no region of a cloud
is passed over, never an error. So is a part of the world, such as ``EU``, without the
name of a cloud, and a region of another cloud than that of the data's protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from xr_locality.compat.icechunk import container_options
from xr_locality.errors import RegionError
from xr_locality.regions.cloud_regions import known_regions
from xr_locality.regions.detectors.hostnames import read_hostname
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store

__all__ = ["Hint", "client_options", "read_hint"]

logger = logging.getLogger(__name__)

#: What STAC's storage extension calls the clouds: platforms of version 1, types of version 2.
_PLATFORMS: Final = {
    "alibaba": "alibaba",
    "aws": "aws",
    "aws-s3": "aws",
    "azure": "azure",
    "gcp": "gcp",
    "ibm": "ibm",
    "ms-azure": "azure",
    "oracle": "oci",
}
#: Services of which the host names no region, and the scheme does.
_HOSTS: Final = {"storage.googleapis.com": "gcp"}
#: The cloud whose own service a protocol leads to, unless an endpoint is named.
_PROTOCOLS: Final = {"az": "azure", "gs": "gcp", "s3": "aws"}
_MOST_SCHEMES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What some metadata say of where data are."""

    region: Region
    #: The field that says it.
    field: str
    #: Whether the reader pays; None if nothing is said.
    requester_pays: bool | None = None


def read_hint(metadata: Mapping[str, Any], *, stores: Iterable[Store] = ()) -> Hint | None:
    """Read what metadata say of the region of their data.

    Parameters
    ----------
    metadata : Mapping
        Of an entry of a catalog, or of a STAC item, collection or asset; the
        fields may also stand under ``properties``.
    stores : iterable of Store, optional
        What the metadata are about. A region of another cloud than theirs is no hint.

    Returns
    -------
    Hint or None
        None if they say nothing, or nothing that can be relied on.

    Examples
    --------
    >>> read_hint({"msft:region": "westeurope"}).region
    Region('azure:westeurope')
    """
    properties = metadata.get("properties")
    for level in (metadata, properties if isinstance(properties, Mapping) else {}):
        for read in (_schemes, _storage, _microsoft, _bare):
            hint = read(level)
            if hint is not None and all(_agrees(hint, store) for store in stores):
                return hint
    return None


def _agrees(hint: Hint, store: Store) -> bool:
    """Return whether a region may be that of a store: each cloud keeps its own protocol."""
    provider = None if store.endpoint_url else _PROTOCOLS.get(store.protocol)
    if provider is None or provider == hint.region.provider:
        return True
    logger.info("%s in metadata is passed over: %s is not in it", hint.region, store)
    return False


def client_options(config: object) -> dict[str, Any]:
    """Read what the configuration of an object store's client says, as a store takes it.

    Parameters
    ----------
    config : object
        With the attributes that Icechunk's ``S3Options`` and its like have: ``region``,
        ``endpoint_url``, ``anonymous``, ``requester_pays``. An ``ObjectStoreConfig``
        may hold it.

    Returns
    -------
    dict
        Options for :meth:`xr_locality.regions.store.Store.at`, without anything secret.
    """
    inner = container_options(config)
    named = {
        "region": getattr(inner, "region", None),
        "endpoint_url": getattr(inner, "endpoint_url", None),
        "anon": getattr(inner, "anonymous", None) or None,
        "requester_pays": getattr(inner, "requester_pays", None) or None,
    }
    return {name: value for name, value in named.items() if isinstance(value, str | bool)}


def _schemes(metadata: Mapping[str, Any]) -> Hint | None:
    given, refs = metadata.get("storage:schemes"), metadata.get("storage:refs")
    if not isinstance(given, Mapping) or len(given) > _MOST_SCHEMES:
        return None
    schemes = {
        name: scheme
        for name, scheme in given.items()
        if isinstance(scheme, Mapping) and (not isinstance(refs, list) or name in refs)
    }
    regions = {_scheme_region(scheme) for scheme in schemes.values()}
    pays = {_boolean(scheme.get("requester_pays")) for scheme in schemes.values()}
    if len(regions) > 1:
        logger.info("storage:schemes names several regions: %s", regions)
        return None
    (region,) = regions or {None}
    if region is None:
        return None
    return Hint(
        region=region,
        field="storage:schemes",
        requester_pays=pays.pop() if len(pays) == 1 else None,
    )


def _scheme_region(scheme: Mapping[str, Any]) -> Region | None:
    kind, name, platform = (scheme.get(key) for key in ("type", "region", "platform"))
    provider = _PLATFORMS.get(kind.lower()) if isinstance(kind, str) else None
    if provider is None and isinstance(platform, str):
        try:
            host = urlsplit(platform).hostname
        except ValueError:
            return None
        named = read_hostname(host) if host else None
        if named is not None and named.region is not None:
            return named.region
        provider = _HOSTS.get(host or "")
    return None if provider is None else _of_provider(provider, name)


def _storage(metadata: Mapping[str, Any]) -> Hint | None:
    name, platform = metadata.get("storage:region"), metadata.get("storage:platform")
    provider = _PLATFORMS.get(platform.lower()) if isinstance(platform, str) else None
    region = _of_any_cloud(name) if platform is None else None
    if provider is not None:
        region = _of_provider(provider, name)
    if region is None:
        return None
    pays = _boolean(metadata.get("storage:requester_pays"))
    return Hint(region=region, field="storage:region", requester_pays=pays)


def _microsoft(metadata: Mapping[str, Any]) -> Hint | None:
    region = _of_provider("azure", metadata.get("msft:region"))
    return None if region is None else Hint(region=region, field="msft:region")


def _bare(metadata: Mapping[str, Any]) -> Hint | None:
    name, provider = metadata.get("region"), metadata.get("provider")
    if isinstance(name, str) and isinstance(provider, str) and ":" not in name:
        name = f"{provider}:{name}"
    region = _of_any_cloud(name)
    return None if region is None else Hint(region=region, field="region")


def _of_provider(provider: str, name: object) -> Region | None:
    if not isinstance(name, str):
        return None
    try:
        # Microsoft also writes "West Europe".
        return Region(provider=provider, name=name.replace(" ", ""))
    except RegionError as err:
        logger.info("A region in metadata is passed over: %s", err)
        return None


def _of_any_cloud(text: object) -> Region | None:
    if not isinstance(text, str):
        return None
    try:
        region = Region.parse(text)
    except RegionError as err:
        logger.info("A region in metadata is passed over: %s", err)
        return None
    clouds: Iterator[str] = (row.provider for row in known_regions().values())
    if region.provider not in set(clouds):
        logger.info("A region in metadata is passed over: %r is no cloud's", text)
        return None
    if region.known is not None and region.known.kind == "multi-region" and text.isalpha():
        # "US", "EU" and "Asia" name where a dataset is about, or where its maker lives, more
        # often than a multi-region of Google Cloud's.
        logger.info("A region in metadata is passed over: %r is a part of the world", text)
        return None
    return region


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
