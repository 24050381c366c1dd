from __future__ import annotations

import threading
import time
import warnings
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.highlevelgraph import HighLevelGraph

from support.measured_sizes import compared
from support.polling import patience
from xr_locality.config import TrialFunctions
from xr_locality.graph.collections import unpack
from xr_locality.graph.layers import writes_chunks
from xr_locality.graph.persisted import HeldValue, hold, reveal
from xr_locality.graph.sizes.estimator import ANNOTATION, GUESSED_NBYTES, Size, SizeEstimator
from xr_locality.regions.region import Region

VALUES = da.from_array(np.random.default_rng(0).random((30, 20)).astype("f4"), chunks=(7, 8))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        pytest.param(
            da.from_delayed(dask.delayed(np.ones)(3), (np.nan,), dtype="f8"), "chunk", id="nan"
        ),
        pytest.param(
            da.from_array(np.array(["a", None], dtype=object), chunks=1),
            "Python objects",
            id="objects",
        ),
    ],
)
def test_what_is_not_known_is_guessed_and_says_why(array: da.Array, reason: str) -> None:
    """A size that nothing states is a guess with a reason, never nothing."""
    bundle = unpack(array + array)
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts)
    size = estimator.of(array.name, (array.name, 0))
    assert size.nbytes == GUESSED_NBYTES
    assert size.guess is not None
    assert reason in size.guess


def test_delayed_values_are_guessed() -> None:
    """Nothing is known of what a function returns."""
    bundle = unpack(dask.delayed(np.ones)(3))
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts)
    (key,) = bundle.keys()
    assert estimator.of(str(key), key).guess is not None


def test_values_at_hand_are_measured() -> None:
    """An array that the graph itself holds has the size it has."""
    bundle = unpack(VALUES)
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts)
    assert estimator.of(VALUES.name, "any", value=np.ones(5)) == Size(40)


def test_nothing_is_free() -> None:
    """Empty values count a byte, so that moving them is never for nothing."""
    empty = da.zeros((0, 3), chunks=1)
    assert all(size.nbytes >= 1 for size, _ in compared(empty).values())


def estimator_of(
    *items: Any, trials: TrialFunctions = "known"
) -> tuple[SizeEstimator, HighLevelGraph]:
    """Make an estimator of what some objects need."""
    bundle = unpack(*items)
    graph = bundle.graph()
    return SizeEstimator(graph=graph, parts=bundle.parts, trials=trials), graph


def test_users_say_better() -> None:
    """Bytes that a user annotates a layer with count, in numbers, in text or by key."""
    for said, expected in ((5, 5), ("2 kB", 2000), (lambda key: 7 + key[1], 9)):
        with dask.annotate(**{ANNOTATION: said}):
            array = da.from_delayed(dask.delayed(np.ones)(3), (np.nan,), dtype="f8")
            array = da.concatenate([array, array, array]) * 2
        estimator, _ = estimator_of(array)
        assert estimator.of(array.name, (array.name, 2)) == Size(expected)


def test_guesses_say_how_to_say_better() -> None:
    """A guess names the layer, the reason and the annotation."""
    value = dask.delayed(np.ones)(3)
    estimator, _ = estimator_of(value)
    assert estimator.of(value.key, value.key) == Size(
        GUESSED_NBYTES,
        f"layer {value.key!r}: it takes no arrays; dask.annotate(locality_nbytes=...) says better",
    )


@pytest.mark.parametrize(
    "array",
    [VALUES * 2, VALUES.mean(0), VALUES.std(), VALUES.rechunk((5, 20)), da.linalg.norm(VALUES)],
    ids=["product", "mean", "std", "rechunk", "norm"],
)
def test_many_keys_are_estimated_as_one_is(array: da.Array) -> None:
    """Vectorised estimates and totals are the sums of those of single keys."""
    estimator, graph = estimator_of(array)
    for name, layer in graph.layers.items():
        keys = sorted((key for key in layer if key[0] == name), key=repr)
        single = [estimator.of(name, key).nbytes for key in keys]
        assert estimator.of_keys(name, keys).nbytes.tolist() == single
        indices = np.array([key[1:] for key in keys], dtype=np.intp).reshape(len(keys), -1)
        assert estimator.of_blocks(name, indices).nbytes.tolist() == single
        assert estimator.of_blocks(name, indices).guessed is None
        if len(keys) == len(layer):
            assert estimator.total(name) == Size(sum(single))


def test_guesses_of_many_keys_are_marked() -> None:
    """Vectorised estimates say which are guesses, and why."""
    array = VALUES[VALUES > 0.5] * 2
    estimator, _ = estimator_of(array)
    sizes = estimator.of_keys(array.name, [(array.name, 0), (array.name, 1)])
    assert sizes.guessed is not None
    assert sizes.guessed.all()
    assert sizes.why is not None
    assert "depend on values" in sizes.why


