from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import xarray as xr

import xr_locality as xl
from benchmarks.harness.workloads import WORKLOADS, Workload
from support.answers import assert_same, compute_plainly
from support.inprocess import run_here
from support.invariants import check_plan
from xr_locality.regions.region import Region

every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)

#: Cells divided by this along each axis: small enough to run.
SHRINK = 30


@every_workload
def test_nothing_is_read_before_it_runs(
    workload: Workload, caplog: pytest.LogCaptureFixture
) -> None:
    """A workload of real scale is built and planned without a chunk, in the regions it claims."""
    caplog.set_level("DEBUG", "benchmarks.harness.declared")
    lazy = workload.build()
    plan = xl.plan(lazy, endpoints=dict.fromkeys(workload.regions))
    assert {source.region for source in plan.sources} == set(workload.regions)
    assert workload.regions == tuple(sorted(workload.regions))
    assert set(plan.regions) <= set(workload.regions)
    check_plan(plan)
    assert not [each for each in caplog.records if each.name == "benchmarks.harness.declared"]


@every_workload
def test_splitting_helps_where_it_is_said_to(workload: Workload) -> None:
    """Fewer bytes move than in the best single region exactly where the workload says so."""
    plan = xl.plan(workload.build(4), endpoints=dict.fromkeys(workload.regions), objective="bytes")
    best = min(
        baseline.nbytes for name, baseline in plan.baselines.items() if name.startswith("all in")
    )
    if workload.helps:
        assert plan.nbytes_moved < 0.8 * best
    else:
        # A split may cost as much; it may never cost more.
        assert plan.nbytes_moved == best


@every_workload
@pytest.mark.parametrize("remote_read", ["allowed", "never"])
def test_tiny_workload_gives_the_plain_answer(workload: Workload, remote_read: str) -> None:
    """A workload of few cells runs, in parts, and gives what dask alone gives."""
    lazy = workload.build(2, shrink=SHRINK)
    plan = xl.plan(
        lazy,
        endpoints=dict.fromkeys(workload.regions),
        objective="bytes",
        remote_read=remote_read,
    )
    check_plan(plan)
    assert_same(run_here(plan), compute_plainly(lazy))


@every_workload
def test_scale_multiplies_tasks(workload: Workload) -> None:
    """A graph has about as many tasks as the scale for them promises."""
    scale = workload.scale_for(10_000)
    graph = workload.build(scale, shrink=SHRINK).__dask_graph__()
    n_tasks = sum(len(layer) for layer in graph.layers.values())
    assert n_tasks == pytest.approx(10_000, rel=0.2)


def test_few_cells_keep_the_graph() -> None:
    """Fewer cells mean fewer bytes, and the same chunks and regions."""
    workload = WORKLOADS["chunkwise difference at unequal resolution"]
    large, small = workload.build(2), workload.build(2, shrink=SHRINK)
    assert small.chunks == tuple(tuple(n // SHRINK for n in dim) for dim in large.chunks)
    assert [len(each) for each in small.__dask_graph__().layers.values()] == [
        len(each) for each in large.__dask_graph__().layers.values()
    ]


@every_workload
def test_split_by_hand_gives_the_plain_answer(workload: Workload) -> None:
    """A workload that is split by hand gives what dask gives, but for rounding."""
    sent: list[Region] = []

    def compute(lazy: Mapping[Region, Any]) -> Mapping[Region, Any]:
        sent.extend(lazy)
        return {region: each.compute(scheduler="sync") for region, each in lazy.items()}

    done = workload.run_by_hand(compute, shrink=SHRINK)
    xr.testing.assert_allclose(done, workload.build(shrink=SHRINK).compute(), rtol=1e-4)
    assert set(sent) == set(workload.regions)
