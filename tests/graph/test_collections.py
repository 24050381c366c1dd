from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.local import get_sync

from support.answers import assert_same, compute_plainly
from xr_locality.graph.collections import Bundle, has_expression, unpack


def run(bundle: Bundle) -> tuple[Any, ...]:
    """Compute a bundle's keys and rebuild its objects."""
    keys = bundle.keys()
    return bundle.assemble(dict(zip(keys, get_sync(bundle.graph(), keys), strict=True)))


def lazy() -> xr.Dataset:
    """Make a Dataset with lazy variables, lazy coordinates, attributes and encodings."""
    dataset = xr.Dataset(
        {"t": (("y", "x"), np.arange(12.0).reshape(3, 4), {"units": "K"}), "n": ("x", range(4))},
        coords={"x": range(4), "lat": (("y", "x"), np.ones((3, 4))), "when": 7},
        attrs={"title": "lazy"},
    ).chunk(x=3)
    dataset.t.encoding["dtype"] = "f4"
    return dataset


def unchunked(folder: Path) -> xr.Dataset:
    """Open a Dataset whose variables are lazy and no dask arrays."""
    lazy().to_zarr(folder / "lazy.zarr", zarr_format=2)
    return xr.open_zarr(folder / "lazy.zarr", chunks=None)


def derived() -> xr.Dataset:
    """Make a Dataset of which one variable derives from another."""
    dataset = lazy()
    return dataset.assign(double=dataset.t * 2, total=dataset.t.sum())


def tree() -> xr.DataTree:
    """Make a tree with a name, inherited coordinates and an empty node."""
    nodes = {
        "/": lazy().drop_vars("lat"),
        "/child": derived().drop_vars(["x", "when"]),
        "/child/empty": xr.Dataset(attrs={"nothing": 1}),
    }
    return xr.DataTree.from_dict(nodes, name="root")


