from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.core import flatten
from plan_builders import IOWA, IRELAND, OREGON, circumstances, stored, surveyed

from xr_locality.graph import view
from xr_locality.graph.collections import unpack
from xr_locality.graph.sizes import SizeEstimator
from xr_locality.plan.place import Placed, place, signatures
from xr_locality.regions.model import LOCAL, Region


def placed(*objects: Any, hosts: dict[Region, Region] | None = None) -> Placed:
    """Place objects by bytes, over all regions that hold something."""
    bundle = unpack(*objects)
    graph = bundle.graph()
    survey, problems = surveyed(*objects)
    assert problems == []
    located = {region for regions in survey.layers.values() for region in regions}
    hosts = hosts or {region: region for region in located | set(survey.pins.values())}
    costs = circumstances().costs
    return place(
        view.cull(graph, bundle.keys()),
        survey,
        hosts=hosts,
        usable=tuple(sorted(set(hosts.values()))),
        outputs=frozenset(bundle.keys()),
        client=LOCAL,
        estimator=SizeEstimator(graph=graph, parts=bundle.parts),
        cost=costs.nbytes,
        nbytes_cost=costs.nbytes,
    )


def regions_of(found: Placed, array: da.Array) -> set[Region]:
    """Gather the regions that an array's own layer runs in."""
    where = found.layers[array.name]
    return {where} if isinstance(where, Region) else set(where.values())


def test_layers_over_one_region_stay_whole() -> None:
    """What depends on one region's data runs there, as layers, key by key unseen."""
    one, other = stored(OREGON), stored(IOWA)
    means = one.mean(0), other.mean(0)
    found = placed(means[0] - means[1])
    assert found.layers[one.name] == found.layers[means[0].name] == OREGON
    assert found.layers[other.name] == found.layers[means[1].name] == IOWA


def test_join_is_placed_key_by_key() -> None:
    """A layer over two regions says of each key where it runs."""
    one, other = stored(OREGON), stored(IOWA)
    joined = one.mean(0) - other.mean(0)
    where = placed(joined).layers[joined.name]
    assert isinstance(where, dict)
    assert set(where) == {(joined.name, 0), (joined.name, 1)}


def test_concatenated_chunks_stay_where_they_are() -> None:
    """One layer of a concatenation has keys in both regions, each beside its data."""
    joined = da.concatenate([stored(OREGON), stored(IOWA)])
    doubled = joined * 2
    found = placed(doubled.sum())
    where = found.layers[doubled.name]
    assert isinstance(where, dict)
    assert where == {
        key: OREGON if key[1] < 4 else IOWA for key in flatten(doubled.__dask_keys__())
    }


def test_stores_are_values_read_in_their_own_region() -> None:
    """The node that holds a store runs nowhere; what reads it runs beside it."""
    one, other = stored(OREGON), stored(IOWA)
    found = placed(one - other)
    assert {f"original-{one.name}", f"original-{other.name}"} <= found.values
    assert regions_of(found, one) == {OREGON}
    assert regions_of(found, other) == {IOWA}


def test_stores_in_merged_layers_are_values_too() -> None:
    """After dask.optimize stores stand among tasks, and must not cross as values."""
    one, other = stored(OREGON), stored(IOWA)
    (merged,) = dask.optimize(one.mean(0) - other.mean(0))
    found = placed(merged)
    assert {f"original-{one.name}", f"original-{other.name}"} <= found.values
    assert not found.values & set(found.sizes)


def test_data_without_a_region_go_where_they_are_wanted() -> None:
    """Random numbers used in one region are made there."""
    noise = da.random.default_rng(0).random((8, 6), chunks=(2, 3))
    one, other = stored(OREGON), stored(IOWA)
    found = placed((one + noise).mean(0) - other.mean(0))
    assert regions_of(found, noise) == {OREGON}


def test_pin_moves_a_task_away_from_its_data() -> None:
    """An annotated layer runs where it is told, what it takes crosses to it."""
    one, other = stored(OREGON), stored(IOWA)
    mean = one.mean(0)
    with dask.annotate(locality=str(IRELAND)):
        pinned = mean + 1
    found = placed(pinned - other.mean(0))
    assert regions_of(found, pinned) == {IRELAND}
    assert regions_of(found, mean) == {OREGON}


def test_pin_is_served_by_its_host() -> None:
    """A pin to a region without an endpoint runs where policy serves that region."""
    one, other = stored(OREGON), stored(IOWA)
    mean = one.mean(0)
    with dask.annotate(locality=str(IRELAND)):
        pinned = mean + 1
    hosts = {OREGON: OREGON, IOWA: IOWA, IRELAND: IOWA}
    found = placed(pinned - other.mean(0), hosts=hosts)
    assert regions_of(found, pinned) == {IOWA}


def test_shuffle_is_one_unit() -> None:
    """A peer-to-peer rechunk of data from two regions runs in one of them."""
    joined = da.concatenate([stored(OREGON), stored(IOWA)])
    shuffled = joined.rechunk((16, 1), method="p2p")
    where = placed(shuffled.sum()).layers[shuffled.name]
    assert isinstance(where, dict)
    barrier = next(key for key in where if str(key).startswith("shuffle-barrier"))
    layer = shuffled.__dask_graph__().layers[shuffled.name]
    together = {barrier, *layer[barrier].dependencies}
    together |= {key for key, task in layer.items() if barrier in task.dependencies}
    assert len(together) > 2
    assert len({where[key] for key in together}) == 1


@pytest.mark.parametrize(
    ("located", "expected"),
    [
        ({}, {"a": set(), "b": set(), "c": set()}),
        ({"a": {OREGON}}, {"a": {OREGON}, "b": {OREGON}, "c": {OREGON}}),
        ({"a": {OREGON}, "b": {IOWA}}, {"a": {OREGON}, "b": {OREGON, IOWA}, "c": {OREGON, IOWA}}),
    ],
)
def test_signatures_gather_regions_of_ancestors(
    located: dict[str, set[Region]], expected: dict[str, set[Region]]
) -> None:
    """A layer's signature is where it and all that it depends on lie."""
    names = {"a": frozenset[str](), "b": frozenset({"a"}), "c": frozenset({"b"})}
    assert signatures(names, ("a", "b", "c"), located) == expected


def test_sizes_that_were_weighed_are_kept() -> None:
    """The plan can say which sizes were guessed."""
    one, other = stored(OREGON), stored(IOWA)
    joined = one.mean(0) - other.mean(0)
    found = placed(joined)
    assert found.sizes[joined.name, 0].nbytes == 3 * 8
    assert np.all([size.nbytes > 0 for size in found.sizes.values()])
