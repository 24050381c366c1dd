from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import xr_locality as xl
from support.invariants import check_plan
from support.plan_builders import IOWA, IRELAND, OREGON, context, remote, stored
from support.polling import patience
from support.programs import open_sources, write_sources
from xr_locality.display.plan_page import plan_page
from xr_locality.display.summary import summarise
from xr_locality.display.text import lay_out
from xr_locality.errors import (
    BudgetError,
    EndpointError,
    LocalityErrorGroup,
    RegionError,
    SourceError,
)
from xr_locality.graph.collections import unpack
from xr_locality.plan.build import build_plan
from xr_locality.plan.model import PlanRecord
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.tag import Tag
from xr_locality.regions.tag_registry import REGISTRY
from xr_locality.sources.search import find_sources

#: Bytes of the array that ``stored`` makes.
WHOLE = 8 * 6 * 8


def planned(
    *objects: Any, usable: tuple[Region, ...] = (OREGON, IOWA), **policy: Any
) -> PlanRecord:
    """Build a plan, and check what holds for every plan."""
    plan = build_plan(unpack(*objects), context(*usable, **policy))
    check_plan(plan)
    return plan


def test_one_region_is_planned_without_making_tasks() -> None:
    """Data in one region run there, and no layer is made into tasks for knowing it."""
    array = stored(OREGON, (40, 40), (1, 1)).mean(0)
    plan = planned(array)
    assert plan.regions == (OREGON,)
    assert plan.partitions[0].graph.layers[array.name] is array.dask.layers[array.name]
    assert (plan.boundaries, plan.gap) == ((), 0.0)


def test_reductions_over_two_regions_are_split() -> None:
    """Each mean is made beside its data, and only one of them crosses."""
    plan = planned(stored(OREGON).mean(0) - stored(IOWA).mean(0), objective="bytes")
    assert plan.regions == (OREGON, IOWA)
    assert sum(plan.moved[pair] for pair in [(IOWA, OREGON)]) == 6 * 8
    assert [each.why for each in plan.transfers] == ["boundary"] * 2 + ["result"] * 2


def test_stored_bytes_may_be_read_from_afar_where_that_is_cheapest() -> None:
    """Where values outweigh what is stored, the other region reads the store itself."""
    one, other = stored(OREGON), stored(IOWA)
    grown = da.concatenate([other] * 5)
    plan = planned(da.concatenate([one] * 5) + grown * grown, objective="bytes")
    remote_reads = [each for each in plan.transfers if each.why == "remote-read"]
    assert [each.nbytes for each in remote_reads] == [WHOLE]
    assert len(plan.regions) == 1


def test_source_of_which_no_chunk_is_needed_is_not_read() -> None:
    """Slicing away all of one region leaves nothing to read there, whatever the layers hold."""
    joined = da.concatenate([stored(OREGON), stored(IOWA)])[:4]
    plan = planned(joined, remote_read="never")
    assert plan.regions == (OREGON,)
    assert set(plan.moved) == {(OREGON, LOCAL)}


def test_stored_bytes_stay_where_policy_forbids_reading_them() -> None:
    """With remote_read='never' values cross, however many."""
    one, other = stored(OREGON), stored(IOWA)
    plan = planned(one - other, objective="bytes", remote_read="never")
    assert {each.why for each in plan.transfers} == {"boundary", "result"}


@pytest.mark.parametrize("objective", ["usd", "bytes", "seconds"])
@pytest.mark.parametrize("client", ["local", "aws:us-west-2", "gcp:us-central1"])
def test_plan_is_never_worse_than_one_region(objective: str, client: str) -> None:
    """By its own objective a plan costs no more than everything in the best region."""
    one, other = stored(OREGON, (16, 6)), stored(IOWA)
    programs = [
        one[:8] - other,
        one.mean(0) - other.mean(0),
        (one.sum() * other).max(),
        da.concatenate([one, other]).std(0),
        one.mean(0)[None] * da.ones((50, 1), chunks=10) + other.mean(0),
    ]
    for array in programs:
        plan = planned(array, objective=objective, client_region=client)
        for name, baseline in plan.baselines.items():
            if name != "local":
                assert _cost(plan, objective) <= _cost(baseline, objective) * (1 + 1e-9), name


def _cost(planned: Any, objective: str) -> float:
    if objective == "bytes":
        return float(getattr(planned, "nbytes_moved", None) or getattr(planned, "nbytes", 0))
    return float(getattr(planned, objective))


