"""Bad input: one clear error before any cluster starts, and nothing left on the gateways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import intake
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import xr_locality as xl
from xr_locality import errors
from xr_locality.testing import Testbed


@pytest.fixture(autouse=True)
def no_clusters(testbed: Testbed) -> Iterator[None]:
    """Both gateways list no cluster after each of these tests."""
    yield
    assert [each.gateway.list_clusters() for each in testbed.regions] == [(), ()]


@pytest.fixture
def difference(a: xr.Dataset, b: xr.Dataset) -> xr.DataArray:
    """The difference of two means, which needs both regions."""
    difference: xr.DataArray = a.t.mean("time") - b.t.mean("time")
    return difference


def test_region_without_endpoint(testbed: Testbed, difference: xr.DataArray) -> None:
    """A region that has data and no endpoint is named, with what to do."""
    endpoints = testbed.endpoints()
    del endpoints[xl.Region.parse("gcp:us-central1")]
    with pytest.raises(errors.EndpointError, match="No endpoint for region 'gcp:us-central1'"):
        difference.locality.compute(endpoints=endpoints)


def test_malformed_region_in_endpoints(difference: xr.DataArray) -> None:
    """An endpoint for what is no region is refused with the closest name."""
    with pytest.raises(errors.RegionError, match="aws:us-wets-2"):
        difference.locality.compute(endpoints={"aws:us-wets-2": "tcp://127.0.0.1:9"})


def test_source_of_unknown_region(testbed: Testbed, a: xr.Dataset) -> None:
    """A store that nobody knows the region of is named, with three ways to say it."""
    from xr_locality.regions.tag_registry import REGISTRY

    REGISTRY.clear()
    with pytest.raises(errors.RegionError, match=r"s3://.*is not known.*tag"):
        a.t.mean().locality.compute(endpoints=testbed.endpoints())


def test_wrong_passwords_are_reported_together(testbed: Testbed, difference: xr.DataArray) -> None:
    """Two gateways that refuse us are two errors in one group, without the password."""
    endpoints = {
        each.region: xl.GatewayEndpoint(
            each.gateway.address,
            proxy_address=each.gateway.proxy_address,
            auth={"type": "basic", "username": "me", "password": "not-this-one"},
            maximum=1,
        )
        for each in testbed.regions
    }
    with pytest.raises(errors.LocalityErrorGroup) as caught:
        difference.locality.compute(endpoints=endpoints)
    assert len(caught.value.exceptions) == 2
    assert all(isinstance(each, errors.EndpointError) for each in caught.value.exceptions)
    assert isinstance(caught.value, ValueError)
    assert "not-this-one" not in str(caught.value)


def test_gateway_that_is_down(testbed: Testbed, difference: xr.DataArray) -> None:
    """A gateway that does not answer is an error before the other one starts a cluster."""
    endpoints: dict[Any, Any] = dict(testbed.endpoints())
    endpoints[xl.Region.parse("gcp:us-central1")] = {
        "gateway": "http://127.0.0.1:9",
        "maximum": 1,
    }
    with pytest.raises(errors.EndpointError, match=r"'gcp:us-central1'.*127\.0\.0\.1:9"):
        difference.locality.compute(endpoints=endpoints)


def test_future_of_a_foreign_cluster(testbed: Testbed, a: xr.Dataset) -> None:
    """A Future of a cluster that is no endpoint is refused when planning."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        held = client.persist(da.ones(4, chunks=2))
        joined = xr.DataArray(held, dims="x") + a.t.mean()
        with pytest.raises(errors.EndpointError, match="Futures of a cluster"):
            joined.locality.compute(endpoints=testbed.endpoints())


def test_malformed_region_in_a_catalog(tmp_path: Path) -> None:
    """A catalog entry with a malformed region is an error that names the entry."""
    path = tmp_path / "catalog.yaml"
    path.write_text(
        "sources:\n"
        "  broken:\n"
        "    driver: [xarray_locality, zarr]\n"
        "    args: {urlpath: 's3://bucket/a.zarr'}\n"
        "    metadata: {locality: {region: 'aws:nowhere at all'}}\n"
    )
    with pytest.raises(errors.RegionError, match="entry 'broken'"):
        intake.open_catalog(str(path)).broken.to_dask()


def test_budget_is_checked_first(testbed: Testbed, difference: xr.DataArray) -> None:
    """A plan over budget is refused with its own numbers."""
    with pytest.raises(errors.BudgetError, match="384 bytes") as caught:
        difference.locality.compute(endpoints=testbed.endpoints(), max_egress="100 B")
    assert caught.value.nbytes == 384


def test_unknown_setting(difference: xr.DataArray) -> None:
    """A misspelt setting is refused with the closest one."""
    with pytest.raises(errors.ConfigurationError, match="objective"):
        difference.locality.compute(objectives="usd")


def test_problems_are_reported_together(a: xr.Dataset, b: xr.Dataset) -> None:
    """Regions without endpoints are all named at once."""
    with pytest.raises(errors.LocalityErrorGroup) as caught:
        xl.compute(a, b, endpoints={"azure:westeurope": None})
    assert [each.region for each in caught.value.exceptions] == [
        "aws:us-west-2",
        "gcp:us-central1",
    ]


def test_plan_only_endpoints_cannot_run(difference: xr.DataArray) -> None:
    """Endpoints that are only named are good for planning, and say so."""
    named = {"aws:us-west-2": None, "gcp:us-central1": None}
    assert difference.locality.plan(endpoints=named).regions
    with pytest.raises(errors.LocalityErrorGroup, match="only a name"):
        difference.locality.compute(endpoints=named)
