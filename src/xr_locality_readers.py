"""Intake 2 readers: they open data with xarray, and remember where these are.

An entry of a ``version: 2`` catalog names one as its reader::

    data:
      lens_data:
        datatype: intake.readers.datatypes:Zarr
        kwargs: {url: "s3://bucket/a.zarr", storage_options: {anon: true}}
        metadata: {locality: {region: "aws:us-west-2"}}
        user_parameters: {}
    entries:
      lens:
        reader: xr_locality_readers:LocalityReader
        kwargs: {args: ["{data(lens_data)}"]}
        metadata: {}
        output_instance: xarray:Dataset
        user_parameters: {}
    aliases: {lens: lens}
    metadata: {}
    user_parameters: {}
    version: 2

Metadata of the data reach the reader, those of the catalog do not: see
:func:`xr_locality.catalog.learn`.

This module stands beside the package because Intake imports it whenever it is imported
itself: it must not import xarray and dask, which the package does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from intake.readers import datatypes
from intake.readers.readers import FileReader

if TYPE_CHECKING:
    import xarray as xr

    from xr_locality.catalog.open_entry import OpenEntry
    from xr_locality.regions.region import Region
    from xr_locality.regions.tag import Tag

__all__ = ["IcechunkReader", "KerchunkReader", "LocalityReader", "NetCDFReader"]


class LocalityReader(FileReader):  # type: ignore[misc]  # Intake has no types.
    """Reads with any engine of xarray's, zarr unless one is named."""

    imports: ClassVar[set[str]] = {"xarray"}
    implements: ClassVar[set[Any]] = {datatypes.Zarr}
    func = "xarray:open_dataset"
    output_instance = "xarray:Dataset"

    #: A name in ``xr_locality.catalog.formats.FORMATS``.
    kind: ClassVar[str] = "xarray"

    @property
    def region(self) -> Region | None:
        """Where the catalog says the data are; None if it does not say. Nothing is opened."""
        tag = self.tag
        return None if tag is None else tag.region

    @property
    def tag(self) -> Tag | None:
        """What the entry says of the data's region."""
        data, options = self._given()
        return self._entry(data, options).tag

    def to_dask(self, region: str | Region | None = None, **options: Any) -> xr.Dataset:
        """Open the data lazily, and remember their region.

        Parameters
        ----------
        region : str or Region, optional
            Read the replica that is there, and no other.
        **options : Any
            Passed to xarray.

        Returns
        -------
        xarray.Dataset
            Made of dask arrays.

        Raises
        ------
        RegionError
            If the entry's region is malformed, or nothing is in `region`.
        """
        data, given = self._given()
        return self._entry(data, {**given, **options}).open(region)

    def __call__(self, *args: Any, **kwargs: Any) -> LocalityReader:
        """Make a reader with other arguments; Intake's own would lose the tag."""
        given = {**self.kwargs, **kwargs}
        if args:
            given["args"] = args
        return type(self)(metadata=self.metadata, **given)

    def discover(self, **kwargs: Any) -> xr.Dataset:
        """Open the data lazily, as :meth:`read` does."""
        return self.to_dask(**kwargs)

    def _read(self, data: Any, region: str | Region | None = None, **options: Any) -> xr.Dataset:
        return self._entry(data, options).open(region)

    def _given(self) -> tuple[Any, dict[str, Any]]:
        options = {
            name: value for name, value in self.kwargs.items() if name not in ("args", "data")
        }
        return self.data, options

    def _entry(self, data: Any, options: Mapping[str, Any]) -> OpenEntry:
        from xr_locality.catalog.entry_tags import Level
        from xr_locality.catalog.formats import Opening
        from xr_locality.catalog.open_entry import OpenEntry

        options = dict(options)
        if root := getattr(data, "root", ""):
            options.setdefault("group", root)
        urls = (data.url,) if isinstance(data.url, str) else tuple(map(str, data.url))
        opening = Opening(urls=urls, storage_options=data.storage_options or {}, options=options)
        level = Level(metadata=self.metadata, where=f"the reader of {str(opening.stores[0])!r}")
        return OpenEntry(kind=self.kind, opening=opening, levels=lambda: (level,))

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self._entry(self.data, {}).opening.stores))
        return f"<{type(self).__name__}: {shown}>"


class NetCDFReader(LocalityReader):
    """Reads files such as netCDF, with the engine that xarray chooses for them."""

    implements: ClassVar[set[Any]] = {datatypes.HDF5, datatypes.NetCDF3}
    kind = "netcdf"


class KerchunkReader(LocalityReader):
    """Reads a set of kerchunk's references; its tag is about the data that they lead to."""

    # Not of every file of JSON: Intake would recommend it for all.
    implements: ClassVar[set[Any]] = set()
    kind = "kerchunk"


class IcechunkReader(LocalityReader):
    """Reads an Icechunk repository, named by its URL: ``s3://bucket/prefix``, a path."""

    # Intake's own type has the name of a function of Icechunk's for a URL.
    implements: ClassVar[set[Any]] = set()
    kind = "icechunk"
