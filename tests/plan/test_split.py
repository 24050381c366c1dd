from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.blockwise import Blockwise
from dask.core import flatten

import xr_locality as xl
from support.answers import assert_same, compute_plainly
from support.inprocess import run_here, submitted
from support.invariants import check_plan
from support.plan_builders import IOWA, IRELAND, NAMED, OREGON, stored
from xr_locality.display.plans import Plan
from xr_locality.graph.collections import unpack
from xr_locality.plan.model import Partition
from xr_locality.plan.split import whole
from xr_locality.regions.region import Region


def planned(*objects: Any, **policy: Any) -> Plan:
    """Plan for as few bytes as a split moves, and check what holds for every plan."""
    stated = {"endpoints": NAMED, "objective": "bytes", "remote_read": "never", **policy}
    plan = xl.plan(*objects, **stated)
    check_plan(plan)
    return plan


def part(plan: Plan, region: Region) -> Partition:
    """Get the partition of a region."""
    return next(each for each in plan.partitions if each.region == region)


def test_difference_of_means_crosses_by_its_means() -> None:
    """Only what was reduced crosses, each value once, and the larger side stays."""
    large, small = stored(OREGON, (8, 6)), stored(IOWA, (8, 6))
    plan = planned(large.mean(0) - small.mean(0))
    assert {boundary.key[0] for boundary in plan.boundaries} == {small.mean(0).name}
    assert [boundary.nbytes for boundary in plan.boundaries] == [24, 24]
    assert all(boundary.source == IOWA for boundary in plan.boundaries)


def test_value_that_many_take_crosses_once() -> None:
    """A small mask used by every chunk of another region crosses once a chunk."""
    mask, field = stored(IOWA, (6,), (3,)), stored(OREGON, (8, 6), (1, 3))
    plan = planned(field * mask)
    assert len(plan.boundaries) == 2
    assert plan.moved[IOWA, OREGON] == 6 * 8


def test_value_needed_in_two_regions_is_one_boundary() -> None:
    """A value that two regions need is listed once, with both of them."""
    mask = stored(IOWA, (6,), (6,))
    fields = [stored(region, (8, 6), (2, 6)) for region in (OREGON, IRELAND)]
    plan = planned(*[(field * mask).mean() for field in fields])
    (boundary,) = plan.boundaries
    assert boundary.targets == (IRELAND, OREGON)
    assert plan.moved[IOWA, OREGON] == plan.moved[IOWA, IRELAND] == 6 * 8


def test_layers_of_a_partition_stay_symbolic() -> None:
    """Blockwise layers stay rules, so that dask fuses them as if split by hand."""
    one, other = stored(OREGON), stored(IOWA)
    plan = planned((one * 2 + 1).mean(0) - (other * 2 + 1).mean(0))
    for partition in plan.partitions:
        layers = partition.graph.layers
        assert sum(isinstance(layer, Blockwise) for layer in layers.values()) >= 4


def test_split_adds_only_what_crosses() -> None:
    """Two parts of a graph together run as many tasks as the whole, but for the crossings."""
    one, other = (stored(region, (40, 6), (1, 3)) for region in (OREGON, IOWA))
    mean = da.concatenate([one * 2, other * 2]).mean(0)
    plan = planned(mean)
    as_one = len(dask.optimize(mean)[0].dask)
    # A boundary value is packed, kept under its own name, and fetched.
    allowed = as_one + 3 * len(plan.boundaries)
    assert sum(map(len, submitted(plan).values())) <= allowed


def test_stores_stay_with_their_readers() -> None:
    """A store object, and the credentials in it, goes only to the region that reads it."""
    one, other = stored(OREGON), stored(IOWA)
    plan = planned(one - other)
    assert f"original-{other.name}" not in part(plan, OREGON).graph.layers
    assert f"original-{one.name}" not in part(plan, IOWA).graph.layers
    assert not any(str(boundary.key).startswith("original-") for boundary in plan.boundaries)


