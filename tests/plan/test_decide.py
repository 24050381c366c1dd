from __future__ import annotations

import sys
from typing import Any

import dask.array as da
import pytest
from dask.blockwise import Blockwise

import xr_locality as xl
from support.plan_builders import IOWA, IRELAND, NAMED, OREGON, stored
from xr_locality.display.plans import Plan
from xr_locality.placement.costs import CostModel
from xr_locality.plan.decide import decide
from xr_locality.regions.region import LOCAL, Region


@pytest.fixture
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it an error to materialise a Blockwise layer; one block may stand for the others."""
    tasks = Blockwise._dict.fget  # type: ignore[attr-defined]

    def refuse(layer: Blockwise) -> Any:
        if len(layer) > 1:
            raise AssertionError(f"{layer.output} was materialised")
        return tasks(layer)

    monkeypatch.setattr(Blockwise, "_dict", property(refuse))


def planned(*objects: Any, **policy: Any) -> Plan:
    """Plan for endpoints that are only named."""
    return xl.plan(*objects, **{"endpoints": NAMED, **policy})


@pytest.mark.usefixtures("no_tasks")
def test_one_region_is_decided_from_layers_alone() -> None:
    """Where data, results and endpoints leave nothing to save, no task is made."""
    array = stored(OREGON, (400, 6), (1, 6))
    plan = planned(((array * 2 + 1).T - 3).sum(), objective="bytes")
    assert plan.regions == (OREGON,)
    assert (plan.solver, plan.gap) == ("layers alone", 0.0)
    assert len(plan.partitions) == 1
    assert plan.partitions[0].graph is not None


@pytest.mark.usefixtures("no_tasks")
def test_two_regions_are_decided_without_tasks_of_blockwise_layers() -> None:
    """Task by task means by number: no Blockwise layer makes its tasks."""
    one, other = (stored(region, (40, 6), (2, 6)) for region in (OREGON, IOWA))
    plan = planned((one * 2).mean(0) - (other * 2).mean(0), objective="bytes", remote_read="never")
    assert plan.regions == (OREGON, IOWA)
    assert plan.moved


@pytest.mark.parametrize("remote_read", ["allowed", "never"])
@pytest.mark.parametrize("objective", ["usd", "bytes", "seconds"])
def test_never_worse_than_any_single_region(objective: str, remote_read: str) -> None:
    """Large results may be cheaper from elsewhere: whatever is decided, no baseline beats it."""
    compressed = stored(OREGON, (400, 60), (100, 60), compressors="auto")
    prices = {"aws:us-west-2 -> local": 0.5, "gcp:us-central1 -> local": 0.01}
    plan = planned(compressed * 2, objective=objective, remote_read=remote_read, prices=prices)
    cost = {"usd": plan.usd, "bytes": plan.nbytes_moved, "seconds": plan.seconds}[objective]
    for name, each in plan.baselines.items():
        if name != "local" and not (remote_read == "never" and str(OREGON) not in name):
            baseline = {"usd": each.usd, "bytes": each.nbytes, "seconds": each.seconds}[objective]
            assert cost <= baseline * (1 + 1e-9), name


def test_cheaper_egress_elsewhere_is_used() -> None:
    """Compressed bytes go to where large results leave for less, if that is allowed."""
    compressed = stored(OREGON, (400, 60), (100, 60), compressors="auto")
    prices = {"aws:us-west-2 -> local": 0.5, "gcp:us-central1 -> local": 0.01}
    plan = planned(compressed * 2, prices=prices)
    assert plan.regions == (IOWA,)
    assert {each.why for each in plan.transfers} == {"remote-read", "result"}
    assert plan.usd < CostModel(prices).usd(OREGON, LOCAL, 400 * 60 * 8)


@pytest.mark.parametrize(("policy", "expected"), [({"missing_endpoint": "nearest"}, OREGON)])
def test_data_without_an_endpoint_are_read_by_their_host(
    policy: dict[str, Any], expected: Region
) -> None:
    """A region that no endpoint serves is read by the one that policy names, and that is said."""
    array = stored(IRELAND)
    plan = xl.plan(array.sum(), endpoints={str(OREGON): None}, **policy)
    assert plan.regions == (expected,)
    assert plan.moved[IRELAND, expected] == 8 * 6 * 8


def test_without_data_everything_runs_here() -> None:
    """Numbers made of nothing are made where they are wanted."""
    plan = planned(da.ones(4, chunks=2) + 1)
    assert plan.nbytes_moved == 0
    assert plan.regions == (LOCAL,)


def test_large_graph_over_one_region_goes_not_by_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past so many tasks, layers decide even where that is not proven, and the gap says so."""
    monkeypatch.setitem(vars(sys.modules[decide.__module__]), "_FEW_TASKS", 10)
    prices = {"aws:us-west-2 -> local": 0.5, "gcp:us-central1 -> local": 0.01}
    plan = planned(stored(OREGON) * 2, prices=prices)
    assert plan.solver == "layers alone"
    assert 0 < plan.gap <= 1
    assert plan.lower_bound < plan.usd
