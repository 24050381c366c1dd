import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore, WrapperStore

from xr_locality.compat.dask_graph import Task, TaskRef
from xr_locality.errors import LocalityWarning
from xr_locality.regions.store import Store
from xr_locality.sources import (
    Found,
    find_clusters,
    find_sources,
    unregister_finder,
)
from xr_locality.sources.finder import Walk
from xr_locality.sources.finder_registry import finders
from xr_locality.sources.storage.raster import gdal_store
from xr_locality.sources.storage.references import group_by_bucket
from xr_locality.sources.stored_bytes import generic_nbytes

# By its name: the package has a function that is called like the module.
registry = importlib.import_module("xr_locality.sources.finder_registry")


class DrumFinder:
    """A finder of another package."""

    name = "drum"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Know nothing."""
        return None


def entry_point(value: str) -> importlib.metadata.EntryPoint:
    """Make an entry point of another package."""
    return importlib.metadata.EntryPoint("drum", value, registry.GROUP)


def test_finders_of_other_packages_are_discovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What installed packages name in their entry points is asked too."""
    points = [entry_point(f"{__name__}:DrumFinder")]
    monkeypatch.setattr(registry, "_discovered", False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    try:
        assert finders()[0].name == "drum"
    finally:
        unregister_finder("drum")


def test_a_broken_package_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that cannot be loaded is warned of, and the others are asked."""
    points = [entry_point("no_such_package:Finder")]
    monkeypatch.setattr(registry, "_discovered", False)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    with pytest.warns(LocalityWarning, match="'no_such_package:Finder'"):
        assert "zarr" in [each.name for each in finders()]


def future_at(address: str) -> Any:
    """Make what looks like a Future of a cluster; making a real one needs the cluster."""
    # Futures are references to their own keys.
    future: Any = type("Future", (TaskRef,), {"__module__": "distributed.client"})(address)
    future.client = SimpleNamespace(scheduler=SimpleNamespace(address=address))
    return future


def test_clusters_of_futures() -> None:
    """Futures anywhere in tasks lead to their clusters, and are no storage."""
    first, second = future_at("tcp://a:1"), future_at("tls://b:2")
    tasks = [Task("key", print, [{"x": second}]), first, first]
    assert find_clusters(tasks) == ("tls://b:2", "tcp://a:1")
    assert find_sources(tasks) == ()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("/data/a.tif", "file:///data/a.tif"),
        ("s3://bucket/a.tif", "s3://bucket/a.tif"),
        ("/vsis3/bucket/a.tif", "s3://bucket/a.tif"),
        ("/vsis3_streaming/bucket/a.tif", "s3://bucket/a.tif"),
        ("/vsigs/bucket/a.tif", "gs://bucket/a.tif"),
        ("/vsicurl/https://host.org/a.tif?sig=secret", "https://host.org/a.tif"),
        ("/vsicurl?max_retry=3&url=https%3A%2F%2Fhost.org%2Fa.tif", "https://host.org/a.tif"),
        ("/vsizip//vsis3/bucket/a.zip/inner/b.tif", "s3://bucket/a.zip"),
        ("/vsizip/data/a.zip/inner.tif", "file:///data/a.zip"),
        ("zip+https://host.org/a.zip!/inner.tif", "https://host.org/a.zip"),
        ("NETCDF:/data/a.nc:tp", "file:///data/a.nc"),
        ('HDF5:"/data/a.h5"://group/tp', "file:///data/a.h5"),
        ("GTIFF_DIR:2:/data/a.tif", "file:///data/a.tif"),
        ("NETCDF:/vsis3/bucket/a.nc:tp", "s3://bucket/a.nc"),
    ],
)
def test_names_that_gdal_takes(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL's virtual file systems, archives and subdatasets are where their bytes are."""
    monkeypatch.delenv("AWS_S3_ENDPOINT", raising=False)
    store = gdal_store(name)
    assert store is not None
    assert store.url == url


def test_gdal_memory_is_no_source() -> None:
    """GDAL's files in memory lie nowhere."""
    assert gdal_store("/vsimem/a.tif") is None


def test_references_to_one_bucket() -> None:
    """Files of one bucket are one prefix, and files without a known size make it unknown."""
    (one,) = group_by_bucket({"s3://b/x/1.nc": (1, 5), "s3://b/x/2.nc": (2, 7)})
    assert (one.url, one.n_chunks, one.nbytes) == ("s3://b/x", 3, 12)
    (one,) = group_by_bucket({"s3://b/x/1.nc": (1, None), "s3://b/y/2.nc": (2, 7)})
    assert (one.url, one.nbytes) == ("s3://b", None)


def test_local_copies_of_caches_are_of_unknown_place(tmp_path: Path) -> None:
    """A file that one of fsspec's caches made is not taken for data of this machine."""
    fsspec.filesystem("memory").pipe("/copied/a.bin", b"123")
    (path,) = fsspec.open_local(
        ["simplecache::memory://copied/a.bin"], simplecache={"cache_storage": str(tmp_path)}
    )
    with Path(path).open("rb") as opened:
        (found,) = find_sources([opened])
    assert found.store.protocol == "unknown"
    assert "copy" in found.detail


class Counting(WrapperStore[MemoryStore]):
    """A store of a kind that nobody knows, which counts how often it is asked."""

    asked = 0

    async def getsize(self, key: str) -> int:
        """Say how large an object is."""
        type(self).asked += 1
        return await self._store.getsize(key)


class Answering(Counting):
    """A store that knows sizes by prefix."""

    async def getsize_prefix(self, prefix: str) -> int:
        """Say how large all below a prefix is."""
        return 12_345


def test_stores_of_any_kind_are_asked_for_sizes() -> None:
    """An unknown store tells its sizes: by its own answer, or of a sample of its objects."""
    memory = MemoryStore()
    zarr.create_array(memory, name="tp", data=np.ones(1000), chunks=(2,), compressors=None)
    Counting.asked = 0
    assert generic_nbytes(Counting(memory), "tp") == 8000
    assert 0 < Counting.asked <= 100
    assert generic_nbytes(Answering(memory), "tp") == 12_345


def test_variables_of_one_file_are_apart(tmp_path: Path) -> None:
    """Two variables of one netCDF file are two sources in one group, with a size each."""
    path = tmp_path / "a.nc"
    xr.Dataset({"tp": ("x", np.ones(10)), "tp2": ("y", np.ones(20))}).to_netcdf(
        path, engine="scipy"
    )
    with xr.open_dataset(path, engine="scipy", chunks={}) as opened:
        layers = opened.__dask_graph__().layers.values()
        found = find_sources([vars(layer) for layer in layers])
    found = sorted(found, key=lambda each: each.url)
    place = Store.at("file", str(path))
    assert [each.store for each in found] == [place / "tp", place / "tp2"]
    assert {each.group for each in found} == {place}
    assert [each.array_nbytes for each in found] == [80, 160]
    assert [each.stored_nbytes() for each in found] == [80, 160]


def test_import_of_finders_is_lazy() -> None:
    """Finders look for storage libraries among what is imported, and import none."""
    named = {"obstore", "icechunk", "rasterio", "virtualizarr", "kerchunk", "h5py", "netCDF4"}
    code = (
        "import sys, numpy as np; from xr_locality.sources import find_sources\n"
        "find_sources([object(), np.ones(3), print, {'a': [open]}])\n"
        f"print(sorted(set(sys.modules) & {named!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
