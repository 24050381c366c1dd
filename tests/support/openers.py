"""Ways to open data lazily: each writes a little, and opens it as a user would.

`OPENERS` maps a name to an `Opener`, whose `open` takes the place to write to. Other
tests may take the list to compute what they open.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import dask.array as da
import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from support.places import AZURITE_ACCOUNT, AZURITE_KEY, Place

__all__ = ["OPENERS", "SHAPE", "Opener", "values"]

SHAPE: Final = (100, 20)
_EVERYWHERE: Final = frozenset({"az", "file", "gs", "http", "memory", "s3"})


def values() -> np.ndarray[Any, Any]:
    """Make what is written, as the variable ``tp``."""
    return np.arange(np.prod(SHAPE), dtype="f8").reshape(SHAPE)


def _dataset() -> xr.Dataset:
    return xr.Dataset({"tp": (("time", "x"), values())}).chunk(time=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """A way to open data.

    Attributes
    ----------
    name : str
        What it is called.
    function : callable
        Writes below a place and opens it.
    found : str or None
        Path below the place of what finders are to find; None where nobody can know.
    protocols : frozenset of str
        Where it can be used.
    requires : tuple of str
        Packages that it needs.
    """

    name: str
    function: Callable[[Place], Any]
    found: str | None
    protocols: frozenset[str]
    requires: tuple[str, ...]

    def open(self, place: Place) -> Any:
        """Write data and open them; skip the test where a package is missing."""
        for package in self.requires:
            if find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
        with warnings.catch_warnings():
            # Format 3 does not specify consolidated metadata, says zarr each time.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            # zarr warns of caches.
            warnings.filterwarnings("ignore", message="fs .* was not created with")
            # Of kerchunk and of rasterio, of what they themselves use.
            warnings.filterwarnings("ignore", message="The 'fastparquet' engine is deprecated")
            warnings.filterwarnings("ignore", message="Use `@` matmul")
            return self.function(place.below(self.name))


OPENERS: Final[dict[str, Opener]] = {}


def opener(
    found: str | None, *requires: str, protocols: frozenset[str] = _EVERYWHERE
) -> Callable[[Callable[[Place], Any]], Callable[[Place], Any]]:
    """Add a function to the openers, under its name."""

    def add(function: Callable[[Place], Any]) -> Callable[[Place], Any]:
        name = function.__name__.replace("_", "-")
        OPENERS[name] = Opener(
            name=name, function=function, found=found, protocols=protocols, requires=requires
        )
        return function

    return add


def _write_zarr(place: Place, zarr_format: Any = 2) -> str:
    url, options = place.target
    # By its path: fsspec makes no directories of this machine.
    _dataset().to_zarr(
        f"{url.removeprefix('file://')}/a.zarr",
        zarr_format=zarr_format,
        storage_options=options or None,
        consolidated=True,
    )
    return f"{place.url}/a.zarr"


@opener("a.zarr/tp")
def zarr_format_2(place: Place) -> Any:
    """Zarr by URL, of the older format."""
    url = _write_zarr(place)
    return xr.open_zarr(url, storage_options=dict(place.options) or None)


@opener("a.zarr/tp")
def zarr_format_3(place: Place) -> Any:
    """Zarr by URL, of the newer format."""
    url = _write_zarr(place, 3)
    return xr.open_zarr(url, storage_options=dict(place.options) or None)


@opener("a.zarr/tp")
def zarr_mapping(place: Place) -> Any:
    """Zarr in one of fsspec's mappings."""
    mapping = fsspec.get_mapper(_write_zarr(place), **place.options)
    return xr.open_dataset(mapping, engine="zarr", chunks={})


# Not over S3 or HTTP: zarr asks for an asynchronous filesystem, a cache cannot call one,
# and what then fails breaks whatever else the process reads through that filesystem.
def _cached(place: Place, cache: str) -> Any:
    url = _write_zarr(place)
    options = {cache: {"cache_storage": tempfile.mkdtemp()}, place.protocol: dict(place.options)}
    # One after another: threads that fill a cache at once get in each other's way.
    filesystem, path = fsspec.url_to_fs(f"{cache}::{url}", **options)
    for name in filesystem.find(path):
        filesystem.cat_file(name)
    return xr.open_zarr(f"{cache}::{url}", storage_options=options)


