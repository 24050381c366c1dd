import re

import pytest

from xr_locality.regions.cloud_regions import known_regions
from xr_locality.regions.probe import datacentres
from xr_locality.regions.probe.datacentres import region_of_storage_host


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("blob.ams20prdstr02a.store.core.windows.net", "azure:westeurope"),
        ("BLOB.DUB09PRDSTR07A.store.core.windows.net.", "azure:northeurope"),
        ("dfs.mwh20prdstr02e.store.core.windows.net", "azure:westus2"),
        ("blob.bl5prdstr10a.store.core.windows.net", "azure:eastus"),
        ("blob.blz25prdstr01a.store.core.windows.net", "azure:eastus"),
        ("blob.cpq20prdstr01a.store.core.windows.net", "azure:brazilsouth"),
        ("web.tyo22prdstr07a.store.core.windows.net", "azure:japaneast"),
    ],
)
def test_datacentre(name: str, region: str) -> None:
    """The name of a storage server begins with its datacentre."""
    assert str(region_of_storage_host(name)) == region


@pytest.mark.parametrize(
    "name",
    [
        "blob.xyz20prdstr02a.store.core.windows.net",
        "blob.ams20prdstr02a.store.core.windows.net.evil.org",
        "ams.example.org",
        "account.blob.core.windows.net",
        "",
    ],
)
def test_other_names(name: str) -> None:
    """Another name says nothing."""
    assert region_of_storage_host(name) is None


def test_the_list_of_documented_codes_is_right() -> None:
    """The codes that Azure is said to list are among those that are known, in their order."""
    listed = re.search(r"of\s+those here ([a-z,\s]+)\)", datacentres.__doc__ or "")
    assert listed is not None
    codes = listed[1].replace(",", " ").split()
    assert codes == sorted(codes)
    assert set(codes) <= datacentres._CODES.keys()


def test_all_regions_are_azures() -> None:
    """Each code stands for a region that Azure has."""
    assert {f"azure:{name}" for name in datacentres._CODES.values()} <= known_regions().keys()
