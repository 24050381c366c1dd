"""What a catalog says may not leave its region does not, in any plan."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from xr_locality.errors import SourceError
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Tag
from xr_locality.regions.tag_registry import REGISTRY

ENDPOINTS = {"aws:us-west-2": None, "gcp:us-central1": None}


def opened(path: Path, region: str, leaves: Literal["always", "reduced", "never"]) -> xr.DataArray:
    """Write a small field, and open it as a catalog with such a tag would."""
    xr.Dataset({"t": (("time", "x"), np.ones((6, 4)))}).chunk(time=2).to_zarr(path, zarr_format=2)
    tag = Tag(region=xl.Region.parse(region), evidence="catalog", leaves=leaves)
    REGISTRY.add(Store.from_url(str(path)), tag, kind="catalog")
    field: xr.DataArray = xr.open_zarr(path, chunks={}).t
    return field


def test_never_forbids_results_elsewhere(tmp_path: Path) -> None:
    """Nothing computed from such data may go to a client in another region."""
    field = opened(tmp_path / "a.zarr", "aws:us-west-2", "never")
    with pytest.raises(SourceError, match=r"may not leave region 'aws:us-west-2'.*never"):
        field.mean().locality.plan(endpoints=ENDPOINTS)


def test_never_allows_a_client_beside_the_data(tmp_path: Path) -> None:
    """A client in the same region may have the results."""
    field = opened(tmp_path / "a.zarr", "aws:us-west-2", "never")
    plan = field.mean().locality.plan(endpoints=ENDPOINTS, client_region="aws:us-west-2")
    assert plan.nbytes_moved == 0


def test_reduced_lets_computed_values_leave(tmp_path: Path) -> None:
    """Means may cross to the other region, and the difference to the client."""
    field = opened(tmp_path / "a.zarr", "aws:us-west-2", "reduced")
    other = opened(tmp_path / "b.zarr", "gcp:us-central1", "always")
    plan = (field.mean("time") - other.mean("time")).locality.plan(endpoints=ENDPOINTS)
    assert plan.nbytes_moved == 2 * 4 * 8


def test_reduced_keeps_chunks(tmp_path: Path) -> None:
    """Chunks as they are read may not be returned."""
    field = opened(tmp_path / "a.zarr", "aws:us-west-2", "reduced")
    with pytest.raises(SourceError, match="moves its chunks"):
        field.locality.plan(endpoints=ENDPOINTS)


def test_remote_reads_can_be_forbidden(tmp_path: Path) -> None:
    """With ``remote_read="never"`` data without an endpoint are not read from elsewhere."""
    field = opened(tmp_path / "a.zarr", "aws:eu-west-1", "always")
    policy = {"endpoints": ENDPOINTS, "missing_endpoint": "nearest"}
    assert field.mean().locality.plan(**policy).transfers[0].why == "remote-read"
    with pytest.raises(SourceError, match="remote_read='never'"):
        field.mean().locality.plan(**policy, remote_read="never")