def test_unknown_region_is_an_error() -> None:
    """Data that nobody can place are refused, and the message says how to place them."""
    with pytest.raises(RegionError, match="The region of 's3://bucket-.*' is not known"):
        planned(remote())


def test_unknown_region_may_be_read_from_here() -> None:
    """With unknown_region='local' such data are read on this machine, and the plan says so."""
    plan = planned(remote().sum(), unknown_region="local")
    assert plan.regions == (LOCAL,)
    assert any("the region of s3://bucket-" in doubt for doubt in plan.unknowns)


def test_independent_problems_are_reported_together() -> None:
    """Everything that is wrong is told at once, each by its own error."""
    with dask.annotate(locality="aws:us-wset-2"):
        pinned = stored(OREGON).map_blocks(np.abs)
    with pytest.raises(LocalityErrorGroup, match="cannot be placed") as caught:
        planned(remote(), remote(), stored(IRELAND), pinned)
    kinds = sorted(type(problem).__name__ for problem in caught.value.exceptions)
    assert kinds == ["EndpointError", "RegionError", "RegionError", "RegionError"]
    assert isinstance(caught.value, ValueError)


def test_problem_is_told_once_however_many_layers_have_it() -> None:
    """A pin on thirty layers is one mistake."""
    array = stored(OREGON)
    with dask.annotate(locality="aws:us-wset-2"):
        for _ in range(3):
            array = array + 1
    with pytest.raises(RegionError, match="us-wset-2"):
        planned(array)


@pytest.mark.parametrize(
    ("missing", "expected"), [("nearest", (OREGON,)), ("local", (LOCAL,))], ids=str
)
def test_missing_endpoint_is_served_by_policy(missing: str, expected: tuple[Region, ...]) -> None:
    """Data without an endpoint may be read from elsewhere, which is counted."""
    plan = planned(stored(IRELAND).sum(), usable=(OREGON,), missing_endpoint=missing)
    assert plan.regions == expected
    assert [each.nbytes for each in plan.transfers if each.why == "remote-read"] == [WHOLE]


def test_missing_endpoint_is_an_error() -> None:
    """Never a silent computation elsewhere."""
    with pytest.raises(EndpointError, match="No endpoint for region 'aws:eu-west-1'"):
        planned(stored(IRELAND).sum())


def test_without_any_endpoint_everything_runs_here() -> None:
    """A first try needs no configuration; the plan says what it pulls."""
    plan = planned(stored(OREGON).sum() - stored(IOWA).sum(), usable=())
    assert plan.regions == (LOCAL,)
    assert plan.nbytes_moved == 2 * WHOLE
    assert any("no endpoint is configured" in doubt for doubt in plan.unknowns)


@pytest.mark.parametrize("limit", ["100 B", "0.000000001 USD"])
def test_budget_is_checked_before_anything_runs(limit: str) -> None:
    """A plan that moves more than is allowed is refused, with what it would move."""
    array = stored(OREGON)
    with pytest.raises(BudgetError, match="max_egress") as caught:
        planned(array, max_egress=limit)
    assert caught.value.nbytes == WHOLE
    assert caught.value.usd > 0


@pytest.mark.parametrize("limit", ["1 kB", "1 USD", "unlimited", None])
def test_plan_within_its_budget_is_made(limit: str | None) -> None:
    """What costs less than the limit goes ahead."""
    assert planned(stored(OREGON), max_egress=limit).nbytes_moved == WHOLE


def test_residency_is_kept() -> None:
    """Data that may not leave their region are not sent to another, whatever it saves."""
    keeps = stored(IOWA)
    for found in find_sources(
        layer for each in keeps.dask.layers.values() for layer in each.values()
    ):
        tag = Tag(region=IOWA, evidence="the law", leaves="never")
        REGISTRY.add(found.group, tag, kind="hand")
    with pytest.raises(SourceError, match="may not leave region 'gcp:us-central1'"):
        planned(keeps.mean(0) - stored(OREGON).mean(0))


def test_charges_of_requests_are_not_known() -> None:
    """Of a source whose reader pays it is said that requests are in no price."""
    paid = stored(OREGON)
    (found,) = find_sources(layer for each in paid.dask.layers.values() for layer in each.values())
    assert not any("request charges" in doubt for doubt in planned(paid.mean(0)).unknowns)
    tag = Tag(region=OREGON, evidence="its owner", requester_pays=True)
    REGISTRY.add(found.group, tag, kind="hand")
    (doubt,) = planned(paid.mean(0)).unknowns
    assert doubt.startswith(f"request charges of {found.group.url}")