@opener("a.zarr/tp", protocols=frozenset({"file", "memory"}))
def zarr_simplecache(place: Place) -> Any:
    """Zarr behind a cache of whole files."""
    return _cached(place, "simplecache")


@opener("a.zarr/tp", protocols=frozenset({"file", "memory"}))
def zarr_filecache(place: Place) -> Any:
    """Zarr behind a cache that checks its files."""
    return _cached(place, "filecache")


@opener("a.zarr/tp")
def dask_from_zarr(place: Place) -> Any:
    """dask.array.from_zarr."""
    url = _write_zarr(place)
    return da.from_zarr(url, component="tp", storage_options=dict(place.options) or None)


@opener("a.zarr/tp")
def dask_from_array(place: Place) -> Any:
    """dask.array.from_array of one of zarr's arrays."""
    url = _write_zarr(place)
    group = zarr.open_group(url, mode="r", storage_options=dict(place.options) or None)
    return da.from_array(group["tp"])


@opener("a.zarr/tp", "obstore", protocols=frozenset({"az", "file", "http", "s3"}))
def zarr_obstore(place: Place) -> Any:
    """Zarr in one of obstore's stores."""
    from zarr.storage import ObjectStore

    url = _write_zarr(place)
    return xr.open_zarr(ObjectStore(_object_store(url, place), read_only=True))


def _object_store(url: str, place: Place) -> Any:
    from obstore.store import AzureStore, HTTPStore, LocalStore, S3Store

    bucket, _, prefix = url.partition("://")[2].partition("/")
    plain = {"allow_http": True}
    if place.protocol == "s3":
        return S3Store(
            bucket,
            prefix=prefix,
            endpoint=place.options["endpoint_url"],
            region="us-east-1",
            access_key_id=place.options["key"],
            secret_access_key=place.options["secret"],
            client_options=plain,
        )
    if place.protocol == "az":
        endpoint = place.store.endpoint_url
        return AzureStore(
            bucket,
            prefix=prefix,
            account_name=AZURITE_ACCOUNT,
            account_key=AZURITE_KEY,
            endpoint=endpoint,
            client_options=plain,
        )
    if place.protocol == "http":
        return HTTPStore(url, client_options=plain)
    return LocalStore(url.removeprefix("file://"))


@opener("icechunk/tp", "icechunk", protocols=frozenset({"file", "s3"}))
def icechunk(place: Place) -> Any:
    """An icechunk repository."""
    import dask
    import icechunk

    bucket, _, prefix = place.url.partition("://")[2].partition("/")
    if place.protocol == "s3":
        storage = icechunk.s3_storage(
            bucket=bucket,
            prefix=f"{prefix}/icechunk",
            endpoint_url=place.options["endpoint_url"],
            region="us-east-1",
            access_key_id=place.options["key"],
            secret_access_key=place.options["secret"],
            allow_http=True,
            force_path_style=True,
        )
    else:
        storage = icechunk.local_filesystem_storage(f"{place.url.removeprefix('file://')}/icechunk")
    repository = icechunk.Repository.create(storage)
    session = repository.writable_session("main")
    with dask.config.set(scheduler="synchronous"):
        _dataset().to_zarr(session.store, consolidated=False)
    session.commit("written")
    return xr.open_zarr(repository.readonly_session("main").store, consolidated=False)


def _write_file(place: Place, engine: Any) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.nc"
        encoding = {} if engine == "scipy" else {"tp": {"chunksizes": (10, 20)}}
        _dataset().compute().to_netcdf(path, engine=engine, encoding=encoding)
        return place.put(path, "a.nc")


@opener("a.nc/tp", "h5netcdf")
def netcdf4_with_h5netcdf(place: Place) -> Any:
    """A netCDF 4 file on one of fsspec's files."""
    _write_file(place, "h5netcdf")
    return xr.open_dataset(place.open("a.nc"), engine="h5netcdf", chunks={})


@opener("a.nc/tp")
def netcdf3_with_scipy(place: Place) -> Any:
    """A netCDF 3 file on one of fsspec's files."""
    _write_file(place, "scipy")
    return xr.open_dataset(place.open("a.nc"), engine="scipy", chunks={})


@opener("a.nc/tp", "netCDF4", protocols=frozenset({"file"}))
def netcdf4_with_netcdf4(place: Place) -> Any:
    """A netCDF 4 file by its path."""
    url = _write_file(place, "netcdf4")
    return xr.open_dataset(url.removeprefix("file://"), engine="netcdf4", chunks={})


