"""Intake 2 readers and Intake 1 drivers of every kind of storage."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr
import yaml
from intake.readers import datatypes

import xr_locality as xl
from support.inprocess import run_here
from xr_locality.catalog.drivers import IcechunkSource, KerchunkSource, NetCDFSource
from xr_locality.catalog.readers import (
    IcechunkReader,
    KerchunkReader,
    LocalityReader,
    NetCDFReader,
)
from xr_locality.errors import ConfigurationError, RegionError
from xr_locality.regions import REGISTRY, Region, Store

WEST = Region.parse("aws:us-west-2")
TAG = {"locality": {"region": str(WEST)}}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let deprecations in Intake and in writers of test data be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="intake")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", module="zarr")
        yield


def dataset() -> xr.Dataset:
    """Make a dataset in three chunks."""
    values = np.arange(24.0).reshape(6, 4)
    return xr.Dataset({"tp": (("time", "x"), values)}).chunk(time=2)


def write_zarr(directory: Path) -> str:
    """Write a zarr store."""
    path = str(directory / "a.zarr")
    dataset().to_zarr(path, zarr_format=2)
    return path


def write_netcdf(directory: Path) -> str:
    """Write a netCDF file."""
    pytest.importorskip("h5netcdf")
    path = str(directory / "a.nc")
    dataset().to_netcdf(path, engine="h5netcdf", encoding={"tp": {"chunksizes": (2, 4)}})
    return path


def write_references(directory: Path) -> str:
    """Write a set of references to a netCDF file."""
    hdf = pytest.importorskip("kerchunk.hdf")
    references = hdf.SingleHdf5ToZarr(write_netcdf(directory), inline_threshold=0).translate()
    path = directory / "a.json"
    path.write_text(json.dumps(references))
    return str(path)


def write_icechunk(directory: Path) -> str:
    """Write a repository."""
    icechunk = pytest.importorskip("icechunk")
    path = str(directory / "a.icechunk")
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(path))
    session = repository.writable_session("main")
    dataset().to_zarr(session.store, consolidated=False)
    session.commit("All of it.")
    return path


@pytest.mark.parametrize(
    ("write", "open_it"),
    [
        (write_netcdf, NetCDFSource),
        (write_references, KerchunkSource),
        (write_icechunk, IcechunkSource),
    ],
    ids=["netcdf", "kerchunk", "icechunk"],
)
def test_drivers(write: Callable[[Path], str], open_it: Any, tmp_path: Path) -> None:
    """Each driver opens its kind of storage lazily, with its own chunks, and says its region."""
    path = write(tmp_path)
    source = open_it(path, metadata=TAG)
    assert source.region == WEST
    assert REGISTRY.find(Store.from_url(path)) is None
    opened = source.to_dask()
    assert opened.tp.chunks is not None
    xr.testing.assert_equal(opened.compute(), dataset().compute())
    tag = REGISTRY.find(Store.from_url(path))
    assert tag is not None
    assert tag.region == WEST
    source.close()


@pytest.mark.parametrize(
    ("write", "datatype", "reader"),
    [
        (write_zarr, datatypes.Zarr, LocalityReader),
        (write_netcdf, datatypes.HDF5, NetCDFReader),
        (write_references, datatypes.JSONFile, KerchunkReader),
        (write_icechunk, datatypes.Zarr, IcechunkReader),
    ],
    ids=["zarr", "netcdf", "kerchunk", "icechunk"],
)
def test_readers(write: Callable[[Path], str], datatype: Any, reader: Any, tmp_path: Path) -> None:
    """Each reader opens its kind of storage lazily, and says its region without opening it."""
    path = write(tmp_path)
    made = reader(datatype(path, metadata=TAG))
    assert made.region == WEST
    again = made(chunks={"time": 6})
    assert (again.region, again.to_dask().tp.chunks[0]) == (WEST, (6,))
    for opened in (made.to_dask(), made.read(), made.discover()):
        assert opened.tp.chunks is not None
        xr.testing.assert_equal(opened.compute(), dataset().compute())
    with pytest.raises(RegionError, match="not in region 'gcp:us-central1'"):
        made.to_dask(region="gcp:us-central1")


def test_versions_of_a_repository(tmp_path: Path) -> None:
    """A branch, a tag or a snapshot of a repository can be named."""
    path = write_icechunk(tmp_path)
    icechunk = pytest.importorskip("icechunk")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(path))
    snapshot = repository.lookup_branch("main")
    repository.create_tag("v1", snapshot)
    for version in ({"branch": "main"}, {"tag": "v1"}, {"snapshot_id": snapshot}):
        assert IcechunkSource(path, **version).to_dask().sizes == {"time": 6, "x": 4}


def test_references_as_intake_xarray_names_them(tmp_path: Path) -> None:
    """``reference://`` with ``fo`` suits intake-xarray's driver and ours."""
    options = {"fo": write_references(tmp_path)}
    opened = KerchunkSource("reference://", storage_options=options).to_dask()
    xr.testing.assert_equal(opened.compute(), dataset().compute())


