from __future__ import annotations

import numpy as np
import pytest

import xr_locality as xl
from benchmarks.harness import precipitation
from benchmarks.harness.precipitation import Precipitation, count, count_lines
from support.answers import assert_same, compute_plainly
from support.inprocess import run_here


def test_counts_as_numpy_does() -> None:
    """Each row is counted as numpy's histogram counts it, with what is beyond in the last bins."""
    rain = np.random.default_rng(0).gamma(0.5, 10.0, (3, 4, 200))
    counted = count(rain)
    edges = precipitation._EDGES.copy()
    edges[-1] = np.inf
    expected = np.apply_along_axis(lambda row: np.histogram(row, edges)[0], -1, rain)
    np.testing.assert_array_equal(counted, expected)
    assert (counted.sum(-1) == 200).all()


def test_only_histograms_cross() -> None:
    """Each histogram is made beside its data, and is all that leaves; answers are dask's."""
    era5, lens = Precipitation(shrink=24).lazy()
    regions = {precipitation.ERA5_REGION: None, precipitation.LENS_REGION: None}
    plan = xl.plan(era5, lens, endpoints=regions)
    assert {each.why for each in plan.transfers} == {"result"}
    assert plan.nbytes_moved == (era5.size + lens.size) * 8
    assert plan.gap == 0
    assert_same(run_here(plan), compute_plainly(era5, lens))


@pytest.mark.parametrize(
    ("function", "lines"), [(precipitation.in_one_call, 2), (precipitation.by_hand, 30)]
)
def test_lines_are_counted_as_they_are_read(function: object, lines: int) -> None:
    """Lines of code are what stands between docstring and end."""
    assert count_lines(function) == lines
