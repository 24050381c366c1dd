"""How many workers a run shares its window among."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from distributed import Client, LocalCluster

from xr_locality.endpoints.connection import Connection
from xr_locality.execution.driver import n_workers


@pytest.mark.parametrize(("maximum", "expected"), [(None, 3), (2, 3), (8, 8)])
def test_running_workers_count_and_those_that_may_come(maximum: int | None, expected: int) -> None:
    """An adopted cluster has as many as run; a gateway's may have as many as it may grow to."""

    async def count() -> int:
        async with (
            LocalCluster(
                n_workers=3,
                threads_per_worker=1,
                processes=False,
                dashboard_address=":0",
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True, set_as_default=False) as client,
        ):
            connection: Any = SimpleNamespace(
                client=client, endpoint=SimpleNamespace(maximum=maximum)
            )
            return n_workers(cast(Connection, connection))

    assert asyncio.run(count()) == expected