OBJECTS: dict[str, Callable[[], Any]] = {
    "Dataset": lazy,
    "derived Dataset": derived,
    "DataArray": lambda: lazy().t,
    "nameless DataArray": lambda: lazy().t.rename(None),
    "DataArray that is its own coordinate": lambda: lazy().lat,
    "DataArray named as another coordinate": lambda: lazy().t.rename("lat"),
    "DataArray with a MultiIndex": lambda: lazy().t.stack(cell=["y", "x"]),
    "DataTree": tree,
    "DataTree below another": lambda: tree()["child"],
    "Variable": lambda: lazy().t.variable,
    "Array": lambda: lazy().t.data,
    "0-d Array": lambda: lazy().t.data.sum(),  # noqa: PLW0108  # Lazy until it is wanted.
    "empty Array": lambda: da.zeros((0, 3), chunks=1),
    "Bag": lambda: db.from_sequence(range(5), npartitions=2).map(str),
    "Item": lambda: db.from_sequence(range(5), npartitions=2).sum(),
    "Delayed": lambda: dask.delayed(np.sum)(lazy().t.data),
    "Delayed attribute": lambda: dask.delayed(complex)(1, 2).imag,
    "list": lambda: [lazy(), 1, [lazy().t]],
    "tuple": lambda: (lazy().t.data, "text", None),
    "dict": lambda: {"a": lazy(), "b": {"c": tree()}},
    "OrderedDict": lambda: OrderedDict(z=tree(), a=lazy().t.data),
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_object_is_rebuilt_as_dask_would_compute_it(make: Callable[[], Any]) -> None:
    """Taking an object apart and putting its values together gives what dask gives."""
    expected = compute_plainly(make())
    for got, plain in zip(run(unpack(make())), expected, strict=True):
        if isinstance(plain, xr.Variable):
            assert got.identical(plain)
            assert got.encoding == plain.encoding
            assert isinstance(got._data, np.ndarray)
        else:
            assert_same(got, plain)


@pytest.mark.parametrize("choose", ["Dataset", "DataArray", "DataTree", "Variable"])
def test_lazy_variables_without_chunks_are_parts(tmp_path: Path, choose: str) -> None:
    """What was opened with chunks=None is computed too, although dask does not know it."""

    def chosen(dataset: xr.Dataset) -> Any:
        return {
            "Dataset": dataset,
            "DataArray": dataset.t,
            "DataTree": xr.DataTree(dataset),
            "Variable": dataset.t.variable,
        }[choose]

    opened = unchunked(tmp_path)
    bundle = unpack(chosen(opened))
    assert bundle.parts
    (got,) = run(bundle)
    assert not opened.t.variable._in_memory
    assert got.identical(chosen(opened).compute())


def test_frame_is_computed_as_an_expression() -> None:
    """A DataFrame keeps its projections: columns that nobody needs are not made."""
    frame = dd.from_pandas(pd.DataFrame({"a": range(6), "b": range(6)}), npartitions=2)
    bundle = unpack(frame[frame.a > 1].a)
    (got,) = run(bundle)
    pd.testing.assert_series_equal(got, pd.Series(range(2, 6), range(2, 6), name="a"))
    assert bundle.parts[0].collection.expr.find_operations(type(frame.expr))


def test_only_frames_are_expressions() -> None:
    """A Delayed answers to any attribute, and is no expression for that."""
    frame = dd.from_pandas(pd.DataFrame({"a": range(6)}), npartitions=2)
    assert has_expression(frame)
    assert has_expression(frame.a.sum())
    assert not has_expression(dask.delayed(1))
    assert not has_expression(da.ones(3))


@pytest.mark.parametrize("item", [1, None, "text", [1, 2], {"a": 3}, np.ones(3), xr.Dataset()])
def test_what_is_not_lazy_is_handed_back(item: object) -> None:
    """Objects without anything to compute have no parts and stay what they are."""
    bundle = unpack(item)
    assert bundle.parts == ()
    assert_same(bundle.rebuild([])[0], item)


def test_objects_stay_lazy() -> None:
    """The object that was computed is not changed by it."""
    dataset = lazy()
    run(unpack(dataset))
    assert all(dask.is_dask_collection(dataset[name].data) for name in ("t", "n", "lat"))


def test_array_used_twice_is_one_part() -> None:
    """An array that several variables share is computed once."""
    dataset = lazy()
    bundle = unpack(dataset.assign(again=dataset.t), dataset.t.data)
    assert [part.collection.name for part in bundle.parts].count(dataset.t.data.name) == 1


def test_objects_that_differ_in_encoding_alone_are_two() -> None:
    """Arrays that dask's tokens take for one come back each with its own encoding."""
    array = lazy().t
    bare = array.drop_encoding()
    bundle = unpack([bare, array, array])
    ((one, other, again),) = run(bundle)
    assert (one.encoding, other.encoding) == ({}, {"dtype": "f4"})
    assert again is other
    assert len(bundle.parts) == 2  # Values and latitudes, once for all.


def test_keys_of_all_parts_are_listed_once() -> None:
    """Results that several parts share are one key each."""
    array = da.ones(4, chunks=2)
    bundle = unpack(array, [array, array + 1])
    assert len(bundle.keys()) == len(set(bundle.keys())) == 4


def test_variables_are_named() -> None:
    """Parts say which variables they are, so that a plan can."""
    assert {part.variable for part in unpack(lazy()).parts} == {"t", "n", "lat"}
    assert {part.variable for part in unpack(tree()).parts} == {"t", "n", "lat", "double", "total"}
    assert [part.variable for part in unpack(lazy().n.rename(None)).parts] == ["<array>"]
    assert [part.variable for part in unpack(da.ones(2)).parts] == [None]


@dataclass
class Holder:
    """Something of a user's that holds lazy objects."""

    item: Any
    number: int


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize("make", [lambda each: Holder(each, 1), lambda each: Pair(each, 1)])
@pytest.mark.parametrize("item", [lazy, tree], ids=["Dataset", "DataTree"])
def test_users_containers_are_looked_into(
    make: Callable[[Any], Any], item: Callable[[], Any]
) -> None:
    """Dataclasses and named tuples are rebuilt with what was in them, trees as well."""
    (got,) = run(unpack(make(item())))
    assert type(got) is type(make(None))
    inside = got.item if isinstance(got, Holder) else got.first
    assert_same(inside, compute_plainly(item())[0])


def test_legacy_graph_becomes_a_layer() -> None:
    """A collection whose graph is a plain dict is planned all the same."""
    array = da.Array({("a", 0): (np.ones, 2), ("a", 1): (np.ones, 1)}, "a", ((2, 1),), "f8")
    (got,) = run(unpack(array))
    assert_same(got, np.ones(3))


def test_unpacking_computes_nothing() -> None:
    """Neither taking apart nor listing keys runs a task."""

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=fail):
        bundle = unpack(lazy(), tree(), [derived()])
        assert bundle.keys()
        assert bundle.graph().layers


class Measured(np.lib.mixins.NDArrayOperatorsMixin):
    """An array in memory that is not numpy's, as those with units are."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        return NotImplemented

    def __array_function__(self, *args: Any, **kwargs: Any) -> Any:
        return NotImplemented


def test_arrays_in_memory_come_back_as_the_same_objects() -> None:
    """An array in memory is no part, whatever its kind, also beside lazy variables."""
    measured = Measured(np.arange(3.0))
    dataset = xr.Dataset({"a": ("x", measured), "b": ("x", da.ones(3))})
    bundle = unpack(dataset)
    assert [part.variable for part in bundle.parts] == ["b"]
    (made,) = bundle.rebuild([np.ones(3)])
    assert made.a.variable._data is measured
    assert unpack(dataset[["a"]]).parts == ()
