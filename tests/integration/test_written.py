"""to_zarr writes from beside the store what xarray itself would write, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from support.clusters import kept_open

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))
AZURE = xl.Region.parse("azure:westeurope")


@pytest.fixture(scope="module")
def session() -> Iterator[xl.Session]:
    """Two regions with data, and a third, all clusters in this process."""
    from distributed import LocalCluster

    clusters = {
        str(region): LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address=":0",
            silence_logs=50,
        )
        for region in (AWS, GCP, AZURE)
    }
    try:
        session = xl.Session(clusters)
        yield session
        session.close()
    finally:
        for cluster in clusters.values():
            cluster.close()


@pytest.fixture
def dataset(tmp_path: Path, session: xl.Session) -> Iterator[xr.Dataset]:
    """A dataset of sources in two regions, with what zarr has to keep, in a session."""
    rng = np.random.default_rng(2)
    fields = {}
    for name, region in (("a", AWS), ("b", GCP)):
        source = xr.Dataset(
            {"t": (("time", "x"), rng.random((12, 6)), {"units": "K"})},
            coords={"time": np.arange(12), "x": np.arange(6.0), "lat": ("x", rng.random(6))},
        ).chunk(time=3)
        path = tmp_path / f"{name}.zarr"
        source.to_zarr(path, consolidated=False)
        opened = xl.tag(xr.open_zarr(path, chunks={}, consolidated=False), region)
        fields[name] = opened.t.drop_encoding().drop_vars("lat") if name == "b" else opened.t
    fields["a"].encoding = {}
    made = xr.Dataset(
        {
            "warm": (fields["a"] + 1).assign_attrs(units="K"),
            "difference": fields["a"] - fields["b"].mean("time"),
            "count": ("x", np.arange(6)),
        },
        attrs={"title": "made"},
    ).drop_encoding()
    with kept_open(session):
        yield made


def contents(path: Path) -> dict[str, str]:
    """Tell what is under every key of a store."""
    return {
        str(each.relative_to(path)): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted(path.rglob("*"))
        if each.is_file()
    }


def policy_for(path: Path) -> dict[str, Any]:
    """Say that a store lies in the third region."""
    return {"rules": {str(path): str(AZURE)}}


class Written:
    """Writes in both ways, and compares what is there after."""

    def __init__(self, tmp_path: Path, session: xl.Session) -> None:
        self.ours, self.theirs = tmp_path / "ours.zarr", tmp_path / "theirs.zarr"
        self.session = session

    def write(self, obj: Any, **kwargs: Any) -> None:
        """Write an object, and more to what is there."""
        obj.to_zarr(self.theirs, **kwargs)
        obj.locality.to_zarr(self.ours, policy=policy_for(self.ours), **kwargs)

    def check(self) -> None:
        """Compare key by key; and see that the last run wrote beside the store."""
        ours, theirs = contents(self.ours), contents(self.theirs)
        assert ours.keys() == theirs.keys()
        assert {key for key in ours if ours[key] != theirs[key]} == set()
        assert AZURE in self.session.reports[-1].plan.regions


@pytest.fixture
def written(tmp_path: Path, session: xl.Session) -> Written:
    """Two stores that are to be alike."""
    return Written(tmp_path, session)


WAYS: dict[str, dict[str, Any]] = {
    "format-2": {"zarr_format": 2},
    "format-2-not-consolidated": {"zarr_format": 2, "consolidated": False},
    "format-3": {"zarr_format": 3, "consolidated": False},
    "group": {"zarr_format": 2, "group": "inside/of"},
    "encoding": {
        "zarr_format": 2,
        "encoding": {"warm": {"dtype": "f4", "_FillValue": -1.0, "chunks": (3, 6)}},
    },
    "scaled": {
        "zarr_format": 2,
        "encoding": {"warm": {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -999}},
    },
    "empty-chunks-left-out": {"zarr_format": 2, "write_empty_chunks": False},
    "sharded": {
        "zarr_format": 3,
        "consolidated": False,
        "encoding": {
            "warm": {"chunks": (1, 6), "shards": (3, 6)},
            "difference": {"chunks": (1, 6), "shards": (3, 6)},
        },
    },
}


@pytest.mark.parametrize("kwargs", WAYS.values(), ids=WAYS)
def test_new_store(dataset: xr.Dataset, written: Written, kwargs: dict[str, Any]) -> None:
    """A new store in a third region has the very bytes that xarray writes."""
    written.write(dataset, **kwargs)
    written.check()
    regions = set(written.session.reports[-1].plan.regions)
    assert {AWS, GCP, AZURE} <= regions


def test_array_and_tree(dataset: xr.Dataset, written: Written, tmp_path: Path) -> None:
    """DataArrays and DataTrees are written as Datasets are."""
    written.write(dataset["warm"], zarr_format=2)
    written.check()
    trees = Written(tmp_path / "trees", written.session)
    tree = xr.DataTree.from_dict({"/": dataset[["count"]], "/one": dataset, "/two": dataset + 1})
    trees.write(tree, zarr_format=2)
    trees.check()


def test_append(dataset: xr.Dataset, written: Written) -> None:
    """Appending along a dimension gives the store that xarray gives."""
    written.write(dataset.isel(time=slice(0, 6)), zarr_format=2)
    written.write(
        dataset.drop_vars(["count", "lat"]).isel(time=slice(6, 12)),
        append_dim="time",
    )
    written.check()


@pytest.mark.parametrize("region", [{"time": slice(3, 9)}, "auto"], ids=["slices", "auto"])
def test_region(dataset: xr.Dataset, written: Written, region: Any) -> None:
    """Writing a region of a store that is laid out already gives what xarray gives."""
    written.write(dataset, zarr_format=2, compute=False)
    part = dataset.isel(time=slice(3, 9))
    without = [name for name in part.variables if "time" not in part[name].dims]
    written.write(part.drop_vars(without if region != "auto" else ["count", "lat"]), region=region)
    written.check()


@pytest.mark.parametrize("mode", ["w", "a", "r+"])
def test_over_what_is_there(dataset: xr.Dataset, written: Written, mode: str) -> None:
    """Overwriting and modifying follow xarray's modes."""
    written.write(dataset, zarr_format=2)
    written.write(dataset[["warm"]] * 2, mode=mode, zarr_format=2)
    written.check()