def test_stores_in_merged_graphs_stay_with_their_readers() -> None:
    """After dask.optimize a store is a node among tasks, and still never crosses."""
    one, other = stored(OREGON), stored(IOWA)
    merged = dask.optimize([one.mean(0), other.mean(0)])[0]
    plan = planned(merged[0] - merged[1])
    assert len(plan.partitions) == 2
    assert not any(str(boundary.key).startswith("original-") for boundary in plan.boundaries)
    assert_same(run_here(plan), compute_plainly(one.mean(0) - other.mean(0)))


def test_values_in_memory_go_to_each_region_that_uses_them() -> None:
    """An array in memory is sent along to all who take it, and is no boundary."""
    weights = da.from_array(np.arange(6.0), chunks=3)
    plan = planned((stored(OREGON) * weights).mean(), (stored(IOWA) * weights).mean())
    assert plan.boundaries == ()
    assert [each.upload_nbytes for each in plan.partitions] == [48, 48]
    assert sum(each.nbytes for each in plan.transfers if each.why == "upload") == 96


def test_value_in_memory_that_is_a_result_is_returned_once() -> None:
    """A result that is plain data comes from one region, however many use it."""
    weights = da.from_array(np.arange(6.0), chunks=3)
    plan = planned(weights, (stored(OREGON) * weights).mean(), (stored(IOWA) * weights).mean())
    outputs = [key for each in plan.partitions for key in each.outputs]
    assert outputs.count((weights.name, 0)) == outputs.count((weights.name, 1)) == 1
    assert_same(run_here(plan)[0], np.arange(6.0))


def test_result_that_also_crosses_is_made_once() -> None:
    """A value may be a result and a boundary at the same time."""
    one, other = stored(OREGON), stored(IOWA)
    mean = other.mean(0)
    objects = [mean, one.mean(0) - mean]
    plan = planned(*objects)
    assert {boundary.key for boundary in plan.boundaries} == set(flatten(mean.__dask_keys__()))
    assert set(flatten(mean.__dask_keys__())) <= set(part(plan, IOWA).outputs)
    assert_same(run_here(plan), compute_plainly(*objects))


def test_values_may_cross_back_and_forth() -> None:
    """Two regions may each need what the other made of what it was sent."""
    one, other = stored(OREGON), stored(IOWA)
    mean = one.mean()
    with dask.annotate(locality=str(IOWA)):
        anomaly = (other - mean).std()
    with dask.annotate(locality=str(OREGON)):
        last = one * anomaly
    plan = planned(last)
    assert {boundary.source for boundary in plan.boundaries} == {OREGON, IOWA}
    assert_same(run_here(plan), compute_plainly(last))


def test_futures_keep_their_names() -> None:
    """A key that a cluster holds already must be asked for by that name."""
    plan = planned(stored(OREGON).mean() - stored(IOWA).mean())
    assert all(each.fixed == frozenset() for each in plan.partitions)


def test_shuffles_survive_the_split() -> None:
    """A peer-to-peer shuffle inside one region is submitted whole, barrier and all."""
    one, other = (stored(region, (16, 6), (2, 3)) for region in (OREGON, IOWA))
    plan = planned(one.rechunk((16, 1), method="p2p").sum() - other.sum())
    barriers = [
        key
        for layer in part(plan, OREGON).graph.layers.values()
        for key in layer
        if str(key).startswith("shuffle-barrier")
    ]
    assert barriers


def test_whole_graph_is_left_untouched() -> None:
    """In one region nothing is split: the layers are the very same objects."""
    array = stored(OREGON).mean(0)
    bundle = unpack(array)
    graph = bundle.graph()
    partition = whole(graph, bundle.keys(), OREGON)
    assert partition.graph is graph
    assert partition.outputs == tuple(bundle.keys())
    assert (partition.sends, partition.fetches) == ((), ())
    assert partition.n_layers == len(graph.layers)


