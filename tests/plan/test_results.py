from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.core import flatten

import xr_locality as xl
from xr_locality.graph.collections import unpack
from xr_locality.graph.sizes.estimator import SizeEstimator
from xr_locality.plan.results import Results


def results_of(*objects: Any) -> Results:
    """Estimate the results of some objects."""
    bundle = unpack(*objects)
    graph = bundle.graph()
    return Results(bundle, graph, SizeEstimator(graph=graph, parts=bundle.parts))


def test_arrays_are_summed_by_shape_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million chunks are not looked at: shape and dtype say it all."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a key was looked at")

    array = da.zeros((10**6, 3), chunks=(1, 3), dtype="f4")
    results = results_of(array)
    monkeypatch.setattr(SizeEstimator, "of_keys", refuse)
    assert results.total == 10**6 * 3 * 4


def test_sum_is_that_of_its_keys() -> None:
    """What is told of all is what is told of each, in any number of objects."""
    arrays = [da.ones((5, 3), chunks=2), da.ones(7, chunks=3, dtype="i2").cumsum(0)]
    results = results_of(*arrays)
    keys = [key for array in arrays for key in flatten(array.__dask_keys__())]
    assert sum(results.nbytes_of(keys)) == results.total == sum(array.nbytes for array in arrays)


def test_sizes_come_in_the_order_of_keys() -> None:
    """However keys of several layers are mixed."""
    long, short = da.ones(5, chunks=5), da.ones(2, chunks=1)
    results = results_of(long, short)
    keys = [(short.name, 0), (long.name, 0), (short.name, 1)]
    assert results.nbytes_of(keys) == [8, 40, 8]
    assert results.nbytes_of([]) == []


def test_same_object_twice_is_brought_once() -> None:
    """An array that is asked for twice is one result."""
    array = da.ones(4, chunks=2)
    assert results_of(array, array).total == array.nbytes


def test_arrays_of_unknown_length_are_estimated_by_their_keys() -> None:
    """Where no shape is known, each chunk counts something."""
    array = da.from_array(np.arange(6.0), chunks=3)
    assert results_of(array[array > 2]).total > 0


def test_objects_without_a_shape_are_estimated() -> None:
    """A Delayed counts something."""
    assert results_of(dask.delayed(len)([1])).total > 0


def test_reduced_tables_are_as_small_as_their_values() -> None:
    """What a DataFrame is reduced to counts as that, and is no guess."""
    table = dd.from_pandas(pd.DataFrame({"x": np.arange(100.0)}), npartitions=4)
    results = results_of(table["x"].sum())
    assert (results.total, results.guess) == (8, None)
    assert results_of(table["x"] + 1).guess is not None


def test_guessed_results_are_among_what_is_not_known() -> None:
    """A result of which nobody states a size says so."""
    with dask.annotate(locality="aws:us-west-2"):
        words = db.from_sequence(range(10), npartitions=2).map(str)
    plan = xl.plan(words, endpoints={"aws:us-west-2": None})
    assert {each.why for each in plan.transfers} == {"result"}
    (unknown,) = plan.unknowns
    assert unknown.startswith("the size of results: ")
