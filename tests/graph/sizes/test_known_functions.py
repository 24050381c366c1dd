from __future__ import annotations

import operator
import os
import re
import threading
from functools import partial, wraps
from typing import Any

import dask.array as da
import numpy as np
import pytest
import scipy.special
import xarray as xr

from xr_locality.config import TrialFunctions
from xr_locality.graph.collections import unpack
from xr_locality.graph.sizes import task_values
from xr_locality.graph.sizes.estimator import Size, SizeEstimator
from xr_locality.graph.sizes.known_functions import importable_name, user_object
from xr_locality.graph.sizes.trial import TrialRunner


class Calls:
    """A class of the user's whose objects can be called."""

    def __call__(self, block: Any) -> Any:
        """Return what it is given."""
        return block


def own(block: Any) -> Any:
    """Return what it is given."""
    return block


@wraps(np.mean)
def disguised(block: Any) -> Any:
    """Bear the name of a function of numpy."""
    return block


def enclosing() -> Any:
    """Make a function of the user's that holds one of numpy."""
    held = np.mean
    return lambda block: held(block) + 1


def written(item: object) -> str:
    """Write an item without addresses, which differ from one process to another."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(item))


@pytest.mark.parametrize(
    "item",
    [
        own,
        disguised,
        enclosing(),
        Calls(),
        Calls,
        Calls().__call__,
        partial(own, 1),
        partial(np.sum, initial=own),
        [np.sum, {"function": own}],
        np.vectorize(own),
        np.frompyfunc(own, 1, 1),
        np.array([own], dtype=object),
        [].append,
        eval,
        print,
        os.remove,
        threading.Lock(),
    ],
    ids=written,
)
def test_functions_of_the_user(item: Any) -> None:
    """Wrapped, held or disguised: what is not a library's is found."""
    assert user_object([1.0, item]) is not None


@pytest.mark.parametrize(
    "item",
    [
        np.mean,
        np.add,
        np.linalg.qr,
        np.dtype("f8"),
        np.datetime64("2000-01-01"),
        scipy.special.erf,
        operator.add,
        operator.itemgetter(0),
        partial(np.sum, axis=0),
        da.reductions.mean_chunk,
        xr.DataArray([1.0], dims="x"),
        xr.apply_ufunc,
        slice(0, 3),
        (1, "a", None, ..., [2.0], {"b": np.ones(3)}),
        float,
    ],
    ids=written,
)
def test_functions_of_libraries(item: Any) -> None:
    """Functions of numpy, scipy, dask and xarray, and plain data, are tried."""
    assert user_object([item]) is None


def test_only_importable_functions_have_names() -> None:
    """A function is remembered by its name only if it is found under that name."""
    assert importable_name(np.mean) == "numpy.mean"
    assert importable_name(np.add) == "numpy.add"
    assert importable_name(disguised) is None
    assert importable_name(enclosing()) is None
    assert importable_name(3) is None


def size_of(array: Any, trials: TrialFunctions = "known") -> Size:
    """Estimate the first block of an array."""
    bundle = unpack(array)
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts, trials=trials)
    return estimator.of(array.name, next(iter(bundle.keys())))


VALUES = da.ones((40, 30), chunks=(10, 15))


@pytest.mark.parametrize("trials", ["known", "never"])
@pytest.mark.parametrize(
    "make",
    [
        lambda f: VALUES.map_blocks(f, dtype="f8", meta=np.empty((0, 0))),
        lambda f: da.blockwise(f, "ij", VALUES, "ij", dtype="f8", meta=np.empty((0, 0))),
        lambda f: VALUES.map_blocks(partial(f), dtype="f8", meta=np.empty((0, 0))),
        lambda f: VALUES.map_overlap(
            f, depth=1, boundary="none", dtype="f8", meta=np.empty((0, 0))
        ),
        lambda f: xr.map_blocks(f, xr.DataArray(VALUES), template=xr.DataArray(VALUES)).data,
    ],
    ids=["map_blocks", "blockwise", "partial", "map_overlap", "xarray map_blocks"],
)
def test_planning_runs_no_function_of_the_user(make: Any, trials: TrialFunctions) -> None:
    """A function of the user's is not called; its blocks are what the array states."""
    called: list[Any] = []

    def function(block: Any, *_: Any, **__: Any) -> Any:
        called.append(block)
        return block

    array = make(function)
    called.clear()
    assert size_of(array, trials).nbytes == 10 * 15 * 8
    assert not called
    size_of(array.sum(), trials)
    assert not called


def test_setting_of_all_functions_runs_them() -> None:
    """With ``all``, a function of the user's is tried, and its real result counts."""
    array = VALUES.map_blocks(lambda block: block[:1], dtype="f8", meta=np.empty((0, 0))) + 1
    bundle = unpack(array.sum())
    (below,) = (name for name in bundle.graph().layers if name.startswith("lambda"))
    estimators = [
        SizeEstimator(graph=bundle.graph(), parts=bundle.parts, trials=trials)
        for trials in ("known", "all")
    ]
    sizes = [each.of(below, (below, 0, 0)).nbytes for each in estimators]
    assert sizes == [10 * 15 * 8, 15 * 8]


def test_reduction_by_a_function_of_the_user_is_a_guess() -> None:
    """Partials state the chunks of what is reduced: only a trial would know better."""

    def chunk(block: Any, axis: Any, keepdims: Any) -> Any:
        return block.sum(axis=axis, keepdims=keepdims)

    reduced = da.reduction(VALUES, chunk, np.sum, axis=0, dtype="f8", concatenate=True)
    bundle = unpack(reduced)
    (partials,) = (name for name in bundle.graph().layers if name.startswith("chunk-"))
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts)
    guess = estimator.of(partials, (partials, 0, 0)).guess
    assert guess is not None
    assert "a function of yours" in guess


def counted_trials(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the functions that are tried from now on, with nothing remembered."""
    runs: list[Any] = []
    learn = TrialRunner.learn

    def counted(self: TrialRunner, function: Any, *args: Any, **kwargs: Any) -> Any:
        runs.append(function)
        return learn(self, function, *args, **kwargs)

    monkeypatch.setattr(TrialRunner, "learn", counted)
    monkeypatch.setattr(task_values, "_LEARNT", task_values._LearntCache(most=100))
    return runs


def test_library_functions_are_tried_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many blocks and plans use a function, it is tried once for its arguments."""
    runs = counted_trials(monkeypatch)
    threads = threading.active_count()
    counts = []
    for name in ("one", "other"):
        size_of(da.ones((40, 30), chunks=(10, 15), name=name).std(axis=0))
        counts.append(len(runs))
    assert 0 < counts[0] == counts[1]
    assert threading.active_count() == threads


def test_cache_forgets_the_least_recently_used() -> None:
    """The memory of what was learnt is bounded."""
    cache = task_values._LearntCache(most=2)
    for kind in "abac":
        if cache.get(kind) is None:
            cache.put(kind, kind)
    assert [cache.get(kind) for kind in "abc"] == ["a", None, "c"]


def test_blocks_of_xarray_need_no_trial_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """``xarray.map_blocks`` over many blocks takes no trial a block."""
    runs = counted_trials(monkeypatch)
    counts = []
    for blocks in (2, 8):
        runs.clear()
        values = xr.DataArray(da.ones((4 * blocks, 4), chunks=4), dims=("y", "x"))
        bundle = unpack(xr.map_blocks(own, values, template=values).sum())
        estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts)
        for name in bundle.graph().layers:
            estimator.total(name)
        counts.append(len(runs))
    assert counts[1] <= counts[0]
