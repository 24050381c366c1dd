"""Tags by store, for the whole process.

A dask graph keeps its stores through every operation on the data, and loses
attributes, encoding and annotations: so what is known of a store is kept here,
under the store, and not on the objects that read it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, TypeVar

from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Tag

__all__ = ["REGISTRY", "Kind", "TagRegistry", "layer_tag", "tag_layers"]

logger = logging.getLogger(__name__)

#: Who set a tag: a person, or the catalog that a source was opened from.
Kind: TypeAlias = Literal["hand", "catalog"]

_Root: TypeAlias = tuple[str, str | None, str | None, str]
_K = TypeVar("_K")
_V = TypeVar("_V")


class TagRegistry:
    """Tags by store, found again by any store below it; safe in threads.

    Parameters
    ----------
    maximum : int, default 100_000
        Tags of one kind to keep. Past it the oldest are forgotten, so that a
        program that opens sources for ever does not grow for ever.
    """

    def __init__(self, *, maximum: int = 100_000) -> None:
        self._maximum = maximum
        self._lock = threading.Lock()
        # Dictionaries keep the order of insertion: the first is the oldest.
        self._tags: dict[Kind, dict[tuple[_Root, str], Tag]] = {"hand": {}, "catalog": {}}
        self._layers: dict[str, Region] = {}

    def add(self, store: Store, tag: Tag, *, kind: Kind) -> None:
        """Say where everything at and below `store` is, replacing what was said.

        Parameters
        ----------
        store : Store
            The longest prefix that the tag holds for.
        tag : Tag
            What is said of it.
        kind : {"hand", "catalog"}
            Who says so.
        """
        key = (store.root, store.path)
        with self._lock:
            tags = self._tags[kind]
            before = tags.pop(key, None)
            tags[key] = tag
            _shrink(tags, self._maximum)
        if before is not None and before.region != tag.region:
            logger.warning(
                "%s was %s (%s) and is now %s (%s)",
                store,
                before.region,
                before.evidence,
                tag.region,
                tag.evidence,
            )

    def find(self, store: Store, *, kind: Kind | None = None) -> Tag | None:
        """Find the tag of `store`, or of the nearest prefix above it.

        Parameters
        ----------
        store : Store
            What is looked for.
        kind : {"hand", "catalog"}, optional
            Who said so. By default a person's word goes before a catalog's,
            however short its prefix.

        Returns
        -------
        Tag or None
        """
        kinds: tuple[Kind, ...] = ("hand", "catalog") if kind is None else (kind,)
        root, prefixes = store.root, store.prefixes()
        with self._lock:
            for each in kinds:
                tags = self._tags[each]
                for prefix in prefixes:
                    if (tag := tags.get((root, prefix))) is not None:
                        return tag
        return None

    def remove(self, store: Store, *, kind: Kind | None = None) -> None:
        """Forget what was said of exactly this store, if anything was."""
        kinds: tuple[Kind, ...] = ("hand", "catalog") if kind is None else (kind,)
        with self._lock:
            for each in kinds:
                self._tags[each].pop((store.root, store.path), None)

    def tag_layers(self, names: Iterable[str], region: Region) -> None:
        """Say where layers are that hold no store that could be recognised.

        Parameters
        ----------
        names : iterable of str
            Names of layers of a dask graph.
        region : Region
            Where their data are.
        """
        with self._lock:
            for name in names:
                self._layers.pop(name, None)
                self._layers[name] = region
            _shrink(self._layers, self._maximum)

    def layer_tag(self, name: str) -> Region | None:
        """Return the region said of a layer by hand; None if nothing was said."""
        with self._lock:
            return self._layers.get(name)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for tags in self._tags.values():
                tags.clear()
            self._layers.clear()


def _shrink(tags: dict[_K, _V], maximum: int) -> None:
    while len(tags) > maximum:
        del tags[next(iter(tags))]


#: The one that catalogs and :func:`xr_locality.tag` write to.
REGISTRY: Final = TagRegistry()
tag_layers = REGISTRY.tag_layers
layer_tag = REGISTRY.layer_tag
