import csv
from importlib import resources
from typing import Any

import pytest

from xr_locality.regions import Store
from xr_locality.regions.cloud_regions import known_regions
from xr_locality.regions.detectors.public_buckets import (
    TableDetector,
    find_public_bucket,
    public_buckets,
)


def detect(url: str, **options: Any) -> tuple[str, bool | None, str | None] | None:
    """Return region, requester_pays and access of a URL."""
    found = TableDetector().detect(Store.from_url(url, options))
    return None if found is None else (str(found.region), found.requester_pays, found.access)


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("s3://noaa-goes16/ABI/a.nc", {}, ("aws:us-east-1", None, None)),
        ("s3a://noaa-goes16", {}, ("aws:us-east-1", None, None)),
        ("https://noaa-goes16.s3.amazonaws.com/a.nc", {}, ("aws:us-east-1", None, None)),
        ("gs://pangeo-era5/a", {}, ("gcp:us-central1", True, None)),
        ("https://storage.googleapis.com/pangeo-era5/a", {}, ("gcp:us-central1", True, None)),
        ("gs://weatherbench2/a", {}, ("gcp:us", False, None)),
        ("gs://leap-persistent/a", {}, ("gcp:us-central1", None, "controlled")),
        ("abfss://c@cpdataeuwest.dfs.core.windows.net/a", {}, ("azure:westeurope", False, None)),
        ("az://c/a", {"account_name": "cpdataeuwest"}, ("azure:westeurope", False, None)),
        ("https://cpdataeuwest.blob.core.windows.net/c", {}, ("azure:westeurope", False, None)),
        ("https://ncsa.osn.xsede.org/b/a", {}, ("osn:ncsa", False, None)),
        ("s3://b/a", {"endpoint_url": "https://ncsa.osn.xsede.org"}, ("osn:ncsa", False, None)),
        ("https://cdn.proj.org/a.tif", {}, ("aws:us-east-1", False, "cdn-origin")),
    ],
)
def test_bucket_is_found(url: str, options: dict[str, Any], expected: object) -> None:
    """A public bucket is known by every address, with who pays and how it is reached."""
    assert detect(url, **options) == expected


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://noaa-goes16", {"endpoint_url": "https://minio.example.org"}),
        ("gs://noaa-goes16", {}),
        ("s3://noaa-goes160", {}),
        ("s3://noaa-goes1", {}),
        ("s3://NOAA-GOES16", {}),
        ("az://cpdataeuwest/a", {"account_name": "another"}),
        ("az://cpdataeuwest/a", {}),
        ("https://noaa-goes16/a", {}),
        ("https://example.org/noaa-goes16", {}),
        ("https://zenodo.org.evil.org/a", {}),
        ("/noaa-goes16/a", {}),
        ("memory://noaa-goes16", {}),
    ],
)
def test_another_bucket_is_not(url: str, options: dict[str, Any]) -> None:
    """The same name at another service, or a name that only begins alike, is another bucket."""
    assert detect(url, **options) is None


def test_evidence_names_the_source() -> None:
    """Who believes the table can look up who says so, and learns of what is in the way."""
    found = find_public_bucket(Store.from_url("s3://noaa-goes16"))
    assert found is not None
    assert found.evidence == "the table of public buckets (RODA:noaa-goes.yaml)"
    found = find_public_bucket(Store.from_url("gs://leap-persistent"))
    assert found is not None
    assert found.evidence.endswith("; access must be approved)")


def test_table_is_sound() -> None:
    """Every row is read, no bucket stands twice, and every region is a known one."""
    text = resources.files("xr_locality").joinpath("data", "public_buckets.csv").read_text("utf-8")
    rows = public_buckets()
    assert len(rows) == len(list(csv.DictReader(text.splitlines()))) > 1_000
    assert {row.protocol for row in rows.values()} == {"s3", "gs", "az", "https-host"}
    assert {str(row.region) for row in rows.values()} <= known_regions().keys()
    assert all(row.source for row in rows.values())
    assert {row.access for row in rows.values()} == {None, "controlled", "account", "cdn-origin"}
