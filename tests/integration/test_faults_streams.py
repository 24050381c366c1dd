"""Large values cross as streams: what becomes of them when either end is killed."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import xr_locality as xl
from support.hearing import IOWA, OREGON, When, has_crossed, tasks_are_gone
from support.testbed_processes import processes_of
from xr_locality.testing import Testbed


@pytest.fixture
def large() -> da.Array:
    """Sums in Iowa of eight values of 40 MB from Oregon, which cross as streams."""
    n, length = 8, 5_000_000

    def make(block_id: Any = None) -> Any:
        return np.full((1, length), block_id[0], "f8")

    chunks, meta = ((1,) * n, (length,)), np.empty((0, 0))
    made = da.map_blocks(make, chunks=chunks, dtype="f8", meta=meta)
    with dask.annotate(locality=str(IOWA)):
        summed: da.Array = xl.tag(made, str(OREGON)).map_blocks(
            lambda values: values.sum(axis=1, keepdims=True),
            chunks=((1,) * n, (1,)),
            dtype="f8",
            meta=meta,
        )
    return summed


@pytest.mark.parametrize("fault", [("worker", 1), ("scheduler", 4)])
@pytest.mark.parametrize("region", [OREGON, IOWA], ids=str)
def test_killed_while_large_values_cross(
    testbed: Testbed,
    session: xl.Session,
    large: da.Array,
    region: xl.Region,
    fault: tuple[str, int],
) -> None:
    """Half a stream is of no use: whoever it breaks off with, the value comes whole."""
    kind, times = fault

    def kill() -> None:
        for process in processes_of(testbed, region, kind):
            process.kill()

    heard = When(kill, happens=has_crossed, times=times)
    (result,) = session.compute(large, callbacks=[heard])
    heard.join()
    np.testing.assert_array_equal(result[:, 0], np.arange(8) * 5_000_000.0)
    # Where all had crossed by then, the run has ended without the one that was killed.
    (again,) = session.compute(large)
    np.testing.assert_array_equal(again, result)
    assert tasks_are_gone(session)
