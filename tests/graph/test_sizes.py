from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import convert_legacy_graph
from dask.local import get_sync
from dask.typing import Key
from dask.utils import ensure_dict

from xr_locality.graph.collections import unpack
from xr_locality.graph.sizes import GUESSED_NBYTES, Size, SizeEstimator
from xr_locality.graph.structure import structure_of

VALUES = da.from_array(np.random.default_rng(0).random((30, 20)).astype("f4"), chunks=(7, 8))


def real_nbytes(value: Any) -> int:
    """Bytes of the arrays that a value holds."""
    if isinstance(value, dict):
        return sum(map(real_nbytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(real_nbytes, value))
    return int(np.asarray(value).nbytes)


def compared(array: da.Array) -> dict[Key, tuple[Size, int]]:
    """Estimate and measure the value of every key that an array needs."""
    bundle = unpack(array)
    graph = bundle.graph()
    estimator = SizeEstimator(graph=graph, parts=bundle.parts)
    layer_of = {
        key: layer.name
        for layer in structure_of(graph, bundle.keys()).layers
        for key in layer.keys_of(np.arange(layer.start, layer.stop))
        if not layer.only_values
    }
    values = get_sync(convert_legacy_graph(ensure_dict(graph)), list(layer_of))
    return {
        key: (estimator.of(layer, key), real_nbytes(value))
        for (key, layer), value in zip(layer_of.items(), values, strict=True)
    }


EXACT = {
    "elementwise": VALUES * 2,
    "astype": VALUES.astype("f8"),
    "transpose": VALUES.T,
    "slice": VALUES[3:25, ::2],
    "broadcast": VALUES + da.ones((4, 1, 20), chunks=(2, 1, 5)),
    "sum": VALUES.sum(0),
    "max of all": VALUES.max(),
    "mean": VALUES.mean(1),
    "rechunk": VALUES.rechunk((5, 20)),
    "concatenate": da.concatenate([VALUES, VALUES[:3]]),
    "stack": da.stack([VALUES, VALUES]),
}


@pytest.mark.parametrize("array", EXACT.values(), ids=EXACT)
def test_sizes_of_array_layers_are_exact(array: da.Array) -> None:
    """What chunks and dtypes state of every value, partials too, is what it turns out to be."""
    for key, (size, real) in compared(array).items():
        assert size.guess is None, key
        assert size.nbytes == max(real, 1), key


@pytest.mark.parametrize(
    "array",
    [VALUES.std(0), VALUES.argmax(0), VALUES.cumsum(0), da.linalg.norm(VALUES)],
    ids=["std", "argmax", "cumsum", "norm"],
)
def test_sizes_of_partials_are_close_or_said_to_be_guessed(array: da.Array) -> None:
    """Partials that no rule covers may be off by a factor of two, or say that they are guessed."""
    for key, (size, real) in compared(array).items():
        assert size.guess is not None or real / 2 <= size.nbytes <= real * 2, key


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
