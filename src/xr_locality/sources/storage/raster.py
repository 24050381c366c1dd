"""Find the files that rasterio and rioxarray read through GDAL."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

import numpy as np
from xarray.backends import FileManager

from xr_locality.compat.xarray_backends import managed_file
from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk
from xr_locality.sources.storage.files import local_file

__all__ = ["RasterFinder", "gdal_store"]

_PACKAGES: Final = frozenset({"rasterio", "rioxarray"})

# Of GDAL's virtual file systems, those that are storage: /vsis3/, /vsis3_streaming/, …
_STORAGE: Final = re.compile(r"/vsi(?P<kind>[a-z0-9]+?)(?:_streaming)?(?P<rest>[/?].*)", re.DOTALL)
_ARCHIVES: Final = frozenset({"gzip", "tar", "zip", "7z", "rar", "cached"})
_PROTOCOLS: Final = {"s3": "s3", "gs": "gs", "az": "az", "adls": "az"}
# "NETCDF:path:variable", "GTIFF_DIR:2:path", and 'HDF5:"path"://variable'.
_SUBDATASET: Final = re.compile(r"[A-Z][A-Z0-9_]+:(?:\d+:)?(?P<rest>.+)", re.DOTALL)
_QUOTED: Final = re.compile(r'"(?P<path>[^"]+)".*', re.DOTALL)
_VARIABLE: Final = re.compile(r"(?P<path>.+?):(?!//)[^:]*", re.DOTALL)
# rasterio's own spelling: "zip+https://host/a.zip!/inner.tif".
_RASTERIO: Final = re.compile(r"(?:(?:zip|tar|gzip)\+)?(?P<url>[a-z0-9]+://[^!]*)(?:!.*)?")


class RasterFinder:
    """Finds rasterio's datasets, and what rioxarray opened lazily."""

    name = "raster"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return where a raster is; None for other objects."""
        if "rasterio" not in sys.modules:
            return None
        kind = type(obj)
        if isinstance(obj, FileManager):
            # xarray's or rioxarray's, around rasterio.open or a function of rioxarray.
            file = managed_file(obj)
            module: str = getattr(getattr(file, "opener", None), "__module__", None) or ""
            if file is None or module.partition(".")[0] not in _PACKAGES:
                return None
            return _at(file.arguments[0], obj, walk)
        package = kind.__module__.partition(".")[0]
        if package == "rioxarray" and kind.__name__ == "RasterioArrayWrapper":
            array: Any = obj
            itemsize = np.dtype(array.dtype).itemsize
            nbytes = math.prod(array.shape) * itemsize
            return [
                replace(each, array_nbytes=nbytes, itemsize=itemsize)
                for each in walk(array.manager)
            ]
        if package == "rasterio" and hasattr(kind, "dataset_mask"):
            reader: Any = obj
            return _at(reader.name, obj, walk)
        return None


def _at(name: object, reader: object, walk: Walk) -> Iterable[Found]:
    if not isinstance(name, str | os.PathLike):
        return walk(name) or (Found.unknown(reader, detail="raster"),)
    store = gdal_store(os.fspath(name))
    if store is None:
        return ()
    if store.protocol == "file":
        return (local_file(f"/{store.path}", reader),)
    return (Found.at(store, detail="raster"),)


def gdal_store(name: str) -> Store | None:
    """Return the store that a dataset's name stands for in GDAL.

    Parameters
    ----------
    name : str
        A path, a URL, or a path of GDAL's own such as ``/vsis3/bucket/key``.

    Returns
    -------
    Store or None
        None for what is in memory.

    Examples
    --------
    >>> gdal_store("/vsizip//vsigs/bucket/a.zip/inner.tif").url
    'gs://bucket/a.zip'
    """
    if match := _SUBDATASET.fullmatch(name):
        name = match["rest"]
        if match := _QUOTED.fullmatch(name) or _VARIABLE.fullmatch(name):
            name = match["path"]
    if (match := _STORAGE.fullmatch(name)) is None:
        match = _RASTERIO.fullmatch(name)
        if match is None:
            return Store.from_url(name)
        protocol = Store.from_url(match["url"]).protocol
        return Store.from_url(match["url"], _options(protocol))
    kind, rest = match["kind"], match["rest"]
    if kind == "mem":
        return None
    if kind in _ARCHIVES:
        inner = rest.removeprefix("/").removeprefix("{")
        inner = inner if inner.startswith("/") or "://" in inner else f"/{inner}"
        return _archive(gdal_store(inner))
    if kind == "curl":
        url = parse_qs(rest[1:])["url"][0] if rest.startswith("?") else rest[1:]
        return Store.from_url(url)
    if kind in _PROTOCOLS:
        protocol = _PROTOCOLS[kind]
        return Store.at(protocol, rest[1:].partition("?")[0], _options(protocol))
    return Store(protocol=f"vsi{kind}", path=rest)


def _archive(store: Store | None) -> Store | None:
    """Cut a path off behind the archive that it goes into."""
    if store is None:
        return None
    match = re.match(
        r"(.*?\.(?:zip|tar|tgz|tar\.gz|gz|7z|rar|kmz|ods|xlsx))(?:}?/.*)?$", store.path
    )
    return store if match is None else _at_path(store, match[1])


def _at_path(store: Store, path: str) -> Store:
    return Store(
        protocol=store.protocol,
        bucket=store.bucket,
        path=path,
        endpoint_url=store.endpoint_url,
        account=store.account,
    )


def _options(protocol: str) -> dict[str, Any]:
    """Read the service and the account that GDAL is told to use for a protocol."""
    if protocol == "az":
        endpoint, account = _option("CPL_AZURE_ENDPOINT"), _option("AZURE_STORAGE_ACCOUNT")
        return {"endpoint_url": endpoint, "account_name": account}
    if protocol == "gs":
        return {"endpoint_url": _option("CPL_GS_ENDPOINT")}
    host = _option("AWS_S3_ENDPOINT")
    if not host or "://" in host:
        return {"endpoint_url": host}
    plain = (_option("AWS_HTTPS") or "YES").upper() in ("NO", "FALSE", "OFF")
    return {"endpoint_url": f"{'http' if plain else 'https'}://{host}"}


def _option(name: str) -> str | None:
    if "rasterio.env" in sys.modules:
        from rasterio.env import getenv, hasenv

        value = getenv().get(name) if hasenv() else None
        if value is not None:
            return str(value)
    return os.environ.get(name)
