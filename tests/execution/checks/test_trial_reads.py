"""A small read of each source, made of what a graph holds."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr

from xr_locality.execution import remote
from xr_locality.execution.checks.trial_reads import Read, reads_of
from xr_locality.execution.ship import ship


def reads(collection: Any) -> list[Read]:
    """Make the reads of a collection's sources."""
    return reads_of(collection.__dask_graph__().layers.values())


def answer(found: list[Read], *, seconds: float = 20.0) -> dict[str, Any]:
    """Try reads as a worker does, after the way there."""
    readiness = remote.Readiness([], [ship(each.try_out) for each in found], seconds)
    answered: dict[str, Any] = pickle.loads(ship(readiness))()
    return answered


@pytest.fixture
def dataset() -> xr.Dataset:
    """A small dataset with two variables."""
    values = np.arange(12.0).reshape(4, 3)
    return xr.Dataset({"t": (("time", "x"), values), "p": (("time", "x"), -values)})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(dataset: xr.Dataset, tmp_path: Path, zarr_format: Any) -> None:
    """A store is read from once, whatever the number of its arrays."""
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=False)
    opened = xr.open_zarr(tmp_path / "a.zarr", chunks={}, consolidated=False)
    found = reads(opened)
    assert [each.store.path for each in found] == [str(tmp_path / "a.zarr").strip("/")]
    assert answer(found)["problems"] == {}


def test_gone(dataset: xr.Dataset, tmp_path: Path) -> None:
    """A store that is not there for the reader is a problem: zarr would read fill values."""
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    found = reads(xr.open_zarr(tmp_path / "a.zarr", chunks={}))
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    ((kind, words),) = answer(found)["problems"].values()
    assert kind == "FileNotFoundError"
    assert ".zarray" in words


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4", "scipy"])
def test_netcdf_path(dataset: xr.Dataset, tmp_path: Path, engine: Any) -> None:
    """A file is opened with the engine that the graph opens it with."""
    dataset.to_netcdf(tmp_path / "a.nc", engine=engine)
    opened = xr.open_dataset(tmp_path / "a.nc", engine=engine, chunks={})
    (found,) = reads(opened)
    opened.close()
    (tmp_path / "a.nc").rename(tmp_path / "b.nc")
    assert set(answer([found])["problems"]) == {0}
    (tmp_path / "b.nc").rename(tmp_path / "a.nc")
    assert answer([found])["problems"] == {}
    opened.close()


def test_file_of_fsspec(dataset: xr.Dataset, tmp_path: Path) -> None:
    """Of an open file a byte is read through its own filesystem."""
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with fsspec.open(f"file://{tmp_path}/a.nc") as file:
        opened = xr.open_dataset(file, engine="h5netcdf", chunks={})
        found = reads(opened)
        assert len(found) == 1
        assert answer(found)["problems"] == {}
        opened.close()


def test_at_most_twenty_in_a_bucket(dataset: xr.Dataset, tmp_path: Path) -> None:
    """Files of one bucket are opened alike: some stand for all."""
    paths = [tmp_path / f"{number}.zarr" for number in range(30)]
    for path in paths:
        dataset.to_zarr(path, zarr_format=2)
    joined = xr.concat([xr.open_zarr(path, chunks={}) for path in paths], "time", join="override")
    assert len(reads(joined)) == 20


def test_reads_that_hang_end_at_the_deadline() -> None:
    """What does not answer in time is a problem, and does not hold up the others."""

    def hang() -> None:
        import time

        time.sleep(3)

    def work() -> None:
        return None

    readiness = remote.Readiness([], [ship(hang), ship(work)], 0.2)
    problems = readiness()["problems"]
    assert set(problems) == {0}
    assert problems[0][0] == "TimeoutError"


def test_repr_shows_nothing() -> None:
    """What holds credentials shows none."""
    readiness = remote.Readiness(["zarr"], [b"secret"], 1.0)
    assert "secret" not in repr(readiness)
    assert readiness()["missing"] == []
    assert remote.missing(["zarr", "no_such_package"]) == ["no_such_package"]
