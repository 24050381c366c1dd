import pickle
from pathlib import Path
from typing import Any

import fsspec.config
import pytest

from xr_locality.errors import SourceError
from xr_locality.regions import Store


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own settings out of the tests."""
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_CONNECTION_STRING",
        "STORAGE_EMULATOR_HOST",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("s3://bucket/a.zarr/", "s3://bucket/a.zarr"),
        ("s3a://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("S3N://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("s3://bucket", "s3://bucket"),
        ("gcs://bucket/a", "gs://bucket/a"),
        ("abfs://container/a", "az://container/a"),
        ("simplecache::s3://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("zip://inner.zarr::simplecache::gs://bucket/a.zip", "gs://bucket/a.zip"),
        ("https://Host.org:8080/a/b/", "https://host.org:8080/a/b"),
        ("http://host.org", "http://host.org"),
        ("memory://a/b", "memory://a/b"),
        ("/data/a.zarr", "file:///data/a.zarr"),
        ("file:///data/a.zarr", "file:///data/a.zarr"),
        ("file:/data/a.zarr", "file:///data/a.zarr"),
        ("local:///data/a.zarr", "file:///data/a.zarr"),
        ("/data/a#1?.nc", "file:///data/a#1?.nc"),
        (Path("/data/a.zarr"), "file:///data/a.zarr"),
        ("s3://bucket/run/*/a.zarr", "s3://bucket/run"),
        ("/data/*.nc", "file:///data"),
        ("sftp://host.org:22/a", "sftp://host.org:22/a"),
    ],
)
def test_url_is_canonical(url: Any, expected: str) -> None:
    """Every spelling of one place gives one URL."""
    assert Store.from_url(url).url == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@host.org/a?sig=secret#secret",
        "s3://user:secret@bucket/a?token=secret",
        "az://container/a?sv=1&sig=secret",
        "sftp://user:secret@host.org/a",
    ],
)
def test_url_holds_no_secret(url: Any) -> None:
    """User names, passwords and signatures are not kept."""
    store = Store.from_url(url, {"key": "secret", "client_kwargs": {}})
    assert "secret" not in f"{store!r} {store} {store.url}"


def test_endpoint_holds_no_secret() -> None:
    """Credentials in an endpoint's URL are not kept."""
    store = Store.from_url("s3://b/a", {"endpoint_url": "https://me:secret@Minio.org/?x=secret"})
    assert store.endpoint_url == "https://minio.org"


@pytest.mark.parametrize("relative", ["a.zarr", "./a.zarr", "file://a.zarr"])
def test_relative_path_is_made_absolute(
    relative: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is the file that it means now."""
    monkeypatch.chdir(tmp_path)
    assert Store.from_url(relative) == Store.from_url(str(tmp_path / "a.zarr"))


@pytest.mark.parametrize("wrong", ["", "  ", None, 5])
def test_empty_url_is_refused(wrong: object) -> None:
    """A store without a URL is an error that shows it."""
    with pytest.raises(SourceError, match=repr(wrong)):
        Store.from_url(wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint_url": "http://minio:9000/"},
        {"client_kwargs": {"endpoint_url": "http://Minio:9000"}},
    ],
)
def test_endpoint_is_part_of_the_store(options: dict[str, Any]) -> None:
    """The same bucket name at another service is another store."""
    store = Store.from_url("s3://bucket/a", options)
    assert store.endpoint_url == "http://minio:9000"
    assert store != Store.from_url("s3://bucket/a")
    assert str(store) == "s3://bucket/a at http://minio:9000"


def test_options_of_a_chained_url_are_nested() -> None:
    """In a chained URL the options stand under the protocol they are for."""
    url = "simplecache::s3://bucket/a"
    nested = Store.from_url(url, {"s3": {"endpoint_url": "http://minio:9000"}, "simplecache": {}})
    assert nested.endpoint_url == "http://minio:9000"
    assert Store.from_url(url, {"endpoint_url": "http://minio:9000"}).endpoint_url is None


def test_cache_with_a_target_protocol_is_its_target() -> None:
    """A cache that names its target in its options is that target."""
    options = {"target_protocol": "s3", "target_options": {"endpoint_url": "http://minio:9000"}}
    store = Store.from_url("filecache://bucket/a", options)
    assert (store.protocol, store.bucket, store.path) == ("s3", "bucket", "a")
    assert store.endpoint_url == "http://minio:9000"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.amazonaws.com",
        "https://s3.us-west-2.amazonaws.com",
        "https://s3-us-west-2.amazonaws.com/",
        "https://s3.dualstack.us-west-2.amazonaws.com",
    ],
)
def test_providers_own_endpoint_is_none(endpoint: str) -> None:
    """Naming the provider's own endpoint is the same as naming none."""
    assert Store.from_url("s3://b/a", {"endpoint_url": endpoint}) == Store.from_url("s3://b/a")


def test_endpoint_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that botocore would take from the environment counts; a given one wins."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://everywhere:1")
    assert Store.from_url("s3://b/a").endpoint_url == "http://everywhere:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3:2")
    assert Store.from_url("s3://b/a").endpoint_url == "http://s3:2"
    given = Store.from_url("s3://b/a", {"endpoint_url": "http://given:3"})
    assert given.endpoint_url == "http://given:3"
    assert Store.from_url("gs://b/a").endpoint_url is None


def test_emulator_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GCS emulator that gcsfs would take from the environment counts."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9023")
    assert Store.from_url("gs://b/a").endpoint_url == "http://127.0.0.1:9023"


def test_endpoint_from_fsspecs_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fsspec's configuration adds to a filesystem's options counts."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://minio:9000"})
    assert Store.from_url("s3a://b/a").endpoint_url == "http://minio:9000"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("abfss://c@acct.dfs.core.windows.net/a", {}),
        ("abfs://c@acct.blob.core.windows.net/a", {"account_name": "other"}),
        ("abfs://acct.dfs.core.windows.net/c/a", {}),
        ("az://c/a", {"account_name": "acct"}),
        ("az://c/a", {"account_host": "acct.blob.core.windows.net"}),
        ("az://c/a", {"connection_string": "AccountName=acct;AccountKey=secret="}),
    ],
)
def test_azure_account_is_part_of_the_store(url: Any, options: dict[str, Any]) -> None:
    """However the account is named, the store is the same, and holds no key."""
    store = Store.from_url(url, options)
    assert (store.account, store.bucket, store.path) == ("acct", "c", "a")
    assert store.endpoint_url is None
    assert Store.from_url(store.url) == store
    assert "secret" not in repr(store)


def test_azure_account_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account that adlfs would take from the environment counts."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acct")
    assert Store.from_url("az://c/a").account == "acct"


def test_azure_emulator_is_an_endpoint() -> None:
    """A blob endpoint of one's own is told apart from Azure's."""
    text = "AccountName=dev;AccountKey=k;BlobEndpoint=http://127.0.0.1:10000/dev;"
    store = Store.from_url("az://c/a", {"connection_string": text})
    assert store.endpoint_url == "http://127.0.0.1:10000/dev"


def test_store_at_a_service() -> None:
    """A store at a service has the URL that the service's HTTP server shows."""
    store = Store.from_url("s3://bucket/a", {"endpoint_url": "http://minio:9000"})
    assert store.at_service == Store.from_url("http://minio:9000/bucket/a")
    azure = Store.from_url("az://c/a", {"account_name": "acct"})
    assert azure.at_service == Store.from_url("https://acct.blob.core.windows.net/c/a")
    assert Store.from_url("s3://bucket/a").at_service is None


def test_prefixes_end_at_component_boundaries() -> None:
    """The prefixes of a path are its parents, the nearest first."""
    assert Store.from_url("s3://b/a/b.zarr/c").prefixes() == ("a/b.zarr/c", "a/b.zarr", "a", "")
    assert Store.from_url("s3://b").prefixes() == ("",)


def test_going_down() -> None:
    """A path inside a store is a store."""
    root = Store.from_url("s3://bucket/a.zarr")
    assert root / "/x/y/" == Store.from_url("s3://bucket/a.zarr/x/y")
    assert root / "" == root


def test_store_is_a_value() -> None:
    """Equal stores are one dictionary key and survive pickling."""
    store = Store.from_url("s3://bucket/a", {"endpoint_url": "http://minio:9000"})
    assert pickle.loads(pickle.dumps(store)) == store
    again = Store.from_url("s3a://bucket/a/", {"endpoint_url": "http://minio:9000/"})
    assert {store: 1}[again] == 1
