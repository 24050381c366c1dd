from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from dask.core import get_dependencies
from dask.layers import ArrayOverlapLayer

from xr_locality.graph.collections import unpack
from xr_locality.graph.layer_keys import ListedKeys
from xr_locality.graph.overlap import Overlap, _follows_rule, overlap_of
from xr_locality.graph.sizes.estimator import SizeEstimator

CHUNKS = [((5, 4, 7), (6,)), ((4, 4), (3, 5, 9, 3)), ((10,), (10, 2)), ((3, 3, 3, 3, 3, 3),)]
DEPTHS = [{0: (1, 1)}, {0: (2, 2), 1: (1, 1)}, {0: (2, 0), 1: (0, 1)}, {0: (0, 3)}, {1: (2, 2)}]


@pytest.fixture(params=CHUNKS, ids=str)
def chunks(request: pytest.FixtureRequest) -> tuple[tuple[int, ...], ...]:
    """Blocks of an array."""
    found: tuple[tuple[int, ...], ...] = request.param
    return found


@pytest.fixture(params=DEPTHS, ids=str)
def overlapping(
    request: pytest.FixtureRequest, chunks: tuple[tuple[int, ...], ...]
) -> tuple[da.Array, ArrayOverlapLayer, Overlap]:
    """An array that overlaps, its layer, and the rule that it follows."""
    depths = {axis: each for axis, each in request.param.items() if axis < len(chunks)}
    lazy = da.ones(tuple(map(sum, chunks)), chunks=chunks)
    array = da.overlap.overlap(lazy, depths, boundary="none", allow_rechunk=False)
    layer = array.__dask_graph__().layers[array.name]
    if not isinstance(layer, ArrayOverlapLayer):
        pytest.skip("dask makes no overlap of these")
    overlap = overlap_of(layer)
    assert overlap is not None
    assert not layer.is_materialized()
    return array, layer, overlap


def test_overlap_names_its_tasks_as_dask_does(
    overlapping: tuple[da.Array, ArrayOverlapLayer, Overlap],
) -> None:
    """Each key of the layer has a position, and no others have."""
    _, layer, overlap = overlapping
    every = np.arange(len(overlap))
    keys = overlap.keys_at(every)
    assert len(set(keys)) == len(keys)
    assert set(keys) == set(layer)
    assert overlap.find(keys).tolist() == every.tolist()
    foreign = [("x", 0, 0), overlap.blocks, (overlap.blocks, -1, 0), (overlap.pieces, 0.2, 0)]
    assert overlap.find([*foreign, (overlap.blocks, 0.5, 0)]).tolist() == [-1] * 5


def test_overlap_takes_what_dask_s_tasks_take(
    overlapping: tuple[da.Array, ArrayOverlapLayer, Overlap],
) -> None:
    """Pieces are cut from one block each, and joined blocks of pieces around them."""
    _, layer, overlap = overlapping
    tasks = dict(layer)
    names = overlap.keys_at(np.arange(len(overlap)))
    pieces = np.arange(overlap.n_pieces)
    cut = np.unravel_index(overlap.cut_from(pieces), overlap.counts)
    for key, block in zip(names, zip(*(each.tolist() for each in cut), strict=True), strict=False):
        base = (layer.name, *block)
        assert get_dependencies({**tasks, base: None}, key) == {base}
    joined: dict[object, set[object]] = {}
    blocks = np.arange(len(overlap) - overlap.n_pieces)
    for made, taken in overlap.joined_of(blocks):
        for piece, taker in zip(made.tolist(), taken.tolist(), strict=True):
            joined.setdefault(names[taker], set()).add(names[piece])
    assert joined == {key: set(get_dependencies(tasks, key)) for key in names[len(pieces) :]}


def test_sizes_of_an_overlap_are_those_of_its_keys(
    overlapping: tuple[da.Array, ArrayOverlapLayer, Overlap],
) -> None:
    """Estimated together, tasks have the bytes that they have one by one."""
    array, layer, overlap = overlapping
    bundle = unpack(array)
    every = np.arange(len(overlap))
    together, alone = (
        SizeEstimator(graph=bundle.graph(), parts=bundle.parts) for _ in ("together", "alone")
    )
    sizes = together.of_overlap(array.name, overlap, every)
    assert sizes.nbytes.tolist() == [
        alone.of(array.name, key).nbytes for key in overlap.keys_at(every)
    ]
    assert sizes.guessed is None
    some = every[::3]
    assert together.of_overlap(array.name, overlap, some).nbytes.tolist() == (
        sizes.nbytes[some].tolist()
    )
    assert not layer.is_materialized()


def test_blocks_are_found_by_their_places() -> None:
    """What a Blockwise layer takes is found in either kind of layer; -1 is another's."""
    overlap = Overlap(
        array="x", pieces="getitem-t", blocks="overlap-t", counts=(3,), depths=((1, 1),)
    )
    assert overlap.find_blocks("overlap-t", (3,), np.array([2, 0])).tolist() == [9, 7]
    assert overlap.find_blocks("getitem-t", (3,), np.array([2, 0])).tolist() == [6, 0]
    assert overlap.find_blocks("x", (3,), np.array([2, 0])).tolist() == [-1, -1]
    listed = ListedKeys([("a", 1), "odd", ("a", 0), ("b", 0)])
    assert listed.find_blocks("a", (3,), np.array([0, 1, 2])).tolist() == [2, 0, -1]
    assert listed.find_blocks("odd", (), np.array([0])).tolist() == [1]
    assert listed.find([("b", 0), ("c",)]).tolist() == [3, -1]


def test_overlap_that_dask_would_cut_otherwise_is_not_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another version's layer is asked for its tasks."""
    layer = ArrayOverlapLayer("x", {0: 7}, ((9, 9, 9, 9, 9),), (5,), "t")
    assert overlap_of(layer) is not None
    _follows_rule.cache_clear()
    monkeypatch.setattr(ArrayOverlapLayer, "_construct_graph", lambda self: {("new", 0): 1})
    assert overlap_of(layer) is None
    _follows_rule.cache_clear()


def test_results_of_large_listed_layers_are_believed() -> None:
    """What is computed has the chunks that it has, and what lies behind is not gone through."""
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    array = (da.ones((4000, 10), chunks=(1, 10)) + 1).sum(0)
    graph = array.__dask_graph__()
    layers = {name: MaterializedLayer(dict(layer)) for name, layer in graph.layers.items()}
    listed = HighLevelGraph(layers, graph.dependencies)
    lazy = da.Array(listed, array.name, array.chunks, dtype=array.dtype)
    bundle = unpack(lazy)
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts)
    total = estimator.total(lazy.name)
    assert (total.nbytes, total.guess) == (80, None)
    assert len(estimator._describer._keys) < 3000
