"""Region tags in the metadata of catalogs and their entries.

A tag stands under ``metadata``, where drivers that know nothing of it leave it
alone::

    metadata:
      locality:
        region: aws:us-west-2
        requester_pays: true
        leaves: never                    # or: reduced, always
        replicas:
          - {urlpath: "gs://copy/a.zarr", region: "gcp:us-central1"}

What was written for other programs, such as STAC's storage extension or a bare
``region``, is read as a hint: see :mod:`xr_locality.regions.detectors.metadata`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from xr_locality.errors import ConfigurationError, RegionError
from xr_locality.regions.detectors.metadata import read_hint
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import LEAVES, Leaves, Replica, Tag

__all__ = ["Level", "read_tag"]

_KEYS: Final = ("region", "provider", "requester_pays", "leaves", "replicas")
_REPLICA_KEYS: Final = ("urlpath", "region", "provider", "storage_options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The metadata of a catalog or of an entry."""

    metadata: Mapping[str, Any]
    #: For people: ``"catalog 'c.yaml', entry 'lens'"``.
    where: str


def read_tag(levels: Sequence[Level], *, urls: Sequence[Store] = ()) -> Tag | None:
    """Read the tag that an entry has, or inherits from the catalogs it is in.

    Parameters
    ----------
    levels : sequence of Level
        The outermost catalog first, the entry last. Inner levels override
        outer ones key by key.
    urls : sequence of Store, optional
        What the entry opens: each of its replicas has a copy of each.

    Returns
    -------
    Tag or None
        None if no level has a region.

    Raises
    ------
    RegionError
        If a region is malformed or missing; the entry is named.
    ConfigurationError
        If anything else of the tag cannot be understood; the entry is named.
    """
    merged: dict[str, _Given] = {}
    for level in levels:
        given = _locality(level, urls)
        if "region" in given:
            # A provider belongs to the region that it was written beside.
            merged.pop("provider", None)
        merged |= given
    if not merged:
        return None
    if "region" not in merged:
        where = next(iter(merged.values())).where
        raise RegionError(
            f"The metadata of {where} has a locality without a region. "
            "Add one, such as region: aws:us-west-2.",
            where=where,
        )
    region = merged["region"]
    provider = merged.get("provider")
    pays = merged.get("requester_pays")
    leaves = merged.get("leaves")
    replicas = merged.get("replicas")
    return Tag(
        region=_region(region.value, provider and provider.value, where=region.where),
        evidence=region.where,
        requester_pays=None if pays is None else _requester_pays(pays),
        leaves=LEAVES[0] if leaves is None else _leaves(leaves),
        replicas=() if replicas is None else _replicas(replicas, urls),
    )


class _Given(NamedTuple):
    """What was written, and where."""

    value: Any
    where: str


def _locality(level: Level, stores: Sequence[Store]) -> dict[str, _Given]:
    """Return what one level says, with its hint where it says no more."""
    given = level.metadata.get("locality")
    if given is None:
        return _hint(level, stores)
    _check_keys(given, _KEYS, name="locality", where=level.where)
    said = {key: _Given(value, level.where) for key, value in given.items()}
    return said if "region" in said else _hint(level, stores) | said


def _hint(level: Level, stores: Sequence[Store]) -> dict[str, _Given]:
    """Return what a level says to other programs."""
    hint = read_hint(level.metadata, stores=stores)
    if hint is None:
        return {}
    where = f"{level.where}, {hint.field}"
    said = {"region": _Given(str(hint.region), where)}
    if hint.requester_pays is not None:
        said["requester_pays"] = _Given(hint.requester_pays, where)
    return said


def _region(region: Any, provider: Any, *, where: str) -> Region:
    text = region if provider is None else f"{provider}:{region}"
    try:
        return Region.parse(text)
    except RegionError as err:
        raise RegionError(
            f"{err} It is in the metadata of {where}.", where=where, **err.facts
        ) from err


def _requester_pays(given: _Given) -> bool:
    if not isinstance(given.value, bool):
        raise ConfigurationError(
            f"locality.requester_pays must be true or false, not {given.value!r}, "
            f"in the metadata of {given.where}.",
            where=given.where,
        )
    return given.value


def _leaves(given: _Given) -> Leaves:
    for allowed in LEAVES:
        if given.value == allowed:
            return allowed
    raise ConfigurationError(
        f"locality.leaves must be one of {', '.join(map(repr, LEAVES))}, not {given.value!r}, "
        f"in the metadata of {given.where}.",
        where=given.where,
    )


def _replicas(given: _Given, urls: Sequence[Store]) -> tuple[Replica, ...]:
    if not isinstance(given.value, list | tuple):
        raise ConfigurationError(
            f"locality.replicas must be a list, not {given.value!r}, "
            f"in the metadata of {given.where}.",
            where=given.where,
        )
    originals = urls or (None,)
    return tuple(
        replica
        for each in given.value
        for replica in _replicas_of_each(each, originals, where=given.where)
    )


def _replicas_of_each(
    given: Any, originals: Sequence[Store | None], *, where: str
) -> Iterator[Replica]:
    """Read one replica of an entry: a copy of each of its URLs."""
    _check_keys(given, _REPLICA_KEYS, name="locality.replicas", where=where)
    for key in ("urlpath", "region"):
        if key not in given:
            raise ConfigurationError(
                f"A replica in the metadata of {where} has no {key!r}.", where=where
            )
    options = given.get("storage_options") or {}
    if not isinstance(options, Mapping):
        raise ConfigurationError(
            f"The storage_options of a replica must be a mapping, in the metadata of {where}.",
            where=where,
        )
    urls = given["urlpath"] if isinstance(given["urlpath"], list | tuple) else [given["urlpath"]]
    if len(urls) != len(originals):
        raise ConfigurationError(
            f"A replica in the metadata of {where} has {len(urls)} URLs and its entry "
            f"{len(originals)}: which is a copy of which is unknown. Make its urlpath a "
            "list of as many, in the same order.",
            where=where,
        )
    region = _region(given["region"], given.get("provider"), where=where)
    for url, original in zip(urls, originals, strict=True):
        yield Replica(
            store=Store.from_url(url, options),
            region=region,
            original=original,
            url=url,
            storage_options=options,
        )


def _check_keys(given: Any, known: Sequence[str], *, name: str, where: str) -> None:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{name} must be a mapping such as {{region: aws:us-west-2}}, not {given!r}, "
            f"in the metadata of {where}.",
            where=where,
        )
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(
                f"{name} has no key {key!r}, in the metadata of {where}.{meant} "
                f"There are {', '.join(known)}.",
                where=where,
            )
