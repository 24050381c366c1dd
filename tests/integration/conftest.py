"""Two real gateways with a dataset in each region, and a session over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr

from support.clusters import kept_open
from xr_locality import Session
from xr_locality.testing import Testbed

#: Chunks of each dataset along time.
N_CHUNKS = 8


@pytest.fixture(scope="session")
def catalog(testbed: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An Intake catalog with one dataset in each region, chunked along time."""
    rng = np.random.default_rng(0)
    urls = {}
    for name, region in zip("ab", testbed.regions, strict=True):
        dataset = xr.Dataset(
            {"t": (("time", "y", "x"), rng.random((16, 6, 8), dtype="float32"), {"units": "K"})},
            coords={"time": np.arange(16), "y": np.arange(6.0), "x": np.arange(8.0)},
        )
        urls[name] = testbed.write(dataset.chunk(time=16 // N_CHUNKS), region.region, "t.zarr")
    path: Path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    return intake.open_catalog(str(testbed.catalog(path, urls)))


@pytest.fixture
def a(catalog: Any) -> xr.Dataset:
    """The dataset in aws:us-west-2, opened through the catalog."""
    dataset: xr.Dataset = catalog.a.to_dask()
    return dataset


@pytest.fixture
def b(catalog: Any) -> xr.Dataset:
    """The dataset in gcp:us-central1, opened through the catalog."""
    dataset: xr.Dataset = catalog.b.to_dask()
    return dataset


@pytest.fixture
def slow(a: xr.Dataset, b: xr.Dataset) -> xr.DataArray:
    """A difference whose second part takes a second."""

    # Defined here, so that it is sent by value: clusters cannot import tests.
    def slowly(values: Any) -> Any:
        import time

        time.sleep(0.15)
        return values

    delayed = xr.apply_ufunc(slowly, b.t, dask="parallelized", output_dtypes=[b.t.dtype])
    difference: xr.DataArray = a.t.mean("time") - delayed.mean("time")
    return difference


@pytest.fixture(scope="module")
def shared_session(testbed: Testbed) -> Iterator[Session]:
    """One session for a module's tests, so that clusters start once."""
    session = Session(testbed.endpoints(minimum=1, maximum=1))
    try:
        yield session
    finally:
        session.close()
    assert [each.gateway.list_clusters() for each in testbed.regions] == [(), ()]


@pytest.fixture
def session(shared_session: Session) -> Iterator[Session]:
    """The module's session as the current one."""
    with kept_open(shared_session) as session:
        yield session
