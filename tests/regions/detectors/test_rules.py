from typing import Any

import pytest

from xr_locality.errors import ConfigurationError, LocalityErrorGroup
from xr_locality.regions import Rules, Store
from xr_locality.regions.detectors.rules import RulesDetector


def region(rules: dict[str, str], url: str, **options: Any) -> str | None:
    """Return what some rules say of a store."""
    rule = Rules.parse(rules).find(Store.from_url(url, options))
    return str(rule.region) if rule else None


def test_rule_ends_at_a_component_boundary() -> None:
    """A rule for a bucket or a directory does not hold for one whose name goes on."""
    rules = {"s3://my-bucket": "aws:eu-west-1", "s3://other/a": "aws:us-east-1"}
    assert region(rules, "s3://my-bucket/a.zarr") == "aws:eu-west-1"
    assert region(rules, "s3://my-bucket2/a.zarr") is None
    assert region(rules, "s3://other/a/b") == "aws:us-east-1"
    assert region(rules, "s3://other/ab") is None


def test_longest_rule_wins_in_any_order() -> None:
    """Of several rules that hold, the longest counts, wherever it stands."""
    pairs = [("s3://b", "aws:us-east-1"), ("s3://b/x/y", "aws:us-west-2"), ("s3://b/x", "osn:ncsa")]
    for rules in (dict(pairs), dict(reversed(pairs))):
        assert region(rules, "s3://b/x/y/z") == "aws:us-west-2"
        assert region(rules, "s3://b/x/z") == "osn:ncsa"
        assert region(rules, "s3://b/z") == "aws:us-east-1"


def test_aliases_of_protocols_are_the_same() -> None:
    """A rule holds whichever alias of the protocol it or the source is written with."""
    assert region({"s3a://b/": "us-west-2"}, "s3n://b/a") == "aws:us-west-2"
    assert region({"gcs://b": "us-central1"}, "gs://b/a") == "gcp:us-central1"
    assert region({"s3://b": "us-west-2"}, "simplecache::s3://b/a") == "aws:us-west-2"


def test_rule_for_a_host_and_for_a_directory() -> None:
    """Hosts and local directories may be in a region too."""
    rules = {"https://data.example.org/": "hpc:here", "/glade": "hpc:derecho"}
    assert region(rules, "https://data.example.org/x/y.zarr") == "hpc:here"
    assert region(rules, "https://data.example.org:8443/x") is None
    assert region(rules, "/glade/work/a.zarr") == "hpc:derecho"
    assert region(rules, "file:///gladely/a.zarr") is None


def test_rule_for_a_bucket_holds_at_every_service() -> None:
    """A rule that names no service holds for the bucket wherever it is served."""
    rules = {"s3://data": "aws:us-west-2"}
    assert region(rules, "s3://data/a", endpoint_url="http://minio:9000") == "aws:us-west-2"


def test_rule_for_a_service_goes_first() -> None:
    """A rule with the service's URL holds for its buckets, before one with the bucket alone."""
    rules = {
        "s3://data/a": "aws:us-west-2",
        "https://mghp.osn.xsede.org": "osn:mghp",
        "https://mghp.osn.xsede.org/data/b": "osn:ncsa",
    }
    osn = "https://mghp.osn.xsede.org"
    assert region(rules, "s3://data/a", endpoint_url=osn) == "osn:mghp"
    assert region(rules, "s3://data/b/c", endpoint_url=osn) == "osn:ncsa"
    assert region(rules, f"{osn}/data/x") == "osn:mghp"
    assert region(rules, "s3://data/a") == "aws:us-west-2"


@pytest.mark.parametrize(
    "rule",
    [
        "abfss://acct.dfs.core.windows.net",
        "https://acct.blob.core.windows.net",
        "abfss://c@acct.dfs.core.windows.net/a",
        "az://c",
    ],
)
def test_rule_for_an_azure_account(rule: str) -> None:
    """A rule may name an account, a container in it, or a container alone."""
    rules = {rule: "azure:westeurope"}
    assert region(rules, "az://c/a/b", account_name="acct") == "azure:westeurope"
    assert region(rules, "az://d/a/b", account_name="other") is None


@pytest.mark.parametrize(
    ("url", "value"),
    [
        ("s3://b", "aws:us-wset-2"),
        ("s3://b", None),
        ("s3://b", 5),
        ("s3://", "aws:us-west-2"),
        ("https://", "aws:us-west-2"),
        ("", "aws:us-west-2"),
        (5, "aws:us-west-2"),
    ],
)
def test_bad_rule_is_named(url: Any, value: object) -> None:
    """A rule that cannot be understood is an error that shows the rule."""
    with pytest.raises(ConfigurationError, match="locality.rules") as caught:
        Rules.parse({url: value})
    assert f"{url!r}: {value!r}" in str(caught.value)


def test_bad_rules_are_reported_together() -> None:
    """Several bad rules are shown at once."""
    with pytest.raises(LocalityErrorGroup) as caught:
        Rules.parse({"s3://a": "aws:us-wset-2", "s3://b": "aws:us-west-2", "s3://c": ""})
    assert len(caught.value.exceptions) == 2
    assert "s3://a" in str(caught.value)
    assert "s3://c" in str(caught.value)


def test_secrets_in_rules_are_not_shown() -> None:
    """Credentials in a rule's URL show neither in the evidence nor in an error."""
    url = "s3://key:sec/ret@bucket/a"
    found = RulesDetector(Rules.parse({url: "aws:us-west-2"})).detect(
        Store.from_url("s3://bucket/a/b")
    )
    assert found is not None
    assert "ret" not in f"{found!r}"
    with pytest.raises(ConfigurationError) as caught:
        Rules.parse({url: "moon"})
    assert "ret@" not in f"{caught.value} {caught.value.facts}"
    assert "bucket/a" in str(caught.value)


def test_rule_for_a_bucket_holds_for_its_web_address() -> None:
    """A bucket that is read through HTTPS is the one that a rule names."""
    detector = RulesDetector(Rules.parse({"s3://bucket/a": "aws:us-west-2"}))
    assert detector.detect(Store.from_url("https://bucket.s3.amazonaws.com/a/b")) is not None
    assert detector.detect(Store.from_url("https://bucket.s3.amazonaws.com/b")) is None


def test_contradicting_rules_are_refused() -> None:
    """Two spellings of one place with two regions are an error."""
    with pytest.raises(ConfigurationError, match="s3a://b"):
        Rules.parse({"s3a://b": "aws:us-west-2", "s3://b/": "aws:us-east-1"})
    assert len(Rules.parse({"s3a://b": "aws:us-west-2", "s3://b/": "us-west-2"})) == 1
