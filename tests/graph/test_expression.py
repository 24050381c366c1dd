from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import dask.multiprocessing
import dask.threaded
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.local import get_sync

from support.answers import assert_same, compute_plainly
from xr_locality.graph.expression import default_get, take_apart

ARRAY = da.ones((6, 4), chunks=(2, 2))


class Recorder:
    """A scheduler that takes apart what it is asked for, and runs the parts."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.default: Any = None

    def __call__(self, expression: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute as dask's schedulers do."""
        self.default = default_get(expression)
        bundle, order = take_apart(expression, keys)
        for part in bundle.parts:
            self.layers += part.graph.layers
        needed = bundle.keys()
        values = dict(zip(needed, get_sync(bundle.graph(), needed), strict=True))
        made = dict(zip(order, bundle.assemble(values), strict=True))
        return nest(keys, made)


def nest(keys: Any, made: dict[Any, Any]) -> Any:
    """Arrange values as their keys are."""
    return [nest(key, made) for key in keys] if isinstance(keys, list) else made[keys]


FRAME = dd.from_pandas(pd.DataFrame({"a": range(6), "b": range(6)}), npartitions=2)

ASKED: dict[str, tuple[Any, ...]] = {
    "array": (ARRAY + 1,),
    "0-d array": (ARRAY.sum(),),
    "several arrays": (ARRAY + 1, ARRAY.mean(0), ARRAY.sum()),
    "the same array twice": (ARRAY, ARRAY),
    "Delayed": (dask.delayed(np.sum)(ARRAY),),
    "Bag": (db.from_sequence(range(5), npartitions=2).map(str),),
    "Bag and its sum": (db.from_sequence(range(5), npartitions=2).sum(),),
    "DataArray": (xr.DataArray(ARRAY, dims=("y", "x"), name="n"),),
    "series": (FRAME.a.sum(),),
    "empty array": (da.zeros((0, 2), chunks=1),),
}


@pytest.mark.parametrize("objects", ASKED.values(), ids=ASKED)
def test_parts_give_what_dask_asked_for(objects: tuple[Any, ...]) -> None:
    """What a scheduler is asked for is computed from the graphs under the expression."""
    got = dask.compute(*objects, scheduler=Recorder())
    for one, other in zip(got, compute_plainly(*objects), strict=True):
        assert_same(one, other)


def test_graphs_are_those_before_fusion() -> None:
    """The parts still have their own layers: fused, there would be nothing to split."""
    recorder = Recorder()
    array = ARRAY.mean(0) - ARRAY.std(0)
    dask.compute(array, scheduler=recorder)
    assert set(array.__dask_graph__().layers) <= set(recorder.layers)


def test_xarrays_own_compute_is_understood() -> None:
    """A Dataset of which one variable derives from another arrives as its arrays."""
    dataset = xr.Dataset({"t": (("y", "x"), ARRAY)})
    dataset = dataset.assign(double=dataset.t * 2)
    with dask.config.set(scheduler=Recorder()):
        got = dataset.compute()
    assert_same(got, compute_plainly(dataset)[0])


def test_persisted_arrays_come_back_in_memory() -> None:
    """Keys of chunks, not only of whole arrays, may be asked for."""
    with dask.config.set(scheduler=Recorder()):
        held = (ARRAY + 1).persist()
    np.testing.assert_array_equal(held.compute(scheduler="sync"), np.full((6, 4), 2.0))


def test_plain_graph_is_taken_as_it_is() -> None:
    """Some functions of dask optimise a graph themselves and hand over the result."""
    optimized = (ARRAY + 1).__dask_optimize__(
        (ARRAY + 1).__dask_graph__(), (ARRAY + 1).__dask_keys__()
    )
    key = ((ARRAY + 1).name, 0, 0)
    np.testing.assert_array_equal(Recorder()(optimized, [[key]])[0][0], np.full((2, 2), 2.0))
    np.testing.assert_array_equal(
        Recorder()((ARRAY + 1).__dask_graph__(), key), np.full((2, 2), 2.0)
    )


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        pytest.param(ASKED["array"], dask.threaded.get, id="array"),
        pytest.param(ASKED["Bag"], dask.multiprocessing.get, id="Bag"),
        pytest.param(ASKED["series"], dask.threaded.get, id="series"),
        pytest.param(ASKED["Delayed"], dask.threaded.get, id="Delayed"),
    ],
)
def test_default_scheduler_is_the_collections_own(objects: tuple[Any, ...], expected: Any) -> None:
    """Whoever is not routed gets the scheduler that dask would have chosen."""
    recorder = Recorder()
    dask.compute(*objects, scheduler=recorder)
    assert recorder.default is expected
