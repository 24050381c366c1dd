"""Workers count the stored bytes that they read, from beside them and from afar."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import xr_locality as xl
from support.inprocess import run_here, run_program
from xr_locality.execution.metrics.read_counting import count_reads
from xr_locality.execution.remote.counting_store import CountingStore, collect_reads
from xr_locality.program.executable import Program
from xr_locality.sources.search import find_sources

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))
ENDPOINTS = {str(AWS): None, str(GCP): None}


def chunk_nbytes(path: Path, name: str) -> int:
    """Sum the stored bytes of an array's chunks."""
    return sum(
        each.stat().st_size
        for each in (path / name).rglob("*")
        if each.is_file() and not each.name.startswith(("zarr", ".z"))
    )


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, xr.Dataset]:
    """A dataset in chunks, said to be in Oregon."""
    path = tmp_path / "a.zarr"
    rng = np.random.default_rng(1)
    dataset = xr.Dataset({"t": (("time", "x"), rng.random((12, 50)))}).chunk(time=3)
    dataset.to_zarr(path, consolidated=False)
    opened = xr.open_zarr(path, chunks={}, consolidated=False)
    return path, xl.tag(opened, AWS)


def test_store_counts_what_it_hands_out(stored: tuple[Path, xr.Dataset]) -> None:
    """Every value, and every part of one, is counted once; what is absent counts nothing."""
    path, _ = stored
    label = ("run-1", str(AWS), str(GCP))
    store = CountingStore(zarr.storage.LocalStore(path), label)
    array = zarr.open_array(store, path="t", mode="r")
    collect_reads("run-1")
    array[:]
    assert collect_reads("run-1")[1] == [(str(AWS), str(GCP), chunk_nbytes(path, "t"))]
    assert collect_reads("run-1")[1] == []


def test_counting_changes_nothing_else(stored: tuple[Path, xr.Dataset]) -> None:
    """Keys, sources and values of a plan stay what they are; the plan shown is not touched."""
    _, dataset = stored
    plan = xl.plan(dataset.t.mean("time"), endpoints=ENDPOINTS)
    (expected,) = run_here(plan)
    program, counted = count_reads(Program.of(plan), "run-2")
    assert counted.regions == {AWS}
    assert counted.uncounted == frozenset()
    graph, same = plan.partitions[0].graph, program.regions[0].graph
    assert dict(same).keys() == dict(graph).keys()
    assert find_sources(dict(same).values()) == find_sources(dict(graph).values())
    collect_reads("run-2")
    (result,) = run_program(program)
    xr.testing.assert_identical(result, expected)
    ((source, target, nbytes),) = collect_reads("run-2")[1]
    assert (source, target) == (str(AWS), str(AWS))
    assert nbytes > 0
    run_here(plan)
    assert collect_reads("run-2")[1] == []


def test_brings_its_code_along(stored: tuple[Path, xr.Dataset]) -> None:
    """Where nothing of ours is installed, the store arrives with all that it needs."""
    _, dataset = stored
    plan = xl.plan(dataset.t.mean(), endpoints=ENDPOINTS)
    program, _ = count_reads(Program.of(plan), "run-3")
    (layer,) = (
        layer
        for name, layer in program.regions[0].graph.layers.items()
        if name in plan.sources[0].layers
    )
    import cloudpickle

    pickled = cloudpickle.dumps(layer)
    assert b"xr_locality.execution.metrics.read_counting" not in pickled
    assert pickle.loads(pickled).keys() == layer.keys()


def test_what_is_not_zarr_is_said_not_to_be_counted(tmp_path: Path) -> None:
    """Of other files nobody knows how much was read."""
    pytest.importorskip("netCDF4")
    path = tmp_path / "a.nc"
    xr.Dataset({"t": (("x",), np.ones(4))}).to_netcdf(path, engine="netcdf4")
    field = xl.tag(xr.open_dataset(path, chunks={}, engine="netcdf4"), AWS).t
    policy = {"endpoints": {str(GCP): None}, "missing_endpoint": "nearest"}
    _, counted = count_reads(Program.of(xl.plan(field.sum(), **policy)), "run-4")
    assert counted.regions == frozenset()
    assert counted.uncounted == {(AWS, GCP)}


def test_arrays_in_memory_are_not_copied() -> None:
    """A store in memory is not counted, and its layer is the very same."""
    array = xl.tag(da.from_zarr(zarr.create_array({}, shape=(4,), dtype="f8", chunks=(2,))), AWS)
    plan = xl.plan(array.sum(), endpoints=ENDPOINTS)
    program, counted = count_reads(Program.of(plan), "run-5")
    assert counted.regions == frozenset()
    assert program.regions[0].graph is plan.partitions[0].graph


def test_reads_of_a_run(
    clusters: dict[str, Any], stores: tuple[str, str], sources: tuple[xr.Dataset, xr.Dataset]
) -> None:
    """A report has what the workers of each region read, all of it from beside them."""
    a, b = sources
    with xl.Session(clusters) as session:
        session.compute(a.t.sum() - b.t.sum())
        report = session.reports[-1]
    read = {region: each.nbytes_read for region, each in report.by_region.items()}
    nbytes = [chunk_nbytes(Path(store), "t") for store in stores]
    assert read == dict(zip((AWS, GCP), nbytes, strict=True))
    assert report.remote_reads == {}


def test_reads_from_afar(
    clusters: dict[str, Any], stores: tuple[str, str], sources: tuple[xr.Dataset, xr.Dataset]
) -> None:
    """Stored bytes read from another region are measured, and are what was predicted."""
    a, b = sources
    endpoints = {str(GCP): clusters[str(GCP)]}
    with xl.Session(endpoints, missing_endpoint="nearest") as session:
        session.compute(a.t.sum() - b.t.sum())
        report = session.reports[-1]
    nbytes = chunk_nbytes(Path(stores[0]), "t")
    assert report.remote_reads == {(AWS, GCP): nbytes}
    assert report.moved[AWS, GCP] == nbytes
    assert report.plan.moved[AWS, GCP] == pytest.approx(nbytes, abs=2)
    assert report.usd >= report.plan.costs.usd(AWS, GCP, nbytes) > 0
    assert report.by_region[GCP].nbytes_read == nbytes + chunk_nbytes(Path(stores[1]), "t")
    (crossed,) = (each for each in report.to_dict()["moved"] if each["from"] == str(AWS))
    assert crossed["nbytes_from_stores"] == nbytes
