"""Entries of catalogs as values: what each names, and what is said of its region.

Nothing that an entry names is opened, no driver is imported, no template but the
catalog's own directory and lists of allowed values is filled in: neither environment nor
shell is asked. Each kind of catalog has a :class:`CatalogReader` in :data:`READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from xr_locality.catalog.entry_tags import Level, read_tag
from xr_locality.errors import LocalityError
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Replica, Tag

__all__ = ["MOST_ENTRIES", "CatalogReader", "Entry", "Reached", "shown"]

#: Catalogs in catalogs, and entries of all of them together, that are gone through.
DEEPEST: Final = 16
MOST_ENTRIES: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a catalog, or one asset of a STAC item.

    Attributes
    ----------
    name : str
        With the names of the catalogs that it is in, after dots.
    levels : tuple of Level
        The metadata that it inherits, and its own.
    stores : tuple of Store
        What it names; the longest prefix that is certain where a parameter is left open.
    replicas : tuple of Replica
        Copies that its own format lists.
    problem : str or None
        Why it says nothing of data.
    at : tuple of str or None
        The keys that lead to it in the document that it stands in.
    """

    name: str
    levels: tuple[Level, ...] = field(repr=False)
    stores: tuple[Store, ...] = ()
    replicas: tuple[Replica, ...] = ()
    problem: str | None = None
    at: tuple[str, ...] | None = None

    def tag(self) -> Tag | None:
        """Read what is said of the region.

        Returns
        -------
        Tag or None
            None if nothing is.

        Raises
        ------
        RegionError, ConfigurationError
            If it cannot be understood.
        """
        tag = read_tag(self.levels, urls=self.stores)
        if tag is None or not self.replicas:
            return tag
        return replace(tag, replicas=tag.replicas + self.replicas)


@dataclass(slots=True, kw_only=True)
class Reached:
    """How far a walk through catalogs has come; it ends in spite of cycles.

    Attributes
    ----------
    open : callable
        Opens the catalog that an entry names, given its URL and its options; returns its
        document, or raises an error of the library's.
    """

    open: Callable[[str, Mapping[str, Any]], Any]
    path: tuple[str, ...] = ()
    seen: set[object] = field(default_factory=set)
    count: int = 0

    def enter(self, key: object) -> str | None:
        """Note that a catalog is entered; say why not, where it must not be."""
        if len(self.path) > DEEPEST:
            return f"catalogs are nested more than {DEEPEST} deep"
        if key in self.seen:
            return "it was gone through already"
        self.seen.add(key)
        return None

    def below(self, name: str) -> Reached:
        """Go into a catalog of this one."""
        inner = replace(self, path=(*self.path, name))
        inner.seen = self.seen
        return inner

    def name(self, entry: str) -> str:
        """Name an entry with the catalogs that it is in."""
        return ".".join((*self.path, entry))


class CatalogReader(Protocol):
    """Lists the entries of one kind of catalog."""

    def read(
        self, catalog: Any, levels: tuple[Level, ...], reached: Reached
    ) -> Iterable[Entry] | None:
        """List the entries of a catalog and of those inside it.

        Parameters
        ----------
        catalog : Any
            Any catalog.
        levels : tuple of Level
            The metadata of the catalogs that it is in.
        reached : Reached
            Of the walk.

        Returns
        -------
        iterable of Entry or None
            None if it is of another kind.
        """
        ...


def shown(error: Exception) -> str:
    """Put an error in words; what others raise may quote what is secret."""
    return str(error) if isinstance(error, LocalityError) else type(error).__name__


def mapping(value: Any) -> Mapping[str, Any]:
    """Take what should be a mapping for one."""
    return value if isinstance(value, Mapping) else {}


def limited(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Stop after more entries than a catalog has that is not a mistake."""
    for n, entry in enumerate(entries):
        if n == MOST_ENTRIES:
            yield Entry(
                name="", levels=(), problem=f"more than {MOST_ENTRIES:,} entries: the rest is left"
            )
            return
        yield entry
