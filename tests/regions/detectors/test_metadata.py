from types import SimpleNamespace
from typing import Any

import pytest

from xr_locality.regions import Store
from xr_locality.regions.detectors.metadata import client_options, read_hint
from xr_locality.regions.detectors.storage_options import StatedDetector

AWS = {"type": "aws-s3", "platform": "https://{bucket}.s3.{region}.amazonaws.com"}


def hint(metadata: dict[str, Any]) -> tuple[str, str, bool | None] | None:
    """Return region, field and requester_pays of some metadata."""
    found = read_hint(metadata)
    return None if found is None else (str(found.region), found.field, found.requester_pays)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            {"storage:schemes": {"aws": {**AWS, "region": "us-west-2", "requester_pays": True}}},
            ("aws:us-west-2", "storage:schemes", True),
        ),
        (
            {
                "storage:schemes": {
                    "a": {**AWS, "region": "us-west-2"},
                    "b": {**AWS, "region": "eu-west-1", "requester_pays": False},
                },
                "storage:refs": ["b"],
            },
            ("aws:eu-west-1", "storage:schemes", False),
        ),
        (
            {"storage:schemes": {"az": {"type": "ms-azure", "region": "westeurope"}}},
            ("azure:westeurope", "storage:schemes", None),
        ),
        (
            {
                "storage:schemes": {
                    "x": {"type": "custom-s3", "platform": "https://s3.fr-par.scw.cloud"}
                }
            },
            ("scaleway:fr-par", "storage:schemes", None),
        ),
        (
            {
                "storage:platform": "AWS",
                "storage:region": "us-west-2",
                "storage:requester_pays": True,
            },
            ("aws:us-west-2", "storage:region", True),
        ),
        (
            {"storage:platform": "Azure", "storage:region": "West Europe"},
            ("azure:westeurope", "storage:region", None),
        ),
        ({"storage:region": "us-central1"}, ("gcp:us-central1", "storage:region", None)),
        ({"msft:region": "westeurope"}, ("azure:westeurope", "msft:region", None)),
        ({"properties": {"msft:region": "eastus"}}, ("azure:eastus", "msft:region", None)),
        ({"region": "us-west-2"}, ("aws:us-west-2", "region", None)),
        ({"region": "us-west-2", "provider": "AWS"}, ("aws:us-west-2", "region", None)),
    ],
)
def test_what_is_understood(metadata: dict[str, Any], expected: object) -> None:
    """STAC's fields, Planetary Computer's and a bare region say where data are."""
    assert hint(metadata) == expected


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"storage:schemes": None},
        {"storage:schemes": []},
        {"storage:schemes": {}},
        {"storage:schemes": {"a": None}},
        {"storage:schemes": {"a": {**AWS, "region": "{region}"}}},
        {"storage:schemes": {"a": {**AWS, "region": ["us-west-2"]}}},
        {"storage:schemes": {"a": {**AWS, "region": "westeurope"}}},
        {"storage:schemes": {"a": {"type": "custom-s3", "region": "us-east-1"}}},
        {"storage:schemes": {"a": {"type": "custom-s3", "platform": "https://[bad"}}},
        {
            "storage:schemes": {
                "a": {**AWS, "region": "us-west-2"},
                "b": {**AWS, "region": "us-east-1"},
            }
        },
        {"storage:schemes": {"a": {**AWS, "region": "us-west-2"}}, "storage:refs": ["b"]},
        {"storage:platform": "OTHER", "storage:region": "us-west-2"},
        {"storage:platform": "AWS", "storage:region": "westeurope"},
        {"storage:platform": "AWS"},
        {"storage:requester_pays": True},
        {"msft:region": "us-west-2"},
        {"msft:region": None},
        {"msft:region": "x" * 10_000},
        {"region": "Europe", "provider": "ECMWF"},
        {"region": "local"},
        {"region": {"a": 1}},
        {"properties": "x"},
        {"properties": {"properties": {"msft:region": "eastus"}}},
    ],
    ids=str,
)
def test_what_is_passed_over(metadata: dict[str, Any]) -> None:
    """What is malformed, contradicts itself or is a part of the world is no hint, nor an error."""
    assert hint(metadata) is None


def test_metadata_of_pystac() -> None:
    """What pystac writes is understood."""
    pystac = pytest.importorskip("pystac", reason="pystac is not installed")
    item = pystac.Item.from_dict(
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": "a",
            "geometry": None,
            "properties": {
                "datetime": "2020-01-01T00:00:00Z",
                "storage:platform": "GCP",
                "storage:region": "us-central1",
                "storage:requester_pays": True,
            },
            "links": [],
            "assets": {},
        }
    )
    assert hint(item.to_dict()) == ("gcp:us-central1", "storage:region", True)


@pytest.mark.parametrize("wrapped", [False, True])
def test_configuration_of_a_client(wrapped: bool) -> None:
    """Where Icechunk must be told a bucket's region, the store knows it."""
    config: object = SimpleNamespace(
        region="us-west-2", endpoint_url=None, anonymous=True, requester_pays=False
    )
    options = client_options(SimpleNamespace(_0=config) if wrapped else config)
    assert options == {"region": "us-west-2", "anon": True}
    found = StatedDetector().detect(Store.at("s3", "bucket/a", options))
    assert found is not None
    assert (str(found.region), found.how) == ("aws:us-west-2", "metadata")
    assert "region='us-west-2'" in found.evidence


def test_configuration_of_icechunk() -> None:
    """Icechunk's own objects are understood."""
    icechunk = pytest.importorskip("icechunk", reason="icechunk is not installed")
    config = icechunk.ObjectStoreConfig.S3(icechunk.S3Options(region="eu-west-1"))
    assert client_options(config) == {"region": "eu-west-1"}
    assert client_options(icechunk.ObjectStoreConfig.Gcs({})) == {}


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("s3", {}),
        ("s3", {"region": "moon"}),
        ("s3", {"region": 5}),
        ("s3", {"region": "us-east-1", "endpoint_url": "https://minio.example.org"}),
        ("gs", {"region": "us-west-2"}),
    ],
)
def test_configuration_that_says_nothing(protocol: str, options: dict[str, Any]) -> None:
    """At another service a region is one for signatures."""
    assert StatedDetector().detect(Store.at(protocol, "bucket/a", options)) is None


@pytest.mark.parametrize("name", ["US", "EU", "Asia", "eu"])
@pytest.mark.parametrize("field", ["region", "storage:region"])
def test_part_of_the_world_is_no_region(field: str, name: str) -> None:
    """A bare part of the world is passed over, though Google Cloud has a region of that name."""
    assert hint({field: name}) is None


def test_multi_region_with_its_cloud() -> None:
    """With the name of its cloud a part of the world is the multi-region."""
    expected = ("gcp:us", "region", None)
    assert hint({"region": "gcp:US"}) == hint({"region": "US", "provider": "google"}) == expected


@pytest.mark.parametrize(
    ("url", "options", "known"),
    [
        ("gs://b/a", {}, True),
        ("s3://b/a", {}, False),
        ("s3://b/a", {"endpoint_url": "https://storage.example.org"}, True),
        ("https://example.org/a", {}, True),
    ],
)
def test_region_of_another_cloud(url: str, options: dict[str, str], known: bool) -> None:
    """A region of one cloud is no hint for data at another cloud's own service."""
    found = read_hint({"region": "us-central1"}, stores=[Store.from_url(url, options)])
    assert (found is not None) is known