@opener(None, "h5netcdf", protocols=frozenset({"http", "memory", "s3"}))
def netcdf_simplecache(place: Place) -> Any:
    """A netCDF file in a cache of whole files: only this machine has the copy."""
    url = _write_file(place, "h5netcdf")
    options = {"simplecache": {"cache_storage": tempfile.mkdtemp()}}
    if place.options:
        options[place.protocol] = dict(place.options)
    opened = fsspec.open(f"simplecache::{url}", **options).open()
    dataset = xr.open_dataset(opened, engine="h5netcdf", chunks={})
    dataset.set_close(opened.close)
    return dataset


def _references(place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a file, and make kerchunk's references to it."""
    from kerchunk.hdf import SingleHdf5ToZarr

    url = _write_file(place, "h5netcdf")
    with place.open("a.nc") as opened:
        references = SingleHdf5ToZarr(opened, url).translate()
    options = {
        "remote_protocol": place.protocol,
        "remote_options": {**place.options, "asynchronous": True},
    }
    if place.protocol in ("file", "memory"):
        options["remote_options"] = dict(place.options)
    return references, options


@opener("a.nc", "kerchunk", "h5netcdf", protocols=_EVERYWHERE)
def kerchunk_json(place: Place) -> Any:
    """Kerchunk's references in JSON."""
    references, options = _references(place)
    return xr.open_dataset(references, engine="kerchunk", storage_options=options, chunks={})


@opener("a.nc", "kerchunk", "h5netcdf", "fastparquet", protocols=_EVERYWHERE)
def kerchunk_parquet(place: Place) -> Any:
    """Kerchunk's references in parquet."""
    from kerchunk.df import refs_to_dataframe

    references, options = _references(place)
    directory = f"{tempfile.mkdtemp()}/references"
    refs_to_dataframe(references, directory, record_size=4)
    return xr.open_dataset(
        directory, engine="kerchunk", storage_options={**options, "lazy": True}, chunks={}
    )


@opener("a.nc", "virtualizarr", "obstore", "h5netcdf", protocols=frozenset({"file", "s3"}))
def virtualizarr(place: Place) -> Any:
    """VirtualiZarr's manifests, as a store."""
    from obspec_utils.registry import ObjectStoreRegistry
    from virtualizarr.parsers import HDFParser

    url = _write_file(place, "h5netcdf")
    root = url[: url.index("/", url.index("://") + 3)]
    store = _object_store("file:///" if place.protocol == "file" else root, place)
    registry = ObjectStoreRegistry({root: store})
    return xr.open_zarr(HDFParser()(url=url, registry=registry), consolidated=False, zarr_format=3)


@opener("a.tif", "rioxarray", protocols=frozenset({"file", "http", "s3"}))
def geotiff(place: Place) -> Any:
    """A GeoTIFF with rioxarray."""
    import rioxarray  # noqa: F401
    from affine import Affine

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.tif"
        array = xr.DataArray(values()[None], dims=("band", "y", "x"))
        array.rio.write_transform(Affine(2, 0, 10, 0, -2, 10), inplace=True)
        array.rio.to_raster(path)
        url = place.put(path, "a.tif")
    name = url.removeprefix("file://")
    return xr.open_dataset(name, engine="rasterio", chunks={})


@opener("a.parquet", "pyarrow")
def dataframe_parquet(place: Place) -> Any:
    """A dask DataFrame from parquet files."""
    import dask.dataframe as dd

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "part.0.parquet"
        pd.DataFrame({"tp": values().ravel()}).to_parquet(path)
        place.below("a.parquet").put(path, "part.0.parquet")
    url = f"{place.url}/a.parquet"
    # HTTP cannot list a directory.
    url += "/part.0.parquet" if place.protocol == "http" else ""
    return dd.read_parquet(url, storage_options=dict(place.options))


@opener("a.csv")
def dataframe_csv(place: Place) -> Any:
    """A dask DataFrame from a file of text."""
    import dask.dataframe as dd

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.csv"
        pd.DataFrame({"tp": values().ravel()}).to_csv(path)
        url = place.put(path, "a.csv")
    return dd.read_csv(url, storage_options=dict(place.options))
