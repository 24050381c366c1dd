from __future__ import annotations

import dataclasses

import dask
import pytest
from dask.core import flatten

import xr_locality as xl
from support.plan_builders import IOWA, NAMED, OREGON, stored
from xr_locality.display.plans import Plan
from xr_locality.regions.region import LOCAL


@pytest.fixture
def split() -> Plan:
    """Plan the difference of two means in two regions."""
    difference = stored(OREGON).mean(0) - stored(IOWA).mean(0)
    # Either region may combine both for the same bytes and, by list prices, money.
    prices = {f"{IOWA} -> local": 0.5}
    return xl.plan(difference, endpoints=NAMED, prices=prices)


def test_plan_is_frozen(split: Plan) -> None:
    """Nobody changes a plan after it was shown."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.usd = 0.0  # type: ignore[misc]


def test_moved_sums_transfers_by_pair(split: Plan) -> None:
    """What crosses between two regions is one number, source first."""
    assert split.moved == {(OREGON, LOCAL): 48, (IOWA, OREGON): 48}
    assert split.nbytes_moved == 96


def test_placement_knows_every_key(split: Plan) -> None:
    """Each key of the graph has its region, and looking one up lists no others."""
    graph = split.bundle.graph()
    assert set(split.placement) == set(graph.to_dict())
    assert len(split.placement) == len(graph.to_dict())
    assert {split.placement[key] for key in split.partitions[0].outputs} == {OREGON}


def test_placement_knows_no_other_key(split: Plan) -> None:
    """A key of another graph has no region."""
    for key in ["nobody", ("nobody", 0), (), 3]:
        assert key not in split.placement
        with pytest.raises(KeyError):
            split.placement[key]


def test_placement_knows_keys_that_are_not_named_as_their_layer() -> None:
    """Rechunking makes keys of other names than the layer's."""
    array = stored(OREGON).rechunk((3, 4))
    plan = xl.plan(array, endpoints=NAMED)
    assert all(plan.placement[key] == OREGON for key in array.dask.to_dict())


def test_placement_of_one_region_knows_culled_keys_too() -> None:
    """Where everything runs in one region, that is said of the whole graph."""
    array = stored(OREGON)[:2]
    plan = xl.plan(array, endpoints=NAMED)
    assert set(plan.placement) == set(array.dask.to_dict())


def test_reprs_are_short(split: Plan) -> None:
    """A plan in a notebook's debugger does not print its graph."""
    assert len(repr(split)) < 200
    assert len(repr(split.placement)) < 100
    assert all(len(repr(part)) < 300 for part in split.partitions)


def test_results_are_transfers_to_the_client(split: Plan) -> None:
    """Each chunk of a result goes to the client once."""
    results = [each.key for each in split.transfers if each.why == "result"]
    assert sorted(results) == sorted(flatten(split.bundle.parts[0].collection.__dask_keys__()))


def test_plan_of_nothing_runs_nowhere_in_particular() -> None:
    """What holds no stored data is planned all the same."""
    plan = xl.plan(dask.delayed(sum)([1, 2]), endpoints=NAMED)
    assert plan.regions == (LOCAL,)
    assert plan.sources == ()
    assert plan.usd == 0
