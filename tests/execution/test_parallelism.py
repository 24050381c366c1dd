"""How many workers a partition can use."""

from __future__ import annotations

import dask.array as da
import pytest

import xr_locality as xl
from xr_locality.execution.parallelism import workers_for


@pytest.mark.parametrize(("threads", "workers"), [(1, 12), (4, 3), (5, 3), (100, 1)])
def test_workers_are_as_many_as_the_widest_layer_keeps_busy(threads: int, workers: int) -> None:
    """Twelve chunks keep twelve threads busy, however many tasks come after."""
    array = xl.tag(da.ones(12, chunks=1), "aws:us-west-2")
    plan = xl.plan((array + 1).sum(), endpoints={"aws:us-west-2": None})
    (partition,) = plan.partitions
    assert workers_for(partition, threads=threads) == workers