@pytest.mark.parametrize("regions", [(OREGON, OREGON), (OREGON, IOWA), (OREGON, IOWA, IRELAND)])
def test_partitions_come_in_order_of_their_regions(regions: tuple[Region, ...]) -> None:
    """One partition for each region, always in the same order."""
    plan = planned(sum(stored(region).mean() for region in regions))
    assert plan.regions == tuple(sorted(set(regions)))


def rolling_over_concat() -> tuple[da.Array, list[da.Array]]:
    """Take running means over a concatenation of data from two regions."""
    one, other = (stored(region, (40, 6), (4, 6)) for region in (OREGON, IOWA))
    joined = xr.DataArray(da.concatenate([one, other]), dims=("t", "x"))
    parts = [xr.DataArray(each, dims=("t", "x")) for each in (one, other)]
    return joined.rolling(t=3).mean().data, [each.rolling(t=3).mean().data for each in parts]


def mean_over_concat() -> tuple[da.Array, list[da.Array]]:
    """Take a mean over a concatenation; by hand, a sum on each side."""
    one, other = (stored(region, (40, 6), (1, 3)) for region in (OREGON, IOWA))
    return da.concatenate([one * 2, other * 2]).mean(0), [(one * 2).mean(0), (other * 2).mean(0)]


def difference_of_means() -> tuple[da.Array, list[da.Array]]:
    """Subtract two means, one of each region."""
    one, other = (stored(region, (40, 6), (2, 3)) for region in (OREGON, IOWA))
    means = [(one * 2 + 1).mean(0), (other * 2 + 1).mean(0)]
    return means[0] - means[1], means


def broadcast_mask() -> tuple[da.Array, list[da.Array]]:
    """Multiply a field by a small mask from elsewhere; by hand, the mask is an array there."""
    mask, field = stored(IOWA, (6,), (3,)), stored(OREGON, (40, 6), (2, 3))
    return (field * (mask > 2)).mean(0), [mask > 2, (field * da.ones(6, chunks=3)).mean(0)]


def optimised(array: da.Array) -> int:
    """Count the tasks that dask makes of an array."""
    return len(dask.optimize(array)[0].__dask_graph__().to_dict())


@pytest.mark.parametrize(
    "make",
    [
        mean_over_concat,
        difference_of_means,
        broadcast_mask,
        rolling_over_concat,
    ],
)
def test_no_more_tasks_than_split_by_hand(make: Any) -> None:
    """Parts are optimised as those split by hand: a crossing adds one task, and its fetch."""
    array, by_hand = make()
    plan = planned(array)
    assert len(plan.partitions) == 2
    tasks = sum(map(len, submitted(plan).values()))
    # What joins the parts is left to the client by hand; here it is tasks, too.
    joins = optimised(array) - sum(map(optimised, by_hand))
    crossings = len(plan.boundaries)
    assert tasks <= sum(map(optimised, by_hand)) + max(joins, 0) + crossings
    assert_same(run_here(plan)[0], compute_plainly(array)[0])


def test_whole_layers_are_the_very_same_objects() -> None:
    """A layer that lands in one region goes there as it is, not copied nor culled."""
    one, other = stored(OREGON), stored(IOWA)
    difference = (one * 2).mean(0) - (other * 2).mean(0)
    plan = planned(difference)
    graph = plan.bundle.graph()
    for region in (OREGON, IOWA):
        layers = part(plan, region).graph.layers
        same = [name for name in layers if layers[name] is graph.layers[name]]
        assert len(same) >= len(layers) - 2


def test_mixed_layers_are_culled_by_output_key() -> None:
    """A Blockwise layer over two regions is a Blockwise layer in each, of its own blocks."""
    doubled = da.concatenate([stored(OREGON), stored(IOWA)]) * 2
    plan = planned(doubled.sum())
    rows = []
    for region in (OREGON, IOWA):
        layer = part(plan, region).graph.layers[doubled.name]
        assert isinstance(layer, Blockwise)
        rows.append({key[1] for key in layer})
    assert rows == [{0, 1, 2, 3}, {4, 5, 6, 7}]
