from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from dask.blockwise import Blockwise
from dask.core import get_dependencies
from dask.highlevelgraph import HighLevelGraph
from dask.optimization import cull
from dask.typing import Key
from dask.utils import ensure_dict

from xr_locality.graph.collections import unpack
from xr_locality.graph.dependencies import structure_of
from xr_locality.graph.task_table import Structure

ONES = da.ones((60, 8, 6), chunks=(10, 4, 3))
HELD = da.from_array(np.arange(60.0 * 8 * 6).reshape(60, 8, 6), chunks=(10, 4, 3))
NAMED = xr.DataArray(ONES, dims=("t", "y", "x"))
TABLE = pd.DataFrame({"a": range(10), "b": range(10)})


def from_zarr() -> da.Array:
    """Open an array of a store in memory."""
    return da.from_zarr(zarr.create_array({}, shape=(60, 8), chunks=(10, 4), dtype="f4"))


PROGRAMS: dict[str, Callable[[], Any]] = {
    "elementwise": lambda: ONES * 2 + HELD,
    "difference of means": lambda: ONES.mean(0) - HELD.mean(0),
    "broadcast": lambda: ONES * HELD[0] + HELD[:1],
    "some blocks": lambda: (ONES + 1)[3:25, :2],
    "numbers": lambda: (ONES + 1).sum() + 3,
    "concatenate and rechunk": lambda: da.concatenate([ONES, HELD]).rechunk((40, 8, 6)),
    "stack": lambda: da.stack([ONES, HELD])[1, 3:],
    "overlap": lambda: da.overlap.map_overlap(lambda x: x, ONES, depth=1, boundary="none")[3:50],
    "overlap of whole blocks": lambda: da.overlap.overlap(ONES, 1, boundary="reflect").sum(),
    "overlap of some axes": lambda: da.overlap.overlap(
        ONES, {0: (2, 0), 2: (0, 1)}, boundary="none"
    )[12:],
    "overlap joined": lambda: da.concatenate(
        [da.overlap.overlap(ONES, {0: (0, 3)}, boundary="none"), ONES]
    ).rechunk((150, 4, 3)),
    "rolling": lambda: NAMED.rolling(t=3).mean(),
    "slice": lambda: NAMED.isel(t=slice(5, 50)),
    "fancy": lambda: NAMED.isel(t=[1, 50, 30]),
    "cumsum": lambda: NAMED.cumsum("t"),
    "shift": lambda: NAMED.shift(t=1),
    "groupby": lambda: NAMED.groupby(xr.DataArray(np.arange(60) % 5, dims="t", name="g")).mean(),
    "store": lambda: from_zarr().sum(),
    "part of a store": lambda: from_zarr()[5:10],
    "inlined store": lambda: da.from_array(
        zarr.create_array({}, shape=12, chunks=2, dtype="f8"), inline_array=True
    )[3:],
    "qr": lambda: da.linalg.qr(ONES[:, 0, :].rechunk((20, 6)))[1],
    "contraction": lambda: da.matmul(ONES[0], HELD[0].T) + da.tensordot(ONES[0], HELD[0].T, 1),
    "transpose": lambda: ONES.T + HELD.T,
    "histogram": lambda: da.histogram(ONES, bins=3, range=(0, 1))[0],
    "block_info": lambda: da.map_blocks(lambda x, block_info=None: x, ONES, dtype="f8"),
    "masked": lambda: HELD[HELD > 3] + 1,
    "delayed": lambda: dask.delayed(sum)([dask.delayed(abs)(number) for number in range(3)]),
    "delayed of an array": lambda: dask.delayed(lambda x: x)(ONES),
    "array of delayed": lambda: da.from_delayed(dask.delayed(np.ones)(3), (3,), dtype="f8") + 1,
    "bag": lambda: db.range(10, 3).map(lambda x: x).sum(),
    "table": lambda: dd.from_pandas(TABLE, npartitions=3).groupby("a").b.mean() + 1,
    "sum of a table": lambda: dd.from_pandas(TABLE, npartitions=3).a.sum() + 1,
    "legacy tuples": lambda: da.Array(
        {("t", 0): (np.add, ("u", 0), 1), ("u", 0): 3, ("v", 0): 4}, "t", ((1,),), "f8"
    ),
    "merged by dask": lambda: sum(dask.optimize(ONES.mean(), HELD.sum())),
    "merged and used again": lambda: dask.optimize(ONES.mean(0), ONES + 1)[0] + ONES[0],
    "map_blocks of a dataset": lambda: NAMED.to_dataset(name="v").map_blocks(lambda d: d).v,
    "random": lambda: da.random.default_rng(0).random((8, 6), chunks=(2, 3)).mean(0),
    "p2p": lambda: ONES.rechunk((60, 1, 6), method="p2p")[:, 0],
}


