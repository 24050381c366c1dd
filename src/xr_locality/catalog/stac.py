"""Entries of STAC: assets of items and collections, as pystac opens them or as JSON.

What the storage extension says (``storage:*``) counts at every level, and so does
Microsoft's ``msft:region``; ``alternate`` assets that say where they are are replicas.
pystac itself is not needed: what it opened is asked for its JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urljoin

from xr_locality.catalog.entries import Entry, Reached, mapping, shown
from xr_locality.catalog.entry_tags import Level, read_tag
from xr_locality.catalog.intake import DIRECTORY
from xr_locality.errors import LocalityError, SourceError
from xr_locality.regions.detectors.hostnames import as_bucket
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Replica

__all__ = ["StacReader"]

_KINDS: Final = frozenset({"Catalog", "Collection", "Feature", "FeatureCollection"})
_OPTIONS: Final = ("xarray:storage_options", "table:storage_options")
_INSIDE: Final = ("get_children", "get_items")
#: Microsoft's: where a storage account is, and which.
_REGION, _ACCOUNT = "msft:region", "msft:storage_account"


class StacReader:
    """Reads items, collections, catalogs and collections of items."""

    def read(
        self, catalog: Any, levels: tuple[Level, ...], reached: Reached
    ) -> Iterable[Entry] | None:
        """List the assets of an object of STAC's; None if it is none."""
        if isinstance(catalog, Mapping):
            return self._document(catalog, levels, reached) if _is_stac(catalog) else None
        if not type(catalog).__module__.startswith("pystac"):
            return None
        return self._opened(catalog, levels, reached)

    def _opened(self, obj: Any, levels: tuple[Level, ...], reached: Reached) -> Iterator[Entry]:
        """Go through what pystac opened, and what is in it."""
        if reached.enter(("stac", id(obj))) is not None:
            return
        # Kept, so that no other object gets its id.
        reached.seen.add(_Kept(obj))
        document = obj.to_dict()
        base = getattr(obj, "get_self_href", lambda: None)()
        if base:
            document = {**document, "href": base}
        parent = getattr(obj, "get_collection", lambda: None)() if not levels else None
        if parent is not None:
            levels = (_level(parent.to_dict()),)
        yield from self._document(document, levels, reached)
        inner = reached.below(str(document.get("id") or "catalog"))
        for inside in _INSIDE:
            for each in getattr(obj, inside, tuple)():
                yield from self._opened(each, (*levels, _level(document)), inner)

    def _document(
        self, document: Mapping[str, Any], levels: tuple[Level, ...], reached: Reached
    ) -> Iterator[Entry]:
        if document.get("type") == "FeatureCollection":
            features = document.get("features")
            for feature in features if isinstance(features, list | tuple) else ():
                # Not a collection again, which YAML can put into itself.
                if isinstance(feature, Mapping) and feature.get("type") == "Feature":
                    yield from self._document(feature, levels, reached)
            return
        here = (*levels, _level(document))
        base = document.get("href") or _self_link(document) or _directory(document)
        inner = reached.below(str(document.get("id") or "item"))
        for name, asset in mapping(document.get("assets")).items():
            yield _asset(inner.name(str(name)), mapping(asset), here, base)


def _is_stac(document: Mapping[str, Any]) -> bool:
    kind = document.get("type")
    return kind in _KINDS and ("stac_version" in document or kind == "FeatureCollection")


def _level(document: Mapping[str, Any]) -> Level:
    kind = str(document.get("type") or "item").lower().replace("feature", "item")
    return Level(metadata=document, where=f"STAC {kind} {document.get('id')!r}")


def _asset(
    name: str, asset: Mapping[str, Any], levels: tuple[Level, ...], base: str | None
) -> Entry:
    level = Level(
        metadata=_with_schemes(asset, levels), where=f"{levels[-1].where}, asset {name!r}"
    )
    account = _account(levels)
    try:
        store = _store(asset, base, account)
        if account is not None and as_bucket(store).account != account:
            # What is said of one account says nothing of another, as of a thumbnail's.
            levels = tuple(_without_region(each) for each in levels)
        replicas = tuple(_alternates(asset, levels, store, level.where, base))
    except LocalityError as err:
        return Entry(name=name, levels=(*levels, level), problem=shown(err))
    return Entry(name=name, levels=(*levels, level), stores=(store,), replicas=replicas)


def _store(asset: Mapping[str, Any], base: str | None, account: str | None = None) -> Store:
    href, options = asset.get("href"), _options(asset)
    if isinstance(href, str) and "://" not in href and not href.startswith("/"):
        href = _joined(base, href)
    store = Store.from_url(href, options)
    if store.protocol == "az" and store.account is None and account is not None:
        store = Store.from_url(href, {**options, "account_name": account})
    return store


def _joined(base: str | None, href: str) -> str:
    """Make a relative reference absolute."""
    if not base:
        raise SourceError("its URL is relative to an unknown one")
    scheme, found, rest = base.partition("://")
    if not found:
        return urljoin(base, href)
    # The standard library joins no URLs of schemes that it has not heard of.
    joined = urljoin(f"//{rest}", href)
    if not joined.startswith("//"):
        raise SourceError("its URL is neither absolute nor relative")
    return f"{scheme}:{joined}"


def _account(levels: tuple[Level, ...]) -> str | None:
    """Name the storage account that ``msft:region`` is about, if anything does."""
    for level in reversed(levels):
        if _REGION in level.metadata:
            account = level.metadata.get(_ACCOUNT)
            return account if isinstance(account, str) else None
    return None


def _without_region(level: Level) -> Level:
    metadata = {key: value for key, value in level.metadata.items() if key != _REGION}
    return replace(level, metadata=metadata)


def _directory(document: Mapping[str, Any]) -> str | None:
    directory = document.get(DIRECTORY)
    return f"{directory}/" if isinstance(directory, str) and directory else None


def _options(asset: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((asset[key] for key in _OPTIONS if isinstance(asset.get(key), Mapping)), {})


def _alternates(
    asset: Mapping[str, Any],
    levels: tuple[Level, ...],
    original: Store,
    where: str,
    base: str | None,
) -> Iterator[Replica]:
    """List other places of an asset, of those that say in which region they are."""
    for name, given in mapping(asset.get("alternate")).items():
        other = mapping(given)
        metadata = _with_schemes(other, levels)
        tag = read_tag([Level(metadata=metadata, where=f"{where}, alternate {name!r}")])
        if tag is not None:
            yield Replica(
                store=_store(other, base),
                region=tag.region,
                original=original,
                url=str(other.get("href")),
                storage_options=_options(other),
            )


def _with_schemes(asset: Mapping[str, Any], levels: tuple[Level, ...]) -> Mapping[str, Any]:
    """Give an asset the storage schemes that it refers to and its item or collection lists."""
    if "storage:refs" not in asset or "storage:schemes" in asset:
        return asset
    for level in reversed(levels):
        properties = mapping(level.metadata.get("properties"))
        for place in (level.metadata, properties):
            if isinstance(place.get("storage:schemes"), Mapping):
                return {**asset, "storage:schemes": place["storage:schemes"]}
    return asset


def _self_link(document: Mapping[str, Any]) -> str | None:
    links = document.get("links")
    for link in links if isinstance(links, list | tuple) else ():
        if isinstance(link, Mapping) and link.get("rel") == "self":
            href = link.get("href")
            return href if isinstance(href, str) else None
    return None


class _Kept:
    """Holds an object in a set, whatever it thinks of being compared."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj
