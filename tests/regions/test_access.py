import copy
import pickle
import traceback
from typing import Any

import fsspec.config
import pytest

from xr_locality.errors import SourceError
from xr_locality.regions import REGISTRY, Region, Store, Tag
from xr_locality.regions.store import without_secrets

SECRETS = {"key": "AKIDEXAMPLE", "secret": "not to be shown", "token": "nor this"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own services out of the tests."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def opened(**options: Any) -> Store:
    """Make a store that is opened with some options."""
    return Store.from_url("s3://bucket/a.zarr", options)


def test_how_a_store_is_opened_is_no_part_of_it() -> None:
    """The same place is the same store, whoever opens it."""
    store = opened(**SECRETS, client_kwargs={"region_name": "us-east-1"})
    assert store == opened()
    assert hash(store) == hash(opened())
    REGISTRY.add(store, Tag(region=Region.parse("osn:ncsa"), evidence="x"), kind="hand")
    assert REGISTRY.find(opened(anon=True) / "tp") is not None


def test_secrets_are_not_shown_copied_or_pickled() -> None:
    """No repr, no pickle and no copy of a store holds what it is opened with."""
    store = opened(**SECRETS, endpoint_url="https://minio.example.org") / "tp"
    assert store.access is not None
    assert store.access.credentials is not None
    assert store.access.credentials.host == "minio.example.org"
    for secret in SECRETS.values():
        assert secret not in f"{store!r} {store} {store.access!r} {store.access.credentials!r}"
        assert secret.encode() not in pickle.dumps(store)
    for other in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store)):
        assert other == store
        assert other.access.credentials is None
        assert other.access.host == "minio.example.org"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(store.access.credentials)


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (SECRETS, "s3.amazonaws.com"),
        ({"username": "AKIDEXAMPLE", "password": "x"}, "s3.amazonaws.com"),
        ({**SECRETS, "endpoint_url": "https://me:x@Minio.org:9000/"}, "minio.org:9000"),
        ({**SECRETS, "client_kwargs": {"endpoint_url": "https://minio.org"}}, "minio.org"),
        (
            {"client_kwargs": {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "x"}},
            "s3.amazonaws.com",
        ),
        ({**SECRETS, "anon": True}, None),
        ({"key": "AKIDEXAMPLE"}, None),
        ({"key": 5, "secret": object()}, None),
        ({}, None),
    ],
)
def test_whom_credentials_are_for(options: dict[str, Any], host: str | None) -> None:
    """Credentials belong to the endpoint that they were given with, else to AWS."""
    access = opened(**options).access
    credentials = None if access is None else access.credentials
    assert (None if credentials is None else credentials.host) == host


@pytest.mark.parametrize(
    ("configured", "options", "host"),
    [
        (SECRETS, {}, "s3.amazonaws.com"),
        (SECRETS, {"endpoint_url": "https://evil.org"}, "s3.amazonaws.com"),
        # As a filesystem that was made of both has it.
        (SECRETS, {**SECRETS, "endpoint_url": "https://evil.org"}, "s3.amazonaws.com"),
        ({**SECRETS, "endpoint_url": "https://minio.org"}, {}, "minio.org"),
        (
            {**SECRETS, "endpoint_url": "https://minio.org"},
            {"endpoint_url": "https://evil.org"},
            "minio.org",
        ),
        ({"endpoint_url": "https://minio.org"}, SECRETS, "minio.org"),
        (SECRETS, {"key": "OTHER", "secret": "x", "endpoint_url": "https://mine.org"}, "mine.org"),
        (SECRETS, {"key": "OTHER"}, None),
    ],
)
def test_whom_configured_credentials_are_for(
    configured: dict[str, Any],
    options: dict[str, Any],
    host: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Credentials of fsspec's configuration are not for an endpoint that a catalog names."""
    monkeypatch.setitem(fsspec.config.conf, "s3", configured)
    access = opened(**options).access
    credentials = None if access is None else access.credentials
    assert (None if credentials is None else credentials.host) == host


def test_what_else_is_read() -> None:
    """Options tell a client's region, the endpoint as given, and who pays."""
    access = opened(
        client_kwargs={"region_name": "us-east-1"},
        endpoint_url="https://s3.us-west-2.amazonaws.com",
        requester_pays=True,
        anon=True,
    ).access
    assert access is not None
    assert access.public == ("us-east-1", None, "s3.us-west-2.amazonaws.com", True, True)
    assert opened().access is None


@pytest.mark.parametrize("strange", [5, "text", None, ["a"]])
def test_strange_options_are_passed_over(strange: object) -> None:
    """What no client understands says nothing."""
    assert opened(client_kwargs=strange).access is None


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIDEXAMPLE:not/to/be+shown@bucket/a",
        "gs://me:not to be shown@bucket/a",
        "s3://AKIDEXAMPLE:not@to@bucket/a",
    ],
)
def test_secrets_with_slashes_are_left_out(url: str) -> None:
    """The keys of AWS may hold slashes, and are still no part of a bucket's name."""
    store = Store.from_url(url)
    assert "not" not in f"{store!r}"
    assert "AKID" not in f"{store!r}"


@pytest.mark.parametrize(
    "url",
    ["https://me:se/cret@host.org/a", "https://[me:secret/a", "http://host:secret/"],
)
def test_malformed_host_is_refused(url: str) -> None:
    """A web address whose host is malformed is an error that shows none of it."""
    with pytest.raises(SourceError, match="malformed") as caught:
        Store.from_url(url)
    shown = "".join(traceback.format_exception(caught.value)).partition("SourceError")[2]
    assert "cret" not in shown
    assert caught.value.__context__ is None
    with pytest.raises(SourceError, match="malformed"):
        Store.from_url("s3://bucket/a", {"endpoint_url": url})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:se/cr+et@bucket/a", "s3://…bucket/a"),
        ("https://token@host.org/a", "https://…host.org/a"),
        ("https://me:secret@host.org/a@b", "https://…host.org/a@b"),
        (
            "unknown: https://host.org/a?sig=secret and more",
            "unknown: https://host.org/a… and more",
        ),
        ("'https://host.org/a?sig=secret'", "'https://host.org/a…'"),
        ("abfss://container@account.dfs.core.windows.net/a", None),
        ("s3://arn:aws:s3:us-west-2:123456789012:accesspoint/point/a", None),
        ("is that all? yes", "is that all… yes"),
        ("no URL", None),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, shown: str | None) -> None:
    """What is shown of a user's text has no secret of a URL in it."""
    assert without_secrets(text) == (text if shown is None else shown)


def test_access_points_are_buckets() -> None:
    """An ARN may stand for a bucket, also one with two colons together."""
    arn = "arn:aws:s3::123456789012:accesspoint"
    store = Store.from_url(f"s3://{arn}/mfzwi23gnjvgw.mrap/a.zarr")
    assert (store.protocol, store.bucket, store.path) == ("s3", arn, "mfzwi23gnjvgw.mrap/a.zarr")
    assert Store.from_url(f"simplecache::s3://{arn}/b").bucket == arn