def structured(*objects: Any) -> tuple[HighLevelGraph, list[Key], Structure]:
    """Find the structure of objects' merged graph."""
    bundle = unpack(*objects)
    graph, outputs = bundle.graph(), bundle.keys()
    return graph, outputs, structure_of(graph, outputs)


def keys_of(structure: Structure) -> list[Key]:
    """List the keys of all tasks, by number."""
    return [
        key
        for layer in structure.layers
        for key in layer.keys_of(np.arange(layer.start, layer.stop))
    ]


def taken(structure: Structure) -> dict[Key, set[Key]]:
    """List what each task takes, plain values that a whole layer takes among it."""
    keys = keys_of(structure)
    assert len(keys) == structure.n_tasks
    found: dict[Key, set[Key]] = {key: set() for key in keys}
    for made, by in zip(structure.made_by.tolist(), structure.taken_by.tolist(), strict=True):
        found[keys[by]].add(keys[made])
    for layer in structure.layers:
        for key in keys[layer.start : layer.stop]:
            found[key].update(keys[constant] for constant in layer.constants)
    return found


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Any:
    """Something lazy, of one kind of graph."""
    return request.param()


def test_structure_is_that_of_the_materialised_graph(program: Any) -> None:
    """The same tasks as dask's own culling of all tasks leaves, each taking the same."""
    graph, outputs, structure = structured(program)
    tasks, _ = cull(ensure_dict(graph), outputs)
    expected = {key: set(get_dependencies(tasks, key)) for key in tasks}
    assert taken(structure) == expected


def test_no_task_is_there_twice(program: Any) -> None:
    """A key has one task; only what is plain data may be held by several layers."""
    _, _, structure = structured(program)
    values = structure.flags("values")
    keys = [key for key, value in zip(keys_of(structure), values, strict=True) if not value]
    assert len(keys) == len(set(keys))


def test_edges_are_listed_once_and_lead_on(program: Any) -> None:
    """No pair is there twice, no task takes from itself, layers follow what they take from."""
    _, _, structure = structured(program)
    pairs = np.stack([structure.made_by, structure.taken_by])
    assert np.unique(pairs, axis=1).shape == pairs.shape
    assert (structure.made_by != structure.taken_by).all()
    seen: set[str] = set()
    for layer in structure.layers:
        assert structure.dependencies[layer.name] <= seen | {layer.name}
        seen.add(layer.name)


def test_numbers_and_keys_lead_to_each_other(program: Any) -> None:
    """A task's key is found again under its number, in its layer and in the structure."""
    _, outputs, structure = structured(program)
    for number, key in enumerate(keys_of(structure)):
        layer = structure.layer_of(number)
        assert layer.start <= number < layer.stop
        assert layer.number(key) == number
        assert structure.key(number) == key
        found = structure.find(key)
        assert found is not None
        # Two layers may each hold the same plain value.
        assert structure.key(found) == key
        assert found == number or structure.flags("values")[number]
    assert [structure.key(number) for number in structure.outputs] == outputs


def test_structure_is_deterministic(program: Any) -> None:
    """The same graph gives the same numbers."""
    graph, outputs, structure = structured(program)
    again = structure_of(graph, outputs)
    assert [layer.name for layer in again.layers] == [layer.name for layer in structure.layers]
    assert again.made_by.tolist() == structure.made_by.tolist()
    assert again.taken_by.tolist() == structure.taken_by.tolist()


