from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import xr_locality as xl
from support.plan_builders import IOWA, NAMED, OREGON, stored
from xr_locality.placement.costs import CostModel
from xr_locality.regions.region import LOCAL, Region

#: Bytes of the array that ``stored`` makes, and of its mean.
WHOLE, MEAN = 8 * 6 * 8, 6 * 8


def test_ways_to_do_the_work_are_named() -> None:
    """Pulling everything here comes first, then each usable region."""
    plan = xl.plan(stored(OREGON).mean(0), endpoints=NAMED)
    assert list(plan.baselines) == [
        "local",
        "all in aws:eu-west-1",
        "all in aws:us-west-2",
        "all in gcp:us-central1",
    ]


def test_bytes_of_each_way() -> None:
    """Stored bytes come from where they lie, results go to the client."""
    plan = xl.plan(stored(OREGON).mean(0) - stored(IOWA).mean(0), endpoints=NAMED)
    assert {name: each.nbytes for name, each in plan.baselines.items()} == {
        "local": 2 * WHOLE,
        "all in aws:eu-west-1": 2 * WHOLE + MEAN,
        "all in aws:us-west-2": WHOLE + MEAN,
        "all in gcp:us-central1": WHOLE + MEAN,
    }


def test_baselines_are_priced_as_the_plan_is() -> None:
    """The same prices hold for what was planned and for what it is compared with."""
    plan = xl.plan(stored(OREGON).mean(0) - stored(IOWA).mean(0), endpoints=NAMED)
    costs = CostModel()
    assert plan.baselines["all in aws:us-west-2"].usd == pytest.approx(
        costs.usd(IOWA, OREGON, WHOLE) + costs.usd(OREGON, LOCAL, MEAN)
    )
    assert plan.baselines["local"].seconds == pytest.approx(
        costs.seconds(OREGON, LOCAL, WHOLE) + costs.seconds(IOWA, LOCAL, WHOLE)
    )


def test_everything_in_one_region_costs_what_that_baseline_says() -> None:
    """Where one region does everything, plan and baseline agree."""
    plan = xl.plan(stored(OREGON).mean(0), endpoints=NAMED)
    baseline = plan.baselines["all in aws:us-west-2"]
    assert (plan.nbytes_moved, plan.usd) == (baseline.nbytes, pytest.approx(baseline.usd))


def test_client_in_a_region_pays_nothing_there() -> None:
    """A notebook beside the data reads them for free."""
    plan = xl.plan(stored(OREGON).mean(0), endpoints=NAMED, client_region="aws:us-west-2")
    assert plan.baselines["local"].nbytes == 0
    assert plan.baselines["all in aws:us-west-2"].nbytes == 0


def test_uploads_are_counted() -> None:
    """Arrays in memory here cross to whatever region does everything, and stay for local."""
    held = np.ones(6)
    both = stored(OREGON).mean(0) - stored(IOWA).mean(0) + da.from_array(held)
    for collection in (both, stored(OREGON).mean(0) + da.from_array(held)):
        plan = xl.plan(collection, endpoints=NAMED)
        n_sources = len(plan.sources)
        ways = {name: each.nbytes for name, each in plan.baselines.items()}
        assert ways["local"] == n_sources * WHOLE
        assert ways["all in aws:us-west-2"] == (n_sources - 1) * WHOLE + held.nbytes + MEAN


def test_plan_with_uploads_costs_what_that_baseline_says() -> None:
    """Where one region does everything, plan and baseline agree on uploads too."""
    plan = xl.plan(stored(OREGON).mean(0) + da.from_array(np.ones(6)), endpoints=NAMED)
    baseline = plan.baselines["all in aws:us-west-2"]
    assert {each.why for each in plan.transfers} == {"upload", "result"}
    assert (plan.nbytes_moved, plan.usd) == (baseline.nbytes, pytest.approx(baseline.usd))


def test_multi_region_moves_nothing_to_its_regions() -> None:
    """A bucket of a multi-region is beside each region in it."""
    plan = xl.plan(stored(Region.parse("gcp:us")).mean(0), endpoints=NAMED)
    ways = {name: each.nbytes for name, each in plan.baselines.items()}
    assert ways["all in gcp:us-central1"] == MEAN
    assert ways["all in aws:us-west-2"] == WHOLE + MEAN
