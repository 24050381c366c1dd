"""Two regions' clusters, shared by all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.clusters import two_clusters


@pytest.fixture(scope="session")
def clusters() -> Iterator[dict[str, Any]]:
    """Clusters whose workers reach each other's schedulers."""
    with two_clusters(processes=True) as started:
        yield started
