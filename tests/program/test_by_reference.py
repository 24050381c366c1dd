"""Objects of this process are written to and read as they are, not as copies."""

from __future__ import annotations

import bz2
import gzip
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.utils import SerializableLock

import xr_locality as xl
from support.clusters import two_clusters
from xr_locality.program.by_reference import hand_over_by_reference
from xr_locality.program.executable import Program
from xr_locality.regions.region import LOCAL

pytestmark = pytest.mark.filterwarnings("ignore:No endpoint is configured")

AWS, GCP = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1"))
VALUES = np.arange(48.0).reshape(12, 4)


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Any]]:
    """Two regions' clusters of separate processes."""
    with two_clusters(processes=True) as started:
        yield started


@pytest.fixture(scope="module", params=["no endpoint", "one region", "two regions"])
def session(request: pytest.FixtureRequest, clusters: dict[str, Any]) -> Iterator[xl.Session]:
    """A session with none, one or both clusters; data of a region without one are read there."""
    n_clusters = ["no endpoint", "one region", "two regions"].index(request.param)
    endpoints = dict(list(clusters.items())[:n_clusters])
    with xl.Session(endpoints, missing_endpoint="nearest", progress=False) as opened:
        yield opened


@pytest.fixture
def field(tmp_path: Path) -> xr.DataArray:
    """A sum of data in two regions, which is twice the values."""
    parts = []
    for name, region in (("a", AWS), ("b", GCP)):
        stored = xr.Dataset({"v": (("t", "x"), VALUES)}).chunk(t=3)
        stored.to_zarr(tmp_path / f"{name}.zarr", consolidated=False)
        opened = xr.open_zarr(tmp_path / f"{name}.zarr", chunks={}, consolidated=False)
        parts.append(xl.tag(opened, region).v.drop_encoding())
    return parts[0] + parts[1]


@pytest.mark.parametrize(
    "lock",
    [True, False, threading.Lock(), SerializableLock()],
    ids=["True", "False", "Lock", "SerializableLock"],
)
def test_store_fills_the_very_array(session: xl.Session, field: xr.DataArray, lock: Any) -> None:
    """What is stored into an array of this process is in that array, whatever the lock."""
    target = np.zeros_like(VALUES)
    with xl.routed():
        da.store(field.data, target, lock=lock)
    np.testing.assert_array_equal(target, 2 * VALUES)


def test_store_fills_a_large_array(session: xl.Session) -> None:
    """An array that dask makes a node of the graph of its own is filled too."""
    target = np.zeros((500, 500))
    source = xl.tag(da.ones((500, 500), chunks=250), AWS)
    with xl.routed():
        da.store(source, target)
    assert target.min() == 1.0


def test_store_fills_a_memory_map(session: xl.Session, field: xr.DataArray, tmp_path: Path) -> None:
    """A memory map is written through to its file."""
    target = np.memmap(tmp_path / "m", "f8", "w+", shape=VALUES.shape)
    with xl.routed():
        da.store(field.data, target)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "m"), 2 * VALUES.ravel())


@pytest.mark.parametrize("compute", [True, False])
def test_store_returns_what_it_stored(
    session: xl.Session, field: xr.DataArray, compute: bool
) -> None:
    """``return_stored`` gives arrays with the stored values."""
    target = np.zeros_like(VALUES)
    with xl.routed():
        stored = da.store(field.data, target, return_stored=True, compute=compute)
        stored = stored[0] if isinstance(stored, tuple) else stored
        np.testing.assert_array_equal(stored.compute(), 2 * VALUES)
    np.testing.assert_array_equal(target, 2 * VALUES)


@pytest.mark.parametrize("compute", [True, False])
def test_zarr_in_memory(session: xl.Session, field: xr.DataArray, compute: bool) -> None:
    """A store in the memory of this process has the values."""
    store = zarr.storage.MemoryStore()
    with xl.routed():
        writing = field.to_dataset(name="v").to_zarr(store, consolidated=False, compute=compute)
        if not compute:
            dask.compute(writing)
    written = xr.open_zarr(store, consolidated=False, chunks=None).v
    np.testing.assert_array_equal(written, 2 * VALUES)


@pytest.mark.parametrize("compute", [True, False])
@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4", "scipy"])
def test_netcdf(
    session: xl.Session, field: xr.DataArray, tmp_path: Path, engine: Any, compute: bool
) -> None:
    """A file that xarray has opened here is written here."""
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    path = tmp_path / "out.nc"
    with xl.routed():
        writing = field.to_dataset(name="v").to_netcdf(path, engine=engine, compute=compute)
        if not compute:
            dask.compute(writing)
    with xr.open_dataset(path, engine=engine) as written:
        np.testing.assert_array_equal(written.v, 2 * VALUES)


