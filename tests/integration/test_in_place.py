"""``load()`` changes an object in place, wholly or not at all."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from support.answers import assert_same
from support.clusters import kept_open, two_clusters
from xr_locality import errors

AWS, GCP = "aws:us-west-2", "gcp:us-central1"


@pytest.fixture(scope="module")
def open_session() -> Iterator[xl.Session]:
    """One session over two clusters in this process."""
    with two_clusters(processes=False) as endpoints:
        session = xl.Session(endpoints, retries=0)
        yield session
        session.close()


@pytest.fixture
def session(open_session: xl.Session) -> Iterator[xl.Session]:
    """The module's session as the current one."""
    with kept_open(open_session) as session:
        yield session


@pytest.fixture
def dataset(tmp_path: Path) -> xr.Dataset:
    """A dataset over both regions, with lazy coordinates, attributes and encodings."""
    rng = np.random.default_rng(5)
    opened = []
    for name, region in (("a", AWS), ("b", GCP)):
        source = xr.Dataset(
            {"t": (("time", "x"), rng.random((8, 5)), {"units": "K"})},
            coords={
                "time": np.arange(8),
                "x": np.arange(5.0),
                "height": (("time", "x"), rng.random((8, 5)), {"positive": "up"}),
            },
        ).chunk(time=2)
        encoding = {"t": {"dtype": "f4", "_FillValue": -1.0}}
        source.to_zarr(tmp_path / name, consolidated=False, encoding=encoding)
        one = xr.open_zarr(tmp_path / name, chunks={}, consolidated=False)
        opened.append(xl.tag(one, region))
    made = opened[0].assign(
        difference=opened[0].t - opened[1].t.mean("time"), n=("x", np.arange(5))
    )
    made.attrs["title"] = "made"
    made.encoding["source"] = "of two"
    made.difference.encoding["dtype"] = "f4"
    return made


def array_of(dataset: xr.Dataset) -> xr.DataArray:
    """Take an array with a lazy coordinate, a name and an encoding."""
    return dataset.t.rename("warm").assign_attrs(of="a dataset")


def tree_of(dataset: xr.Dataset) -> xr.DataTree:
    """Put the dataset into a tree, twice."""
    return xr.DataTree.from_dict({"/": dataset[["n"]], "/deep/down": dataset}, name="root")


KINDS: dict[str, Callable[[xr.Dataset], Any]] = {
    "dataset": lambda dataset: dataset,
    "array": array_of,
    "tree": tree_of,
}

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def variables_of(obj: Any) -> dict[str, xr.Variable]:
    """Name all variables of an object."""
    if isinstance(obj, xr.DataTree):
        return {
            f"{path}/{name}": variable
            for path, node in obj.subtree_with_keys
            for name, variable in node.variables.items()
        }
    if isinstance(obj, xr.DataArray):
        return {"": obj.variable} | {str(name): each.variable for name, each in obj.coords.items()}
    return {str(name): variable for name, variable in obj.variables.items()}


def facts_of(obj: Any) -> Any:
    """Tell everything of an object but its values."""
    return copy.deepcopy(
        {
            "of": [
                obj.attrs,
                getattr(obj, "encoding", None),
                obj.name if hasattr(obj, "name") else 0,
            ],
            "coords": sorted(map(str, obj.coords)),
            "variables": {
                name: (each.dims, each.dtype, each.attrs, each.encoding)
                for name, each in variables_of(obj).items()
            },
        }
    )


@each_kind
def test_load_changes_values_alone(
    session: xl.Session, dataset: xr.Dataset, kind: Callable[[xr.Dataset], Any]
) -> None:
    """The object itself is returned, its own variables filled, and all else is as it was."""
    obj = kind(dataset)
    wanted = obj.compute(scheduler="sync")
    before, facts, runs = variables_of(obj), facts_of(obj), len(session.reports)
    assert any(each.chunks is not None for each in before.values())

    assert obj.locality.load() is obj

    assert facts_of(obj) == facts
    after = variables_of(obj)
    assert after.keys() == before.keys()
    for name, each in after.items():
        # Whoever holds an array of a dataset sees it loaded, too, as with xarray's own load.
        assert each.chunks is None, name
        assert before[name].chunks is None, name
        assert isinstance(each.data, np.ndarray), name
    assert_same(obj, wanted)
    assert len(session.reports) == runs + 1


def test_arrays_taken_before_are_loaded_with_their_dataset(
    session: xl.Session, dataset: xr.Dataset
) -> None:
    """An array taken from a dataset shares its variable, and so is loaded with it."""
    taken = dataset["t"]
    dataset.locality.load()
    assert taken.chunks is None


def test_loading_again_runs_nothing(session: xl.Session, dataset: xr.Dataset) -> None:
    """What is in memory is left alone, down to the very array."""
    dataset.locality.load()
    runs, values = len(session.reports), dataset.t.data
    assert dataset.locality.load() is dataset
    assert dataset.t.data is values
    assert len(session.reports) == runs


def fail(values: Any) -> Any:
    """Fail, as a task."""
    raise ZeroDivisionError("in a task")


@each_kind
@pytest.mark.parametrize("how", ["task", "budget"])
def test_failed_load_changes_nothing(
    session: xl.Session, dataset: xr.Dataset, kind: Callable[[xr.Dataset], Any], how: str
) -> None:
    """After an error every variable, loaded or lazy, is the very one that it was."""
    policy: dict[str, Any] = {}
    if how == "task":
        height = xr.apply_ufunc(fail, dataset.height, dask="parallelized", output_dtypes=["f8"])
        dataset = dataset.assign_coords(height=height)
    else:
        policy["max_egress"] = "1 B"
    obj = kind(dataset)
    facts = facts_of(obj)
    before = {name: each._data for name, each in variables_of(obj).items()}
    with pytest.raises((ZeroDivisionError, errors.BudgetError)):
        obj.locality.load(**policy)
    after = variables_of(obj)
    assert all(after[name]._data is data for name, data in before.items())
    assert facts_of(obj) == facts