def test_sizes_of_a_million_blocks_take_no_loop() -> None:
    """Blocks of a symbolic layer are estimated without making its tasks."""
    blocks = (1000, 1000)
    array = da.zeros((5000, 5000), chunks=5).mean(0)
    estimator, graph = estimator_of(array)
    name = next(name for name in graph.layers if name.startswith("mean_chunk"))
    indices = np.stack(np.unravel_index(np.arange(1_000_000), blocks), axis=1)
    start = time.perf_counter()
    sizes = estimator.of_blocks(name, indices)
    assert time.perf_counter() - start < patience(1)
    assert (sizes.nbytes == 80).all()
    assert estimator.total(name) == Size(80_000_000)
    assert not graph.layers[name].is_materialized()


def test_overlapping_layers_stay_symbolic() -> None:
    """Blocks and pieces of an overlap are estimated without making its tasks."""
    array = da.overlap.overlap(VALUES, {0: 2, 1: 1}, boundary="none")
    estimator, graph = estimator_of(array)
    layer = graph.layers[array.name]
    assert estimator.of(array.name, (array.name, 1, 1)) == Size((7 + 4) * (8 + 2) * 4)
    piece = (f"getitem-{array.name.removeprefix('overlap-')}", 1.1, 1)
    assert estimator.of(array.name, piece) == Size(2 * 8 * 4)
    assert not layer.is_materialized()


def test_functions_with_effects_are_not_tried() -> None:
    """What may write, or reads, is not called while a plan is made."""
    called: list[Any] = []
    writing = dask.delayed(called.append)(VALUES[:2])
    estimator, _ = estimator_of(writing)
    assert estimator.of(writing.key, writing.key).guess is not None
    reading = da.from_delayed(dask.delayed(called.append)("x"), (3,), dtype="f8") + 1
    estimator, _ = estimator_of(reading)
    assert estimator.of(reading.name, (reading.name, 0)) == Size(24)
    assert not called


def test_functions_are_tried_on_few_items_without_a_trace() -> None:
    """A block's function sees small arrays, and leaves random numbers as they were."""
    seen: list[int] = []

    def draw(block: Any) -> Any:
        seen.append(block.size)
        warnings.warn("of a trial", stacklevel=1)
        return block[:1] + np.random.random()

    array = da.zeros((8_000, 500), chunks=(4_000, 500)).map_blocks(draw, meta=np.empty((0, 0)))
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    later = array.sum()
    estimator, _ = estimator_of(later, trials="all")
    assert estimator.of(array.name, (array.name, 0, 0)) == Size(500 * 8)
    assert seen
    assert max(seen) <= 100_000
    assert (np.random.get_state()[1] == before).all()


def test_what_a_layer_states_is_believed_where_trials_cannot_tell() -> None:
    """A function that cuts at a place far away is what its layer states."""
    cut = da.zeros((20_000, 40), chunks=(10_000, 40)).map_blocks(
        lambda x: x[:2_000], chunks=((2_000, 2_000), (40,)), dtype="f8"
    )
    estimator, _ = estimator_of(cut + 1)
    assert estimator.of(cut.name, (cut.name, 1, 0)).nbytes == 2_000 * 40 * 8


def test_held_values_have_the_size_that_their_cluster_states() -> None:
    """What a region holds is not asked for: its size is that stated when it was persisted."""
    array = VALUES[:7, :8].rechunk(-1)
    key = (array.name, 0, 0)
    value = HeldValue(
        region=Region.parse("local"), future=np.ones(0), pull=lambda: None, nbytes=1234
    )
    rebuilt = hold(array, [key], {key: value})
    assert reveal(rebuilt.dask).layers[array.name].collection_annotations["nbytes"] == {key: 1234}


def test_function_that_never_returns_is_left_alone() -> None:
    """Nobody waits long for a function that is tried on stand-ins: its values are guessed."""
    gate = threading.Event()

    def wait(block: Any) -> Any:
        gate.wait(60)
        return block

    array = da.map_blocks(wait, VALUES, dtype="f4", meta=np.empty((0, 0), "f4"))
    bundle = unpack(array.sum())
    estimator = SizeEstimator(graph=bundle.graph(), parts=bundle.parts, trials="all")
    try:
        size = estimator.of(array.name, (array.name, 0, 0))
    finally:
        gate.set()
    assert size.guess is not None
    assert "takes long" in size.guess


def test_written_chunks_have_the_size_of_what_their_tasks_say() -> None:
    """A task that writes a chunk returns next to nothing, block by block and key by key."""
    target = np.zeros((30, 20), "f4")
    stored = da.store(VALUES, target, compute=False, lock=False)
    bundle = unpack(stored)
    graph = bundle.graph()
    estimator = SizeEstimator(graph=graph, parts=bundle.parts)
    (name,) = (name for name, layer in graph.layers.items() if writes_chunks(layer))
    keys = [key for key in graph.layers[name] if isinstance(key, tuple) and key[0] == name]
    assert estimator.of_keys(name, keys).nbytes.max() < 100
