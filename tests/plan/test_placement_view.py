from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph

import xr_locality as xl
from support.plan_builders import IOWA, NAMED, OREGON, stored
from xr_locality.graph.dependencies import structure_of
from xr_locality.plan.placement_view import LayerPlacement, PlacementView


@pytest.fixture
def array() -> da.Array:
    """Two blocks of a Blockwise layer."""
    return da.ones(4, chunks=2) + 1


def halves(array: da.Array, *, values: bool = False) -> LayerPlacement:
    """Place the first block in Oregon, the second in Iowa, or say that it is plain data."""
    structure = structure_of(array.__dask_graph__(), list(flatten(array.__dask_keys__())))
    layer = structure.layers[-1]
    where = np.array([0, -1 if values else 1])
    return LayerPlacement(layer, (OREGON, IOWA), where, IOWA if values else None)


@pytest.mark.parametrize("values", [False, True])
def test_keys_of_a_layer_are_looked_up(array: da.Array, values: bool) -> None:
    """Each key has its region; plain values are beside their data."""
    placed = halves(array, values=values)
    assert dict(placed) == {(array.name, 0): OREGON, (array.name, 1): IOWA}
    assert len(placed) == 2
    for key in ("nobody", (array.name, 2), (array.name,)):
        with pytest.raises(KeyError):
            placed[key]


def test_view_maps_whole_and_mixed_layers(array: da.Array) -> None:
    """A layer in one region stands for all its keys, a mixed one for each."""
    graph = array.__dask_graph__()
    (ones,) = graph.dependencies[array.name]
    view = PlacementView(graph, {ones: OREGON, array.name: halves(array)})
    assert len(view) == 4
    assert set(view) == {(name, block) for name in (ones, array.name) for block in (0, 1)}
    assert view[ones, 1] == OREGON
    assert view[array.name, 1] == IOWA
    for key in ("nobody", (ones, 2), (array.name, 2), 3):
        with pytest.raises(KeyError):
            view[key]
    assert repr(view) == "<PlacementView of 2 layers>"


def test_keys_that_do_not_tell_their_layer_are_found() -> None:
    """A key may be held by a layer of another name."""
    graph = HighLevelGraph({"merged": {"odd": 1, ("x", 0): 2}}, {"merged": set()})
    view = PlacementView(graph, {"merged": IOWA})
    assert view["odd"] == view["x", 0] == IOWA


def test_plans_place_every_key_that_is_needed() -> None:
    """A plan's placement says of each needed key where it runs."""
    difference = (stored(OREGON) - stored(IOWA)).mean(0)
    plan = xl.plan(difference, endpoints=NAMED, remote_read="never")
    structure = structure_of(plan.bundle.graph(), plan.bundle.keys())
    placed: dict[Any, Any] = dict(plan.placement)
    for number in range(structure.n_tasks):
        assert placed[structure.key(number)] in plan.regions
