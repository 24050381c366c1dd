"""The Intake 1 driver: opens zarr with xarray, and remembers where it is.

Name it before Intake's own in an entry's list of drivers. Where this package is
not installed, Intake takes the next one, with the same arguments::

    sources:
      lens:
        driver: [xarray_locality, zarr]
        args: {urlpath: "s3://bucket/a.zarr", storage_options: {anon: true}}
        metadata: {locality: {region: "aws:us-west-2"}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import xarray as xr
from intake.source.base import DataSource, Schema

from xr_locality.catalog.tags import Level, read_tag
from xr_locality.errors import LocalityError
from xr_locality.regions.model import Region
from xr_locality.regions.registry import REGISTRY
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Tag

__all__ = ["LocalitySource"]

_DEEPEST: Final = 16


class LocalitySource(DataSource):  # type: ignore[misc]  # Intake has no types.
    """A dataset of xarray's in a catalog, with the region that it is in.

    Parameters
    ----------
    urlpath : str or list of str
        Where the data are, as fsspec takes it. A list, or a URL with ``*``, is
        opened as one dataset.
    storage_options : Mapping, optional
        Passed to the filesystem.
    metadata : Mapping, optional
        The entry's metadata, with its tag.
    **kwargs : Any
        Passed to :func:`xarray.open_dataset`, or to :func:`xarray.open_mfdataset`
        for several URLs. By default ``engine="zarr"``, and ``chunks={}``: those
        of the store.
    """

    name = "xarray_locality"
    version = "1"
    container = "xarray"
    partition_access = False

    # Intake's own shows the arguments, secrets among them.
    _ipython_display_ = None

    def __init__(
        self,
        urlpath: str | Sequence[str],
        storage_options: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(storage_options=storage_options, metadata=dict(metadata or {}))
        self.urlpath = urlpath
        self._kwargs = kwargs
        # Intake adds what it finds in the data to the other one.
        self._written = dict(metadata or {})
        self._dataset: xr.Dataset | None = None

    @property
    def region(self) -> Region | None:
        """Where the catalog says the data are; None if it does not say.

        Raises
        ------
        RegionError
            If the entry's region is malformed. Nothing is opened.
        """
        tag = self.tag
        return None if tag is None else tag.region

    @property
    def tag(self) -> Tag | None:
        """What the entry, and the catalogs it is in, say of the data's region."""
        return read_tag(self._levels())

    def to_dask(self) -> xr.Dataset:
        """Open the data lazily, and remember their region.

        Returns
        -------
        xarray.Dataset
            Made of dask arrays.

        Raises
        ------
        RegionError
            If the entry's region is malformed. Nothing is opened.
        """
        tag = self.tag
        if tag is not None:
            for url in self._urls():
                REGISTRY.add(Store.from_url(url, self.storage_options), tag, kind="catalog")
        if self._dataset is None:
            self._dataset = self._open()
        return self._dataset

    def read(self) -> xr.Dataset:
        """Load the data into the memory of this process, wherever they are."""
        return self.to_dask().compute()

    def _urls(self) -> list[str]:
        return [self.urlpath] if isinstance(self.urlpath, str) else list(self.urlpath)

    def _open(self) -> xr.Dataset:
        options: dict[str, Any] = {"engine": "zarr", "chunks": {}, **self._kwargs}
        if self.storage_options:
            backend = {**options.get("backend_kwargs", {}), "storage_options": self.storage_options}
            options["backend_kwargs"] = backend
        if isinstance(self.urlpath, str) and "*" not in self.urlpath:
            return xr.open_dataset(self.urlpath, **options)
        paths = self.urlpath if isinstance(self.urlpath, str) else list(self.urlpath)
        return xr.open_mfdataset(paths, **options)

    def _get_schema(self) -> Schema:
        dataset = self.to_dask()
        found = {
            "dims": dict(dataset.sizes),
            "data_vars": {str(name): list(var.coords) for name, var in dataset.data_vars.items()},
            "coords": [str(name) for name in dataset.coords],
        }
        return Schema(dtype=None, shape=None, npartitions=None, extra_metadata=found)

    def _close(self) -> None:
        if self._dataset is not None:
            self._dataset.close()
            self._dataset = None

    def _levels(self) -> list[Level]:
        """List the metadata that the entry inherits, the outermost catalog's first."""
        catalogs: list[Any] = []
        catalog = self.cat
        while catalog is not None and len(catalogs) < _DEEPEST:
            catalogs.append(catalog)
            catalog = catalog.cat
        levels = [
            Level(metadata=catalog.metadata or {}, where=f"catalog {_name(catalog)!r}")
            for catalog in reversed(catalogs)
        ]
        where = f"entry {self.name!r}" if catalogs else f"the source of {self._urls()[0]!r}"
        inside = f"{levels[-1].where}, " if levels else ""
        return [*levels, Level(metadata=self._written, where=f"{inside}{where}")]

    def __repr__(self) -> str:
        shown = ", ".join(str(Store.from_url(url, self.storage_options)) for url in self._urls())
        try:
            region = str(self.region or "unknown region")
        except LocalityError:
            region = "malformed region"
        return f"<{type(self).__name__} {self.name!r}: {shown} in {region}>"


def _name(catalog: Any) -> str:
    return str(catalog.name or getattr(catalog, "path", None) or "without a name")
