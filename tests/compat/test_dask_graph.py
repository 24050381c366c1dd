from __future__ import annotations

import inspect
from operator import add

import dask.array as da
import numpy as np
import pytest
from dask.blockwise import Blockwise
from dask.layers import ArrayOverlapLayer

from xr_locality.compat import dask_graph
from xr_locality.compat.dask_graph import (
    Alias,
    DataNode,
    GraphNode,
    List,
    NestedContainer,
    Task,
    TaskRef,
    block_of,
    blockwise_arguments,
    blockwise_literals,
    convert_legacy_task,
    is_barrier,
    is_future,
    is_store_chunk,
    overlap_facts,
    restrict_blocks,
    small_overlap,
)

ARRAY = da.ones((6, 4), chunks=(2, 2)) + 1


def blockwise(array: da.Array) -> Blockwise:
    """Get the topmost layer of an array."""
    layer = array.dask.layers[array.name]
    assert isinstance(layer, Blockwise)
    return layer


def test_tasks() -> None:
    """A task shows its function, arguments, keywords and the keys that it takes."""
    task = Task("k", add, TaskRef("a"), List(TaskRef("b"), 2))
    assert (task.key, task.func, task.kwargs) == ("k", add, {})
    assert task.dependencies == {"a", "b"}
    assert isinstance(task.args[1], NestedContainer)
    assert task.args[1].klass is list
    assert isinstance(task, GraphNode)
    assert task.substitute({"a": "c", "b": "b"}).dependencies == {"c", "b"}
    assert Task("k", add, 1, 2)() == 3


def test_values_and_aliases() -> None:
    """A value shows itself, and an alias its target."""
    assert DataNode("k", 3).value == 3
    assert Alias("k", "target").target == "target"
    assert TaskRef("a").key == "a"


def test_legacy_tasks_are_converted() -> None:
    """A tuple becomes a task, a key an alias."""
    converted = convert_legacy_task("k", (add, "a", 1), {"a"})
    assert isinstance(converted, Task)
    assert converted.dependencies == {"a"}
    assert isinstance(convert_legacy_task("k", "a", {"a"}), Alias)


def test_restricted_layer_stays_symbolic() -> None:
    """Some blocks of a Blockwise layer are a Blockwise layer."""
    layer = blockwise(ARRAY)
    assert list(inspect.signature(Blockwise._cull).parameters) == ["self", "output_blocks"]
    kept = restrict_blocks(layer, [(0, 0), (2, 1)])
    assert isinstance(kept, Blockwise)
    assert not kept.is_materialized()
    assert set(kept.get_output_keys()) == {(layer.output, 0, 0), (layer.output, 2, 1)}


def test_one_block_is_made_alone() -> None:
    """A single task of a layer is made, and the layer stays symbolic."""
    layer = blockwise(ARRAY)
    task = block_of(layer, (1, 1))
    assert isinstance(task, Task)
    assert task.key == (layer.output, 1, 1)
    assert not layer.is_materialized()


def test_arguments_of_blocks() -> None:
    """Blocks of arrays come with labels and grids, values with keys, literals as they are."""
    by_blocks = next(blockwise_arguments(blockwise(ARRAY)))
    assert (by_blocks.grid, len(by_blocks.index)) == ((3, 2), 2)
    assert any(isinstance(each, int) and each == 1 for each in blockwise_literals(blockwise(ARRAY)))
    stored = da.from_array(np.ones((6, 4)), chunks=2, name="stored", inline_array=False)
    layer = stored.dask.layers["stored"]
    if isinstance(layer, Blockwise):
        names = [each.name for each in blockwise_arguments(layer) if each.grid is None]
        assert names == ["original-stored"]


def test_overlapping_layer() -> None:
    """Parameters of an overlapping layer are read by axis; other layers have none."""
    layer = ArrayOverlapLayer("x", {0: 1, 1: (0, 2)}, ((3, 3), (4, 4)), (2, 2), "token")
    facts = overlap_facts(layer)
    assert facts is not None
    assert (facts.array, facts.token) == ("x", "token")
    assert facts.depths == ((1, 1), (0, 2))
    assert overlap_facts(blockwise(ARRAY)) is None
    _, tasks = small_overlap((2,), ((1, 1),))
    assert ("overlap-token", 0) in tasks


def test_overlapping_layer_of_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose attributes are renamed, or whose class is gone, is read task by task."""
    layer = ArrayOverlapLayer("x", {0: 1}, ((3, 3),), (2,), "token")
    vars(layer)["axes_renamed"] = vars(layer).pop("axes")
    assert overlap_facts(layer) is None
    monkeypatch.setattr(dask_graph, "_ArrayOverlapLayer", None)
    assert overlap_facts(layer) is None


def test_writers_are_recognised() -> None:
    """The function that ``store`` writes a chunk with is the one that is known."""
    target = np.zeros((6, 4))
    written = da.store(ARRAY, target, compute=False, lock=False)
    functions = {
        getattr(task, "func", None)
        for layer in written.dask.layers.values()
        for task in dict(layer).values()
    }
    assert any(map(is_store_chunk, functions))
    assert not is_store_chunk(add)


def test_futures_and_barriers() -> None:
    """Classes of distributed are recognised by their names, which are as they were."""
    from distributed import Future
    from distributed.shuffle._core import P2PBarrierTask

    assert (Future.__name__, Future.__module__.partition(".")[0]) == ("Future", "distributed")
    assert is_barrier(object.__new__(P2PBarrierTask))
    for value in (1, Task("k", add, 1, 2), DataNode("k", 1), None):
        assert not is_future(value)
        assert not is_barrier(value)