def test_several_files(tmp_path: Path) -> None:
    """Files that a glob finds are one dataset, and none is an error of ours."""
    pytest.importorskip("h5netcdf")
    for n in range(2):
        part = dataset().assign_coords(time=np.arange(6) + 6 * n)
        part.to_netcdf(tmp_path / f"{n}.nc", engine="h5netcdf")
    source = NetCDFSource(str(tmp_path / "*.nc"), xarray_kwargs={"engine": "h5netcdf"})
    opened = source.to_dask()
    assert opened.sizes["time"] == 12
    source.close()
    with pytest.raises(ConfigurationError, match="Patterns"):
        NetCDFSource(str(tmp_path / "{year}.nc")).to_dask()


def test_catalog_with_readers(tmp_path: Path) -> None:
    """A catalog with ``version: 2`` names the reader, and opens with Intake."""
    document = {
        "version": 2,
        "metadata": {},
        "user_parameters": {},
        "aliases": {"lens": "lens"},
        "data": {
            "d": {
                "datatype": "intake.readers.datatypes:Zarr",
                "kwargs": {"url": write_zarr(tmp_path)},
                "metadata": TAG,
                "user_parameters": {},
            }
        },
        "entries": {
            "lens": {
                "reader": "xr_locality_readers:LocalityReader",
                "kwargs": {"args": ["{data(d)}"]},
                "metadata": {},
                "output_instance": "xarray:Dataset",
                "user_parameters": {},
            }
        },
    }
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(document))
    reader = intake.open_catalog(str(path)).lens
    assert type(reader) is LocalityReader
    assert reader.region == WEST
    assert reader.to_dask().locality.region == WEST
    assert reader.to_entry().reader == "xr_locality_readers:LocalityReader"


def test_repr_of_a_reader_has_no_secret() -> None:
    """The repr shows where the data are, and no credentials."""
    options = {"key": "k", "secret": "hush"}
    data = datatypes.Zarr("https://me:hush@host.org/a.zarr?sig=hush", storage_options=options)
    assert repr(LocalityReader(data)) == "<LocalityReader: https://host.org/a.zarr>"


def test_intake_stays_light() -> None:
    """What Intake imports of us on its own start loads neither xarray nor dask."""
    code = (
        "import sys, intake, xr_locality_readers; "
        "sys.exit(any(name in sys.modules for name in ('xarray', 'dask', 'xr_locality')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("write", "open_it"),
    [
        (write_netcdf, NetCDFSource),
        (write_references, KerchunkSource),
        (write_icechunk, IcechunkSource),
    ],
    ids=["netcdf", "kerchunk", "icechunk"],
)
def test_replicas_are_reopened(
    write: Callable[[Path], str], open_it: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica of any kind is opened as the original was, and read where a plan chose it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    original = write(tmp_path / "a")
    with monkeypatch.context() as patch:
        other = dataset() + 100
        patch.setattr(sys.modules[__name__], "dataset", lambda: other)
        copy = write(tmp_path / "b")
    replicas = [{"urlpath": copy, "region": "gcp:us-central1"}]
    metadata = {"locality": {"region": str(WEST), "replicas": replicas}}
    opened = open_it(original, metadata=metadata).to_dask()
    plan = xl.plan(opened.tp.sum("x"), endpoints={"gcp:us-central1": None})
    (got,) = run_here(plan)
    xr.testing.assert_equal(got, (dataset().tp + 100).sum("x").compute())
