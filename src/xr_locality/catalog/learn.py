"""Rules from catalogs: what their entries say of regions, whichever driver opens them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from xr_locality.catalog.entries import CatalogReader, Entry, Reached, limited, shown
from xr_locality.catalog.esm import EsmReader
from xr_locality.catalog.files import open_document
from xr_locality.catalog.intake import FirstReader, SecondReader
from xr_locality.catalog.stac import StacReader
from xr_locality.errors import ConfigurationError, LocalityError
from xr_locality.regions.detectors.hostnames import as_bucket
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Tag
from xr_locality.regions.tag_registry import REGISTRY

__all__ = ["READERS", "Learned", "entries_of", "learn"]

#: The kinds of catalogs, in the order in which they are asked.
READERS: Final[tuple[CatalogReader, ...]] = (
    StacReader(),
    EsmReader(),
    SecondReader(),
    FirstReader(),
)
_OBJECT_STORES: Final = frozenset({"az", "gs", "s3"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a catalog says of regions.

    Attributes
    ----------
    rules : Mapping of str to str
        URL prefix to region, as ``locality.rules`` of the configuration takes them.
    learned : tuple of str
        Names of the entries that say where their data are.
    silent : tuple of str
        Names of those that do not.
    problems : Mapping of str to str
        Name to what is wrong with an entry, or why nothing can be said of it.
    """

    rules: Mapping[str, str]
    learned: tuple[str, ...]
    silent: tuple[str, ...]
    problems: Mapping[str, str]

    def __repr__(self) -> str:
        return (
            f"<Learned: {len(self.rules)} rules from {len(self.learned)} entries; "
            f"{len(self.silent)} say nothing, {len(self.problems)} have problems>"
        )


def learn(catalog: Any) -> Learned:
    """Remember where a catalog says that data are, whichever driver opens them.

    Nothing that an entry names is opened; catalogs inside the catalog are. Later plans
    know the regions, requester-pays, what may leave and the replicas of all that was
    learned, as if our own driver had opened it.

    Parameters
    ----------
    catalog : catalog, Mapping, str or Path
        Of Intake's, either version; a datastore of intake-esm; a STAC catalog,
        collection, item or collection of items, opened by pystac or as JSON; a file of
        one of Intake's or of STAC.

    Returns
    -------
    Learned
        The rules, to be written into a configuration, and what says nothing.

    Raises
    ------
    ConfigurationError
        If `catalog` is no catalog that is known.

    Examples
    --------
    >>> learn({"sources": {"lens": {
    ...     "driver": "zarr",
    ...     "args": {"urlpath": "s3://bucket/lens.zarr"},
    ...     "metadata": {"locality": {"region": "aws:us-west-2"}},
    ... }}}).rules
    mappingproxy({'s3://bucket': 'aws:us-west-2'})
    """
    tagged: dict[Store, Region] = {}
    learned: list[str] = []
    silent: list[str] = []
    problems: dict[str, str] = {}
    for entry in entries_of(catalog):
        try:
            tag = entry.tag()
        except LocalityError as err:
            problems[entry.name] = shown(err)
            continue
        if entry.problem is not None:
            problems[entry.name] = entry.problem
        elif tag is None:
            silent.append(entry.name)
        else:
            learned.append(entry.name)
            for store in entry.stores:
                about = tag if len(entry.stores) == 1 else tag.about(store)
                # Web addresses of a bucket are found under its own name, and not the other
                # way round.
                bucket = as_bucket(store)
                REGISTRY.add(store, about, kind="catalog")
                if bucket != store:
                    REGISTRY.add(bucket, _moved(about, bucket), kind="catalog")
                tagged[bucket] = tag.region
            for copy in tag.replicas:
                tagged.setdefault(as_bucket(copy.store), copy.region)
    return Learned(
        rules=MappingProxyType(dict(_rules(tagged))),
        learned=tuple(learned),
        silent=tuple(silent),
        problems=MappingProxyType(problems),
    )


def entries_of(catalog: Any, *, local_only: bool = False) -> Iterator[Entry]:
    """List the entries of a catalog and of the catalogs in it.

    Parameters
    ----------
    catalog : Any
        As :func:`learn` takes it.
    local_only : bool, default False
        Whether to leave catalogs alone that are not files of this machine.

    Yields
    ------
    Entry

    Raises
    ------
    ConfigurationError
        If it is no catalog that is known.
    """

    def open_nested(url: str, options: Mapping[str, Any]) -> Any:
        return open_document(url, options, local_only=local_only)

    reached = Reached(open=open_nested)
    if isinstance(catalog, str | Path):
        # As catalogs inside it would name it.
        reached.enter(str(Path(catalog).absolute()) if "://" not in str(catalog) else str(catalog))
        catalog = open_nested(str(catalog), {})
    for reader in READERS:
        entries = reader.read(catalog, (), reached)
        if entries is not None:
            return limited(iter(entries))
    if isinstance(catalog, Mapping) and "esmcat_version" in catalog:
        raise ConfigurationError(
            "This is the description of a datastore of intake-esm, which is no catalog that is "
            "read from its file. Open it with intake.open_esm_datastore, and pass what that "
            "returns to xr_locality.catalog.learn."
        )
    raise ConfigurationError(
        f"A {type(catalog).__name__} is no catalog that can be learned from. Pass one of "
        "Intake's, an intake-esm datastore, an object of pystac's, or a file."
    )


def _moved(tag: Tag, store: Store) -> Tag:
    copies = (replace(each, original=store) for each in tag.replicas)
    return replace(tag, replicas=tuple(copies))


def _rules(tagged: Mapping[Store, Region]) -> Iterator[tuple[str, str]]:
    """Make rules: one for a bucket of which all that is said is the same."""
    by_bucket: dict[Store, set[Region]] = {}
    for store, region in tagged.items():
        by_bucket.setdefault(_bucket(store), set()).add(region)
    for store, region in tagged.items():
        place = _bucket(store) if len(by_bucket[_bucket(store)]) == 1 else store
        service = place.at_service if place.endpoint_url else None
        yield (service or place).url, str(region)


def _bucket(store: Store) -> Store:
    if store.protocol not in _OBJECT_STORES:
        return store
    return replace(store, path="", access=None)