@pytest.fixture
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to materialise a Blockwise layer."""

    def refuse(layer: Blockwise) -> Any:
        raise AssertionError(f"{layer.output} was materialised")

    monkeypatch.setattr(Blockwise, "_dict", property(refuse))


@pytest.mark.usefixtures("no_tasks")
def test_blockwise_layers_are_never_materialised() -> None:
    """Which block takes which follows from their indices, without one task."""
    # Not those of other tests, which make their tasks.
    ones, stored = da.ones((60, 8, 6), chunks=(20, 4, 3)), from_zarr()
    fields = [ones * 2 + HELD, ones.mean(0), da.matmul(ones[0], HELD[0].T), stored + 1, ones.T]
    graph, _, structure = structured(*fields)
    rules = [layer for layer in graph.layers.values() if isinstance(layer, Blockwise)]
    assert len(rules) >= 6
    assert not any(layer.is_materialized() for layer in rules)
    named = {layer.name for layer in structure.layers if layer.grid is not None}
    assert {layer.output for layer in rules} == named


def test_blocks_are_told_by_their_indices() -> None:
    """Blocks of a Blockwise layer come in C order, as their keys have them."""
    array = ONES + 1
    _, _, structure = structured(array[20:40, :, :3])
    layer = next(each for each in structure.layers if each.name == array.name)
    numbers = np.arange(layer.start, layer.stop)
    blocks = layer.blocks(numbers).tolist()
    assert blocks == [[2, 0, 0], [2, 1, 0], [3, 0, 0], [3, 1, 0]]
    assert layer.keys_of(numbers) == [(array.name, *block) for block in blocks]
    assert (layer.grid, layer.size, layer.whole, len(layer)) == ((6, 2, 2), 24, False, 4)


@pytest.mark.parametrize("key", ["nobody", ("nobody", 0), 3, (), ("other", "key")])
def test_keys_that_are_not_needed_have_no_number(key: Key) -> None:
    """Asked for a key that is not there, the answer is none."""
    assert structured(ONES + 1)[2].find(key) is None


def test_block_that_is_not_needed_has_no_number() -> None:
    """Neither do blocks outside the grid, nor those that no output needs."""
    array = ONES + 1
    structure = structured(array[:10])[2]
    assert structure.find((array.name, 0, 0, 0)) is not None
    for block in ((1, 0, 0), (6, 0, 0), (0, -1, 0), (0, 0), (0, 0, 0, 0), (0, 0, "x")):
        assert structure.find((array.name, *block)) is None


@pytest.mark.parametrize("key", ["nobody", ("nobody", 0), (ONES.name, 6, 0, 0), (ONES.name, 0)])
def test_missing_output_is_an_error(key: Key) -> None:
    """An output that the graph does not make is named."""
    with pytest.raises(KeyError) as caught:
        structure_of(ONES.__dask_graph__(), [(ONES.name, 0, 0, 0), key])
    assert caught.value.args == (key,)


def test_numbers_are_grouped_by_layer() -> None:
    """Ascending numbers come back in groups, all of them, each with its layer."""
    structure = structured(ONES.mean(0) - HELD.mean(0))[2]
    numbers = np.arange(0, structure.n_tasks, 3)
    groups = list(structure.by_layer(numbers))
    assert np.concatenate([some for _, some in groups]).tolist() == numbers.tolist()
    for layer, some in groups:
        assert ((some >= layer.start) & (some < layer.stop)).all()
    assert list(structure.by_layer(np.array([], dtype=np.intp))) == []


def test_store_is_a_constant_of_its_readers() -> None:
    """A store that every block of a layer takes is one value, and no edge for each."""
    array = from_zarr()
    structure = structured(array)[2]
    store, reader = structure.layers
    assert store.name == f"original-{array.name}"
    assert store.only_values
    assert reader.constants == (store.start,)
    assert structure.made_by.size == 0
    assert structure.flags("values").tolist() == [True, *[False] * 12]


def test_chunks_in_memory_are_values() -> None:
    """Chunks that the graph holds are values among the numbers, and edges lead from them."""
    structure = structured(HELD[:10] + 1)[2]
    held = next(layer for layer in structure.layers if layer.name == HELD.name)
    assert held.only_values
    assert structure.flags("values").sum() == len(held) == 4


def test_values_in_merged_layers_are_told_from_tasks() -> None:
    """After dask.optimize a store stands among tasks."""
    (merged,) = dask.optimize(from_zarr().mean(0))
    structure = structured(merged)[2]
    assert structure.flags("values").sum() == 1
    assert not any(layer.only_values for layer in structure.layers)
    assert not structure.flags("futures").any()


def test_futures_are_no_values() -> None:
    """What a cluster holds is flagged as such, and is placed like a task."""
    # Told by name, so that planning need not import distributed.
    kind = type("Future", (), {"__module__": "distributed.client"})
    layer = {("held", number): kind() for number in range(3)}
    graph = HighLevelGraph({"held": layer}, {"held": set()})
    structure = structured(da.Array(graph, "held", ((2, 2, 2),), "f8") + 1)[2]
    held = next(layer for layer in structure.layers if layer.name == "held")
    assert held.values is None
    assert held.futures is not None
    assert structure.flags("futures").tolist() == [True] * 3 + [False] * 3


def test_keys_that_two_layers_hold_are_one_task() -> None:
    """In graphs that dask.optimize merged, a key is looked for in the layer of its name."""
    one, other = dask.optimize(ONES.mean(), ONES.sum())
    graph, outputs, structure = structured(one - other)
    keys = keys_of(structure)
    assert len(keys) == len(set(keys))
    assert {one.name, other.name} <= {layer.name for layer in structure.layers}
    tasks, _ = cull(ensure_dict(graph), outputs)
    assert set(keys) == set(tasks)


def test_same_output_twice() -> None:
    """Outputs keep their order, and may be named twice."""
    keys = [(ONES.name, 5, 0, 0), (ONES.name, 0, 0, 0), (ONES.name, 5, 0, 0)]
    structure = structure_of(ONES.__dask_graph__(), keys)
    assert structure.outputs.tolist() == [1, 0, 1]


def test_nothing_wanted_is_nothing_needed() -> None:
    """Without outputs there is no task."""
    structure = structure_of(ONES.__dask_graph__(), [])
    assert (structure.n_tasks, structure.layers) == (0, ())
    assert structure.find((ONES.name, 0, 0, 0)) is None
