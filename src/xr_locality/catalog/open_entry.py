"""What an entry of a catalog names, whichever Intake reads it: opened, tagged, replicated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import xarray as xr

from xr_locality.api import warn_of_eager_data
from xr_locality.catalog.entry_tags import Level, read_tag
from xr_locality.catalog.formats import FORMATS, Opening
from xr_locality.errors import ConfigurationError, RegionError
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store, has_credentials
from xr_locality.regions.tag import Replica, Tag
from xr_locality.regions.tag_registry import REGISTRY

__all__ = ["OpenEntry"]


@dataclass(slots=True, kw_only=True, eq=False)
class OpenEntry:
    """The data of an entry, opened at most once for each replica.

    Parameters
    ----------
    kind : str
        A name in ``xr_locality.catalog.formats.FORMATS``.
    opening : Opening
        What the entry names.
    levels : callable
        Lists the metadata that it inherits, the outermost catalog's first.
    """

    kind: str
    opening: Opening = field(repr=False)
    levels: Callable[[], Sequence[Level]] = field(repr=False)
    _opened: dict[Region | None, xr.Dataset] = field(default_factory=dict, repr=False)

    @property
    def tag(self) -> Tag | None:
        """What the entry, and the catalogs it is in, say of the data's region."""
        tag = read_tag(self.levels(), urls=self.opening.stores)
        if tag is None or FORMATS[self.kind].by_url(self.opening):
            return tag
        if tag.replicas and self.opening.several:
            where = self.levels()[-1].where
            raise ConfigurationError(
                f"The replicas of {where} are of several files, which are not opened one by one. "
                "Make an entry of each.",
                where=where,
            )
        replicas = tuple(
            replace(each, reopen=partial(FORMATS[self.kind].open, self._opening(each)))
            for each in tag.replicas
        )
        return replace(tag, replicas=replicas)

    def open(self, region: str | Region | None = None) -> xr.Dataset:
        """Open the data lazily, and remember where they are.

        Parameters
        ----------
        region : str or Region, optional
            Of the replica to read, whatever would cost least.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        RegionError
            If the entry's region is malformed, or no replica is in `region`. Nothing
            is opened.
        ConfigurationError
            If its URL holds credentials that no filesystem takes from there.
        """
        tag = self.tag
        forced = None if region is None else Region.parse(region)
        if forced is None:
            opening = self.opening
        else:
            opening, tag = self._in_region(tag, forced)
        self._refuse_credentials(opening)
        if tag is not None:
            self._remember(opening.stores, tag)
        form = FORMATS[self.kind]
        if forced not in self._opened:
            self._opened[forced] = form.open(opening)
        dataset = self._opened[forced]
        if tag is not None:
            self._remember(list(form.tagged(opening, dataset)), tag)
            if dataset.__dask_graph__() is None:
                warn_of_eager_data(dataset, tag.region)
        return dataset

    def close(self) -> None:
        """Close what is open; may be called twice."""
        while self._opened:
            self._opened.popitem()[1].close()

    def _in_region(self, tag: Tag | None, region: Region) -> tuple[Opening, Tag]:
        """Choose what is read if the data are to be read in one region."""
        copies: list[tuple[Region, Replica | None]] = []
        if tag is not None:
            copies = [(tag.region, None), *((each.region, each) for each in tag.replicas)]
        for where, replica in copies:
            if where.overlaps(region):
                assert tag is not None
                alone = replace(tag, region=where, replicas=())
                if replica is None:
                    return self.opening, alone
                alone = replace(alone, evidence=f"{tag.evidence}, a replica")
                # One for each URL, in their order.
                there = [each for each in tag.replicas if each.region == where]
                return self._opening(*there[: len(self.opening.urls)]), alone
        known = ", ".join(dict.fromkeys(str(where) for where, _ in copies)) or "none that is known"
        raise RegionError(
            f"The data of {self.levels()[-1].where} are not in region {str(region)!r}. Their "
            f"regions: {known}. Add a replica to the entry, or leave region= out.",
            region=str(region),
        )

    def _refuse_credentials(self, opening: Opening) -> None:
        if any(map(has_credentials, opening.urls)):
            where = self.levels()[-1].where
            raise ConfigurationError(
                f"The URL of {where} holds a key and a secret, which its filesystem would take "
                "for a part of the bucket's name. Put them under storage_options.",
                where=where,
            )

    def _opening(self, *replicas: Replica) -> Opening:
        urls = tuple(each.url for each in replicas)
        return replace(self.opening, urls=urls, storage_options=replicas[0].storage_options)

    def _remember(self, stores: Sequence[Store], tag: Tag) -> None:
        for store in stores:
            about = tag.about(store) if self.opening.several else tag
            REGISTRY.add(store, about, kind="catalog")
