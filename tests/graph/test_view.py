from __future__ import annotations

from operator import add
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.local import get_sync
from dask.typing import Key

from xr_locality.graph import view

ARRAY = da.ones((6, 4), chunks=(2, 2))

PROGRAMS = {
    "blockwise": ARRAY + 1,
    "reduction": ARRAY.mean(0),
    "slice": ARRAY[1:5, ::2],
    "rechunk": ARRAY.rechunk((3, 1)),
    "overlap": da.overlap.overlap(ARRAY, {0: 1, 1: 0}, "reflect"),
    "concatenate": da.concatenate([ARRAY, ARRAY * 2]),
    "stored": da.from_array(np.arange(8.0), chunks=3)[2:],
    "legacy tuples": da.Array({("t", 0): (np.add, ("u", 0), 1), ("u", 0): 3}, "t", ((1,),), "f8"),
    "qr": da.linalg.qr(da.ones((6, 2), chunks=(3, 2)))[1],
}


def keys_of(array: da.Array) -> list[Key]:
    """List an array's keys without their nesting."""
    return list(dask.core.flatten([array.__dask_keys__()]))


@pytest.mark.parametrize("array", PROGRAMS.values(), ids=PROGRAMS)
def test_culled_graph_makes_the_same_values(array: da.Array) -> None:
    """A culled graph holds all that the outputs need, and each key once."""
    keys = keys_of(array)
    culled = view.cull(array.__dask_graph__(), keys)
    tasks: dict[Key, Any] = {}
    for each in culled.layers:
        made = dict(each.layer)
        assert each.dependencies.keys() <= made.keys()
        assert not each.dependencies.keys() & tasks.keys()
        tasks |= made
    for got, expected in zip(
        get_sync(tasks, keys), get_sync(dict(array.__dask_graph__()), keys), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("array", PROGRAMS.values(), ids=PROGRAMS)
def test_culled_dependencies_are_those_of_dask(array: da.Array) -> None:
    """Dependencies agree with dask's own, whatever kind of layer and task."""
    graph = array.__dask_graph__()
    expected = graph.cull(keys_of(array)).get_all_dependencies()
    found = {
        key: set(takes)
        for each in view.cull(graph, keys_of(array)).layers
        for key, takes in each.dependencies.items()
    }
    assert found == {key: set(takes) for key, takes in expected.items() if key in found}
    assert found.keys() <= expected.keys()


def test_culling_keeps_only_what_one_output_needs() -> None:
    """One block of an elementwise result needs one block of each layer."""
    array = ARRAY + 1
    culled = view.cull(array.__dask_graph__(), [(array.name, 0, 1)])
    assert [list(each.dependencies) for each in culled.layers] == [
        [(ARRAY.name, 0, 1)],
        [(array.name, 0, 1)],
    ]


def test_blockwise_layers_stay_symbolic() -> None:
    """Culling and restricting a Blockwise layer does not make its tasks."""
    array = ARRAY + 1
    culled = view.cull(array.__dask_graph__(), keys_of(array)[:3])
    assert all(isinstance(each.layer, Blockwise) for each in culled.layers)
    restricted = view.restrict(culled.layers[-1].layer, {(array.name, 0, 0)})
    assert isinstance(restricted, Blockwise)
    assert list(restricted) == [(array.name, 0, 0)]


def test_layers_come_after_those_they_depend_on() -> None:
    """Culled layers are in an order in which they can be run, always the same."""
    array = (ARRAY.mean(0) - ARRAY.std(0)) @ ARRAY[0]
    culled = view.cull(array.__dask_graph__(), keys_of(array))
    seen: set[str] = set()
    for each in culled.layers:
        assert culled.dependencies[each.name] <= seen
        seen.add(each.name)
    again = view.cull(array.__dask_graph__(), keys_of(array))
    assert [each.name for each in again.layers] == [each.name for each in culled.layers]


def test_graphs_that_dask_has_merged_are_culled() -> None:
    """After dask.optimize each layer holds everything; what is needed is still found."""
    one, other = dask.optimize(ARRAY.mean(), ARRAY.sum())
    both = one - other
    culled = view.cull(both.__dask_graph__(), keys_of(both))
    tasks: dict[Key, Any] = {}
    for each in culled.layers:
        tasks |= dict(each.layer)
    assert get_sync(tasks, keys_of(both)) == (1.0 - 24.0,)
    # A layer that dask looks for by its name stays, although another holds its key.
    assert {one.name, other.name} <= {each.name for each in culled.layers}


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
    assert view.is_value(value) is expected


def test_stores_are_values() -> None:
    """The node that holds a store object is a value, wherever it stands."""
    array = da.from_array(zarr.create_array({}, shape=6, chunks=2, dtype="f8"))
    layers = view.cull(array.__dask_graph__(), keys_of(array)).layers
    assert [each.name for each in layers if each.values()] == [f"original-{array.name}"]


def test_chunks_in_memory_are_values() -> None:
    """Chunks of an array in memory are data, which any region may be sent."""
    array = da.from_array(np.arange(6), chunks=2)
    (layer,) = view.cull(array.__dask_graph__(), keys_of(array)).layers
    assert layer.values()


def test_embedded_objects_are_found_without_making_tasks() -> None:
    """Literal arguments of Blockwise layers are seen: that is where stores are."""
    marker = zarr.create_array({}, shape=6, chunks=2, dtype="f8")
    array = da.from_array(marker, inline_array=True)
    (layer,) = array.__dask_graph__().layers.values()
    held = list(view.embedded(layer))
    assert any(getattr(each, "value", each) is marker for each in held)
    assert not layer.is_materialized()


def test_tasks_are_counted_only_where_that_is_cheap() -> None:
    """A layer that would have to make its tasks is not counted."""
    array = ARRAY + 1
    assert view.count_tasks(array.__dask_graph__()) == 12
    rolled = xr.DataArray(ARRAY, dims=("y", "x")).rolling(y=3).mean().data.__dask_graph__()
    uncounted = [
        layer
        for layer in rolled.layers.values()
        if not isinstance(layer, Blockwise | MaterializedLayer)
    ]
    assert (view.count_tasks(rolled) is None) == bool(uncounted)


def test_ancestors_are_found_by_layer() -> None:
    """Layers that some layers depend on are named, themselves included."""
    left, right = ARRAY + 1, ARRAY * 2
    graph = HighLevelGraph.merge(left.__dask_graph__(), right.__dask_graph__())
    assert view.ancestors(graph, [left.name]) == {left.name, ARRAY.name}
    assert view.ancestors(graph, ["nobody"]) == set()


def test_ordinary_values_are_no_futures_and_no_barriers() -> None:
    """Futures and barriers are told by their type, without importing distributed."""
    for value in (np.ones(3), DataNode("k", 3), Task("k", add, 1, 2)):
        assert not view.is_future(value)
        assert not view.is_barrier(value)
