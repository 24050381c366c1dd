"""What the tests of endpoints share: an event loop, and two real gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from xr_locality.testing import Testbed

T = TypeVar("T")


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine to its end in a loop of its own, within a minute."""

    async def bounded(body: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(60):
            return await body

    return lambda body: asyncio.run(bounded(body))


@pytest.fixture
def clean_testbed(testbed: Testbed) -> Iterator[Testbed]:
    """Two real gateways, on which a test must leave no cluster."""
    yield testbed
    assert [each.gateway.list_clusters() for each in testbed] == [(), ()]