def test_compute_false_then_compute(dataset: xr.Dataset, written: Written) -> None:
    """What is written later, by its Delayed, is written beside the store too."""
    delayed = dataset.to_zarr(written.theirs, zarr_format=2, compute=False)
    delayed.compute(scheduler="sync")
    later = dataset.locality.to_zarr(
        written.ours, policy=policy_for(written.ours), zarr_format=2, compute=False
    )
    xl.compute(later, **policy_for(written.ours))
    written.check()


def test_persisted_is_written(dataset: xr.Dataset, written: Written) -> None:
    """What regions hold is written from there, and nothing is read again."""
    held = dataset.locality.persist()
    held.locality.to_zarr(written.ours, policy=policy_for(written.ours), zarr_format=2)
    dataset.to_zarr(written.theirs, zarr_format=2)
    written.check()
    assert all(not source.found for source in written.session.reports[-1].plan.sources)


def test_existing_store_is_refused(dataset: xr.Dataset, written: Written) -> None:
    """With the default mode a store that is there is left as it is, as by xarray."""
    written.write(dataset, zarr_format=2)
    before = contents(written.ours)
    runs = len(written.session.reports)
    with pytest.raises(FileExistsError):
        (dataset * 2).locality.to_zarr(written.ours, policy=policy_for(written.ours))
    assert contents(written.ours) == before
    assert len(written.session.reports) == runs


@pytest.mark.parametrize(
    ("change", "kwargs"),
    [
        ({"time": slice(0, 5)}, {"region": {"time": slice(1, 6)}}),
        ({"time": slice(0, 4)}, {"append_dim": "time"}),
    ],
    ids=["region", "append"],
)
def test_chunks_out_of_step(
    dataset: xr.Dataset, written: Written, change: Any, kwargs: dict[str, Any]
) -> None:
    """Chunks that two tasks would write to at once are refused, as by xarray, before a run."""
    start = dataset[["warm"]].drop_vars(["lat", "x"])
    written.write(start.isel(time=slice(0, 10)), zarr_format=2)
    part = start.isel(change).chunk(time=1)
    runs = len(written.session.reports)
    messages = []
    for write in (
        lambda: part.to_zarr(written.theirs, **kwargs),
        lambda: part.locality.to_zarr(written.ours, policy=policy_for(written.ours), **kwargs),
    ):
        with pytest.raises(ValueError, match="chunk") as error:
            write()
        messages.append(str(error.value).replace("theirs", "ours"))
    assert messages[0] == messages[1]
    assert len(written.session.reports) == runs
