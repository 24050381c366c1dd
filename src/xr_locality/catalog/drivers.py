"""Intake 1 drivers: they open data with xarray, and remember where these are.

Name one before Intake's own in an entry's list of drivers. Where this package is
not installed, Intake takes the next one, with the same arguments::

    sources:
      lens:
        driver: [xarray_locality, zarr]
        args: {urlpath: "s3://bucket/a.zarr", storage_options: {anon: true}}
        metadata: {locality: {region: "aws:us-west-2"}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import xarray as xr
from intake.source.base import DataSource, Schema

from xr_locality.catalog.entry_tags import Level
from xr_locality.catalog.formats import Opening
from xr_locality.catalog.open_entry import OpenEntry
from xr_locality.errors import LocalityError
from xr_locality.regions.region import Region
from xr_locality.regions.store import without_secrets
from xr_locality.regions.tag import Tag

__all__ = ["IcechunkSource", "KerchunkSource", "LocalitySource", "NetCDFSource"]

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
        of the store. Other engines than zarr's get open files.
    """

    name = "xarray_locality"
    version = "1"
    container = "xarray"
    partition_access = False

    # Intake's own shows the arguments, secrets among them.
    _ipython_display_ = None

    #: A name in ``xr_locality.catalog.formats.FORMATS``.
    kind: ClassVar[str] = "xarray"

    def __init__(
        self,
        urlpath: str | Sequence[str],
        storage_options: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(storage_options=storage_options, metadata=dict(metadata or {}))
        self.urlpath = urlpath
        # Intake adds what it finds in the data to the other one.
        self._written = dict(metadata or {})
        self._data = OpenEntry(
            kind=self.kind,
            opening=Opening(
                urls=(urlpath,) if isinstance(urlpath, str) else tuple(map(str, urlpath)),
                storage_options=storage_options or {},
                options=kwargs,
            ),
            levels=self._levels,
        )

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
    def regions(self) -> tuple[Region, ...]:
        """Where the catalog says the data and their replicas are."""
        tag = self.tag
        if tag is None:
            return ()
        return tuple(dict.fromkeys((tag.region, *(each.region for each in tag.replicas))))

    @property
    def tag(self) -> Tag | None:
        """What the entry, and the catalogs it is in, say of the data's region."""
        return self._data.tag

    def to_dask(self, region: str | Region | None = None) -> xr.Dataset:
        """Open the data lazily, and remember their region.

        Of an entry with replicas any may be read: the plan says which, unless `region`
        does.

        Parameters
        ----------
        region : str or Region, optional
            Read the replica that is there, and no other.

        Returns
        -------
        xarray.Dataset
            Made of dask arrays.

        Raises
        ------
        RegionError
            If the entry's region is malformed, or nothing is in `region`. Nothing is
            opened.
        """
        return self._data.open(region)

    def read(self) -> xr.Dataset:
        """Load the data into the memory of this process, wherever they are."""
        return self.to_dask().compute()

    def _get_schema(self) -> Schema:
        dataset = self.to_dask()
        found = {
            "dims": dict(dataset.sizes),
            "data_vars": {str(name): list(var.coords) for name, var in dataset.data_vars.items()},
            "coords": [str(name) for name in dataset.coords],
        }
        return Schema(dtype=None, shape=None, npartitions=None, extra_metadata=found)

    def _close(self) -> None:
        self._data.close()

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
        shown = self._data.opening.stores[0]
        where = f"entry {self.name!r}" if catalogs else f"the source of {str(shown)!r}"
        inside = f"{levels[-1].where}, " if levels else ""
        return [*levels, Level(metadata=self._written, where=f"{inside}{where}")]

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self._data.opening.stores))
        try:
            region = str(self.region or "unknown region")
        except LocalityError:
            region = "malformed region"
        return f"<{type(self).__name__} {self.name!r}: {shown} in {region}>"


class NetCDFSource(LocalitySource):
    """Files such as netCDF, opened with the engine that xarray chooses for them.

    Parameters
    ----------
    urlpath, storage_options, metadata, **kwargs
        As :class:`LocalitySource` takes them, and ``xarray_kwargs`` as intake-xarray's
        ``netcdf`` does: ``driver: [xarray_locality_netcdf, netcdf]`` suits both.
    """

    name = "xarray_locality_netcdf"
    kind = "netcdf"


class KerchunkSource(LocalitySource):
    """A set of kerchunk's references; its tag is about the data that they lead to.

    Parameters
    ----------
    urlpath : str
        The references, JSON or parquet; or ``reference://``, with ``fo`` in
        `storage_options`, as ``driver: [xarray_locality_kerchunk, zarr]`` needs it.
    storage_options : Mapping, optional
        What fsspec's ``ReferenceFileSystem`` takes, such
        as ``remote_protocol`` and ``remote_options``.
    metadata, **kwargs
        As :class:`LocalitySource` takes them.
    """

    name = "xarray_locality_kerchunk"
    kind = "kerchunk"


class IcechunkSource(LocalitySource):
    """An Icechunk repository.

    Parameters
    ----------
    urlpath : str
        Where the repository is: ``s3://bucket/prefix``, ``gs://…``, ``abfss://…``, a path.
    storage_options : Mapping, optional
        As Icechunk's storages take them, or as fsspec does: ``anon``, ``key``,
        ``secret``, ``token``, ``endpoint_url``, ``region``.
    metadata : Mapping, optional
        The entry's metadata, with its tag.
    **kwargs
        ``branch`` (by default ``main``), ``tag`` or ``snapshot_id``,
        ``authorize_virtual_chunk_access``; others as :class:`LocalitySource` takes them.
    """

    name = "xarray_locality_icechunk"
    kind = "icechunk"


def _name(catalog: Any) -> str:
    return without_secrets(str(catalog.name or getattr(catalog, "path", None) or "without a name"))
