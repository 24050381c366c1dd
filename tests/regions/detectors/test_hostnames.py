import time
from typing import Any

import pytest

from support.polling import patience
from xr_locality.regions import Detection, Store
from xr_locality.regions.detectors.hostnames import HostnameDetector, as_bucket, read_hostname

ACCOUNT = "0123456789abcdef0123456789abcdef"


def detect(url: str, weight: Any, **options: Any) -> Detection | None:
    """Ask one of the two detectors."""
    return HostnameDetector(weight).detect(Store.from_url(url, options))


@pytest.mark.parametrize(
    ("host", "region", "weight"),
    [
        ("s3.us-west-2.amazonaws.com", "aws:us-west-2", "hostname"),
        ("S3.US-West-2.AmazonAWS.com.", "aws:us-west-2", "hostname"),
        ("s3.us-west-2.amazonaws.com:443", "aws:us-west-2", "hostname"),
        ("bucket.s3.eu-central-1.amazonaws.com", "aws:eu-central-1", "hostname"),
        ("my.bucket.s3.eu-central-1.amazonaws.com", "aws:eu-central-1", "hostname"),
        ("s3-us-west-2.amazonaws.com", "aws:us-west-2", "hostname"),
        ("bucket.s3-us-west-2.amazonaws.com", "aws:us-west-2", "hostname"),
        ("s3.dualstack.us-east-2.amazonaws.com", "aws:us-east-2", "hostname"),
        ("s3-fips.dualstack.us-gov-west-1.amazonaws.com", "aws:us-gov-west-1", "hostname"),
        ("point-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "aws:us-west-2", "hostname"),
        ("s3.cn-north-1.amazonaws.com.cn", "aws:cn-north-1", "hostname"),
        (
            "b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com",
            "aws:us-west-2",
            "hostname",
        ),
        ("storage.europe-west3.rep.googleapis.com", "gcp:europe-west3", "hostname"),
        ("nyc3.digitaloceanspaces.com", "digitalocean:nyc3", "service"),
        ("bucket.nyc3.digitaloceanspaces.com", "digitalocean:nyc3", "service"),
        ("s3.eu-central-2.wasabisys.com", "wasabi:eu-central-2", "service"),
        ("s3.wasabisys.com", "wasabi:us-east-1", "service"),
        ("s3.us-west-004.backblazeb2.com", "backblaze:us-west-004", "service"),
        ("ns.compat.objectstorage.us-ashburn-1.oraclecloud.com", "oci:us-ashburn-1", "service"),
        ("objectstorage.eu-frankfurt-1.oraclecloud.com", "oci:eu-frankfurt-1", "service"),
        ("oss-cn-hangzhou.aliyuncs.com", "alibaba:cn-hangzhou", "service"),
        ("bucket.oss-us-west-1-internal.aliyuncs.com", "alibaba:us-west-1", "service"),
        ("s3.fr-par.scw.cloud", "scaleway:fr-par", "service"),
        ("s3.gra.io.cloud.ovh.net", "ovh:gra", "service"),
        ("s3.eu-west-par.io.cloud.ovh.net", "ovh:eu-west-par", "service"),
        ("us-east-1.linodeobjects.com", "akamai:us-east-1", "service"),
        ("ewr1.vultrobjects.com", "vultr:ewr1", "service"),
        ("fsn1.your-objectstorage.com", "hetzner:fsn1", "service"),
        ("ncsa.osn.xsede.org", "osn:ncsa", "service"),
        ("uma1.osn.mghpcc.org", "osn:uma1", "service"),
        (f"{ACCOUNT}.r2.cloudflarestorage.com", "r2:auto", "service"),
        (f"{ACCOUNT}.eu.r2.cloudflarestorage.com", "r2:eu", "service"),
    ],
)
def test_region_in_a_name(host: str, region: str, weight: str) -> None:
    """The name of an endpoint says whose it is and where."""
    named = read_hostname(host)
    assert named is not None
    assert (str(named.region), named.weight) == (region, weight)


@pytest.mark.parametrize(
    "host",
    [
        "s3.amazonaws.com",
        "storage.googleapis.com",
        "account.blob.core.windows.net",
        "example.org",
        "",
        "s3.us-west-2.amazonaws.com.evil.org",
        "s3.us-west-2.amazonaws.com@evil.org",
        "evil-s3.us-west-2.notamazonaws.com",
        "nyc3.digitaloceanspaces.com.evil.org",
        "xs3.us-west-2.amazonaws.com.",
        "minio.us-west-2.example.org",
    ],
)
def test_names_without_a_region(host: str) -> None:
    """Global endpoints carry no region, nor do names that only look like a provider's."""
    assert read_hostname(host) is None


def test_region_that_the_provider_does_not_have() -> None:
    """A name in the provider's form with a region that is none says no region."""
    named = read_hostname("s3.us-wset-2.amazonaws.com")
    assert named is not None
    assert named.region is None
    assert detect("https://b.s3.us-wset-2.amazonaws.com/a", "hostname") is None


@pytest.mark.parametrize(
    "host",
    [
        "s3" + "-aa" * 5_000,
        "s3" + "-aa" * 80 + "!",
        "a." * 10_000 + "amazonaws.com",
        "s3." * 80 + "amazonaws.com",
        "s3.dualstack." + "a-" * 100 + ".amazonaws.com",
    ],
    ids=range(5),
)
def test_long_names_take_no_time(host: str) -> None:
    """No name keeps a pattern busy."""
    begun = time.monotonic()
    read_hostname(host)
    as_bucket(Store.from_url(f"https://{host}/a"))
    assert time.monotonic() - begun < patience(1)


@pytest.mark.parametrize(
    ("url", "options", "region", "weight"),
    [
        ("s3://b/a", {"endpoint_url": "https://s3.us-west-2.amazonaws.com"}, "us-west-2", "aws"),
        ("s3://b/a", {"client_kwargs": {"region_name": "us-west-2"}}, "us-west-2", "aws"),
        ("https://b.s3.us-west-2.amazonaws.com/a", {}, "us-west-2", "aws"),
        ("s3://data--usw2-az1--x-s3/a", {}, "us-west-2", "aws"),
        ("s3://arn:aws:s3:us-west-2:123456789012:accesspoint/point/a", {}, "us-west-2", "aws"),
        (
            "gs://b/a",
            {"endpoint_url": "https://storage.us-east1.rep.googleapis.com"},
            "us-east1",
            "gcp",
        ),
    ],
)
def test_hints(url: str, options: dict[str, Any], region: str, weight: str) -> None:
    """AWS's and Google's names, and the region that a client is told, are hints."""
    found = detect(url, "hostname", **options)
    assert found is not None
    assert (str(found.region), found.how) == (f"{weight}:{region}", "hostname")
    assert detect(url, "service", **options) is None


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://b/a", {"endpoint_url": "https://s3.fr-par.scw.cloud"}),
        ("https://s3.fr-par.scw.cloud/b/a", {}),
        ("https://b.s3.fr-par.scw.cloud/a", {}),
    ],
)
def test_names_that_settle_it(url: str, options: dict[str, Any]) -> None:
    """A service that keeps data where it is asked for them settles the region by its name."""
    found = detect(url, "service", **options)
    assert found is not None
    assert str(found.region) == "scaleway:fr-par"
    assert "scw.cloud" in found.evidence
    assert detect(url, "hostname", **options) is None


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://b/a", {}),
        ("s3://b/a", {"client_kwargs": {"region_name": "moon"}}),
        (
            "s3://b/a",
            {
                "endpoint_url": "https://minio.example.org",
                "client_kwargs": {"region_name": "us-east-1"},
            },
        ),
        ("gs://b/a", {"client_kwargs": {"region_name": "us-west-2"}}),
        ("s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/a", {}),
        ("s3://data--xyz2-az1--x-s3/a", {}),
        ("/data/s3.us-west-2.amazonaws.com", {}),
        ("https://example.org/s3.us-west-2.amazonaws.com", {}),
    ],
)
def test_no_hint(url: str, options: dict[str, Any]) -> None:
    """At a service of one's own a client's region is one for signatures, and says nothing."""
    assert detect(url, "hostname", **options) is None
    assert detect(url, "service", **options) is None


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("https://bucket.s3.amazonaws.com/a/b", "s3://bucket/a/b"),
        ("https://my.bucket.s3.us-west-2.amazonaws.com/a", "s3://my.bucket/a"),
        ("https://s3.us-west-2.amazonaws.com/bucket/a", "s3://bucket/a"),
        ("http://s3.amazonaws.com/bucket", "s3://bucket"),
        ("https://bucket.s3-website-us-west-2.amazonaws.com/a", "s3://bucket/a"),
        ("https://storage.googleapis.com/bucket/a", "gs://bucket/a"),
        ("https://bucket.storage.googleapis.com/a", "gs://bucket/a"),
        ("https://storage.cloud.google.com/bucket/a", "gs://bucket/a"),
        (
            "https://account.blob.core.windows.net/container/a",
            "abfss://container@account.dfs.core.windows.net/a",
        ),
        ("https://example.org/bucket/a", "https://example.org/bucket/a"),
        (
            "https://point-1.s3-accesspoint.us-west-2.amazonaws.com/a",
            "https://point-1.s3-accesspoint.us-west-2.amazonaws.com/a",
        ),
        ("s3://bucket/a", "s3://bucket/a"),
        ("/data/a", "file:///data/a"),
    ],
)
def test_web_addresses_of_buckets(url: str, bucket: str) -> None:
    """A bucket's web address is the bucket; other addresses are themselves."""
    assert as_bucket(Store.from_url(url)).url == bucket


def test_googles_s3_is_google() -> None:
    """A bucket of Google's that is read as one of S3's is Google's."""
    store = Store.from_url("s3://bucket/a", {"endpoint_url": "https://storage.googleapis.com"})
    assert as_bucket(store) == Store.from_url("gs://bucket/a")