def test_several_netcdf_files(session: xl.Session, field: xr.DataArray, tmp_path: Path) -> None:
    """``save_mfdataset`` writes all of its files."""
    pytest.importorskip("netCDF4")
    paths = [tmp_path / "one.nc", tmp_path / "two.nc"]
    with xl.routed():
        xr.save_mfdataset([field.to_dataset(name="v"), (field + 1).to_dataset(name="v")], paths)
    for path, expected in zip(paths, (2 * VALUES, 2 * VALUES + 1), strict=True):
        with xr.open_dataset(path) as written:
            np.testing.assert_array_equal(written.v, expected)


def test_hdf5(session: xl.Session, field: xr.DataArray, tmp_path: Path) -> None:
    """``to_hdf5`` writes to the file that is open here."""
    h5py = pytest.importorskip("h5py")
    with xl.routed():
        field.data.to_hdf5(tmp_path / "out.h5", "/v")
    with h5py.File(tmp_path / "out.h5") as written:
        np.testing.assert_array_equal(written["v"][:], 2 * VALUES)


def _in_temporary(content: bytes, folder: Path, stack: ExitStack) -> Any:
    file = stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115  # the test ends it
    file.write(content)
    file.flush()
    return file


def _in_gzip(content: bytes, folder: Path, stack: ExitStack) -> Any:
    (folder / "a.gz").write_bytes(gzip.compress(content))
    return stack.enter_context(gzip.open(folder / "a.gz"))


def _in_bz2(content: bytes, folder: Path, stack: ExitStack) -> Any:
    (folder / "a.bz2").write_bytes(bz2.compress(content))
    return stack.enter_context(bz2.open(folder / "a.bz2"))


def _in_zip(content: bytes, folder: Path, stack: ExitStack) -> Any:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("b.nc", content)
    return stack.enter_context(stack.enter_context(zipfile.ZipFile(folder / "a.zip")).open("b.nc"))


def _in_tar(content: bytes, folder: Path, stack: ExitStack) -> Any:
    (folder / "first").write_bytes(b"not this one")
    (folder / "second").write_bytes(content)
    with tarfile.open(folder / "a.tar", "w") as archive:
        archive.add(folder / "first", arcname="a.nc")
        archive.add(folder / "second", arcname="b.nc")
    archive = stack.enter_context(tarfile.open(folder / "a.tar"))  # noqa: SIM115  # as above
    member = archive.extractfile("b.nc")
    assert member is not None
    return stack.enter_context(member)


@pytest.mark.parametrize("opened", [_in_temporary, _in_gzip, _in_bz2, _in_zip, _in_tar])
def test_open_files(
    session: xl.Session,
    field: xr.DataArray,
    tmp_path: Path,
    opened: Callable[[bytes, Path, ExitStack], Any],
) -> None:
    """A file within another is read through the handle that is open here."""
    pytest.importorskip("h5netcdf")
    xr.Dataset({"v": (("t", "x"), VALUES)}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    content = (tmp_path / "a.nc").read_bytes()
    with ExitStack() as stack:
        file = opened(content, tmp_path, stack)
        lazy = xr.open_dataset(file, engine="h5netcdf", chunks={"t": 4}).v
        (total,) = session.compute(lazy + field)
    np.testing.assert_array_equal(total, 3 * VALUES)


def test_work_stays_beside_the_data(clusters: dict[str, Any], field: xr.DataArray) -> None:
    """Only the writing comes here: a mean is made where its data are."""
    target = np.zeros(4)
    with xl.Session(clusters, remote_read="never", progress=False) as session, xl.routed():
        da.store(field.mean("t").data, target)
        report = session.reports[-1]
    np.testing.assert_allclose(target, 2 * VALUES.mean(0))
    assert report.by_region.keys() == {AWS, GCP, LOCAL}


def test_other_pin_is_refused() -> None:
    """A task that writes into an array of this process cannot be pinned elsewhere."""
    with dask.annotate(locality=str(AWS)):
        writing = da.store(da.ones(4, chunks=2), np.zeros(4), compute=False)
    with pytest.raises(xl.errors.PlacementError, match="object of this process"):
        xl.plan(writing, endpoints={str(AWS): None})


def test_local_cluster_of_other_processes_is_refused(clusters: dict[str, Any]) -> None:
    """A cluster of other processes as region local cannot write into this process."""
    target = np.zeros(4)
    (other, _) = clusters.values()
    with (
        xl.Session({"local": other}, progress=False) as session,
        pytest.raises(xl.errors.EndpointError, match="within this process"),
    ):
        session.compute(da.store(da.ones(4, chunks=2), target, compute=False))
    assert not target.any()


def test_only_the_local_region_is_rewritten() -> None:
    """Graphs of other regions, and graphs without such objects, stay the same."""
    array = xl.tag(da.ones(4, chunks=2), AWS)
    program = Program.of(xl.plan(array.sum(), endpoints={str(AWS): None}))
    assert hand_over_by_reference(program).regions == program.regions
    writing = da.store(array, np.zeros(4), compute=False)
    program = Program.of(xl.plan(writing, endpoints={str(AWS): None}))
    rewritten = hand_over_by_reference(program)
    assert [each.has_references for each in rewritten.regions] == [
        each.region == LOCAL for each in program.regions
    ]
