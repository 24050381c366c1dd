"""Two regions' clusters, shared by all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import xarray as xr
from clusters import two_clusters

from xr_locality.testing.programs import open_sources, write_sources


@pytest.fixture(scope="session")
def clusters() -> Iterator[dict[str, Any]]:
    """Clusters whose workers reach each other's schedulers."""
    with two_clusters(processes=True) as started:
        yield started


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Write the two sources, once."""
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def sources(stores: tuple[str, str]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open the two sources, each in its region."""
    return open_sources(stores)
