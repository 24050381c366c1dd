from __future__ import annotations

from operator import add

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key

from xr_locality.compat.dask_graph import (
    Alias,
    DataNode,
    Task,
    TaskRef,
    is_barrier,
    is_future,
    restrict_blocks,
)
from xr_locality.graph.layers import ancestors, count_tasks, embedded_objects, toposort_layers
from xr_locality.graph.tasks import is_value, keys_taken

ARRAY = da.ones((6, 4), chunks=(2, 2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(np.ones(3), True, id="array"),
        pytest.param(DataNode("k", 3), True, id="data node"),
        pytest.param(3.0, True, id="number"),
        pytest.param(Task("k", add, 1, 2), False, id="task"),
        pytest.param(Alias("k", "other"), False, id="alias"),
        pytest.param(TaskRef("other"), False, id="reference"),
        pytest.param((add, 1, 2), False, id="legacy task"),
        pytest.param("other", False, id="legacy alias"),
        pytest.param([("x", 0)], False, id="legacy list of keys"),
    ],
)
def test_values_are_told_from_tasks(value: object, expected: bool) -> None:
    """Only data themselves may be duplicated; tasks and names of others may not."""
    assert is_value(value) is expected


def test_blocks_are_restricted_without_making_tasks() -> None:
    """Some blocks of a Blockwise layer are a Blockwise layer still."""
    array = da.ones((6, 4), chunks=(2, 2)) + 1
    layer = array.__dask_graph__().layers[array.name]
    restricted = restrict_blocks(layer, [(0, 0), (2, 1)])
    assert isinstance(restricted, Blockwise)
    assert not layer.is_materialized()
    assert set(restricted) == {(array.name, 0, 0), (array.name, 2, 1)}


def test_layers_are_ordered_by_what_they_depend_on() -> None:
    """Layers come in an order in which they can be run, always the same."""
    graph = ((ARRAY.mean(0) - ARRAY.std(0)) @ ARRAY[0]).__dask_graph__()
    order = toposort_layers(graph)
    assert sorted(order) == sorted(graph.layers)
    for at, name in enumerate(order):
        assert graph.dependencies[name] <= set(order[:at])
    assert toposort_layers(graph) == order


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        pytest.param((add, ("x", 0), 1), [("x", 0)], id="call"),
        pytest.param((add, [("x", 0), (add, ("y", 1), 2)], 1), [("x", 0), ("y", 1)], id="nested"),
        pytest.param(("x", 0), [("x", 0)], id="alias"),
        pytest.param((add, {"a": ("x", 0)}, "odd"), [("x", 0), "odd"], id="mapping"),
        pytest.param((add, "word", np.ones(2)), [], id="words"),
        pytest.param(Task("k", add, TaskRef(("x", 0)), 1), [("x", 0)], id="task"),
        pytest.param(TaskRef(("x", 0)), [("x", 0)], id="reference"),
        pytest.param(3, [], id="number"),
    ],
)
def test_keys_that_tasks_take_are_listed(task: object, expected: list[Key]) -> None:
    """Tasks of dask's old and new kinds say what they take."""
    keys, counts = keys_taken([task, 1.0], frozenset({"odd"}))
    assert sorted(keys, key=str) == sorted(expected, key=str)
    assert counts.tolist() == [len(expected), 0]


def test_embedded_objects_are_found_without_making_tasks() -> None:
    """Literal arguments of Blockwise layers are seen: that is where stores are."""
    marker = zarr.create_array({}, shape=6, chunks=2, dtype="f8")
    array = da.from_array(marker, inline_array=True)
    (layer,) = array.__dask_graph__().layers.values()
    held = list(embedded_objects(layer))
    assert any(getattr(each, "value", each) is marker for each in held)
    assert not layer.is_materialized()


def test_tasks_are_counted_only_where_that_is_cheap() -> None:
    """A layer that would have to make its tasks is not counted."""
    array = ARRAY + 1
    assert count_tasks(array.__dask_graph__()) == 12
    rolled = xr.DataArray(ARRAY, dims=("y", "x")).rolling(y=3).mean().data.__dask_graph__()
    uncounted = [
        layer
        for layer in rolled.layers.values()
        if not isinstance(layer, Blockwise | MaterializedLayer)
    ]
    assert (count_tasks(rolled) is None) == bool(uncounted)


def test_ancestors_are_found_by_layer() -> None:
    """Layers that some layers depend on are named, themselves included."""
    left, right = ARRAY + 1, ARRAY * 2
    graph = HighLevelGraph.merge(left.__dask_graph__(), right.__dask_graph__())
    assert ancestors(graph, [left.name]) == {left.name, ARRAY.name}
    assert ancestors(graph, ["nobody"]) == set()


def test_ordinary_values_are_no_futures_and_no_barriers() -> None:
    """Futures and barriers are told by their type, without importing distributed."""
    for value in (np.ones(3), DataNode("k", 3), Task("k", add, 1, 2)):
        assert not is_future(value)
        assert not is_barrier(value)