@pytest.mark.parametrize("n_layers", [1, 3])
def test_futures_of_foreign_clusters_are_refused(n_layers: int) -> None:
    """A persisted array of a cluster that is no endpoint is one clear error."""
    from types import SimpleNamespace

    future = type("Future", (), {"__module__": "distributed.client"})()
    future.client = SimpleNamespace(scheduler=SimpleNamespace(address="tcp://away:8786"))
    arrays = [da.Array({(f"f{n}", 0): future}, f"f{n}", ((3,),), "f8") for n in range(n_layers)]
    with pytest.raises(EndpointError, match="tcp://away:8786"):
        planned(*arrays)


def test_pinned_tasks_run_where_they_are_told() -> None:
    """An annotation moves a task even where that costs more."""
    mean = stored(OREGON).mean(0)
    with dask.annotate(locality="gcp:us-central1"):
        pinned = mean + 1
    plan = planned(pinned)
    assert {plan.placement[key] for key in [(pinned.name, 0), (pinned.name, 1)]} == {IOWA}
    assert plan.moved[OREGON, IOWA] == 6 * 8


def test_guesses_are_told() -> None:
    """A size that was guessed is among what the plan does not know."""
    lists = [
        dask.delayed(lambda array: array.tolist())(stored(region).mean(0))
        for region in (OREGON, IOWA)
    ]
    plan = planned(dask.delayed(sum)(lists, []), remote_read="never", objective="bytes")
    assert any("boundary value" in doubt for doubt in plan.unknowns)


def test_planning_reads_no_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning, and all that a plan shows, reads metadata and listings only."""
    first, second = open_sources(write_sources(tmp_path))
    with pytest.warns(xl.errors.LocalityWarning, match="holds no dask array"):
        unchunked = xl.tag(xr.open_zarr(tmp_path / "first.zarr", chunks=None), OREGON)
    # Before that: xarray itself computes lazy coordinates to compare them.
    objects = [first.t.mean("time") - second.t.mean("time"), first + second, unchunked]
    read: list[str] = []

    async def fail(store: Any, key: str, *args: Any, **kwargs: Any) -> None:
        read.append(key)
        raise AssertionError(f"{key} was read")

    def run(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(zarr.storage.LocalStore, "get", fail)
    with dask.config.set(scheduler=run):
        for each in objects:
            plan = planned(each)
            assert lay_out(plan_page(plan))
            assert summarise(plan).to_dict()
            assert plan.baselines
            assert len(plan.placement)
            assert repr(plan)
    assert read == []


def test_planning_starts_nothing() -> None:
    """Neither importing nor planning imports distributed, Intake or a cloud's library."""
    code = """
import sys, dask.array as da, xr_locality as xl
one, other = da.ones((8, 6), chunks=2), da.zeros((8, 6), chunks=2)
xl.tag(one, "aws:us-west-2"), xl.tag(other, "gcp:us-central1")
named = {"aws:us-west-2": None, "gcp:us-central1": None}
plan = xl.plan(one.mean(0) - other.mean(0), endpoints=named)
plan.explain(), plan.to_dict(), plan.baselines
print([name for name in sys.modules if name in {"distributed", "intake", "dask_gateway", "s3fs"}])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(60),
    )
    assert done.stdout.strip() == "[]"


def test_plans_are_deterministic(tmp_path: Path) -> None:
    """The same graph gives the same plan, in this process and in another."""
    paths = write_sources(tmp_path)
    code = f"""
import json, warnings, xr_locality as xl
from support.programs import open_sources
first, second = open_sources({paths!r})
import xarray as xr
objects = [first.t.mean("time") - second.t.mean("time"),
    xr.concat([first.p, second.p], "time").rolling(time=3).mean(),
    (first.p * second.w).std()]
named = {{"aws:us-west-2": None, "gcp:us-central1": None}}
plan = xl.plan(*objects, endpoints=named, remote_read="never", objective="bytes")
print(json.dumps([plan.to_dict(), sorted((str(k), str(r)) for k, r in plan.placement.items()),
    [str(boundary.key) for boundary in plan.boundaries]]))
"""
    answers = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=patience(60),
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join(sys.path),  # that of pytest, with `support`
            },
        ).stdout
        for seed in ("1", "2")
    ]
    assert json.loads(answers[0]) == json.loads(answers[1])
