"""The object server of files answers what s3fs asks, as S3 does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from support.polling import patience
from xr_locality.errors import ConfigurationError
from xr_locality.regions.region import Region
from xr_locality.testing import FileObjectServer, Testbed
from xr_locality.testing.servers import ServerAnswer, ask

AWS = Region.parse("aws:us-west-2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileObjectServer]:
    """One such server."""
    directory = tmp_path_factory.mktemp("objects")
    running = FileObjectServer(region=AWS, directory=directory, environ=dict(os.environ))
    running.spawn()
    try:
        running.wait_until_ready(deadline=time.monotonic() + patience(20.0))
        yield running
    finally:
        running.kill()


@pytest.fixture
def files(server: FileObjectServer) -> Any:
    """s3fs over the server, which remembers no listing."""
    import s3fs

    return s3fs.S3FileSystem(
        skip_instance_cache=True, use_listings_cache=False, **server.storage_options
    )


def get(server: FileObjectServer, key: str, **headers: str) -> ServerAnswer:
    """Get an object with headers of one's own."""
    port = int(server.endpoint_url.rpartition(":")[2])
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = ask("GET", port, f"/{server.bucket}/{key}", headers=sent)
    assert answer is not None
    return answer


def test_objects_come_back(server: FileObjectServer, files: Any) -> None:
    """What was put is read, whole and in parts, described, and gone once deleted."""
    url = server.url("put/a b+c%.bin")
    files.pipe(url, b"0123456789")
    assert files.cat_file(url) == b"0123456789"
    assert files.cat_file(url, start=2, end=5) == b"234"
    assert files.info(url)["size"] == 10
    assert files.find(server.url("put/")) == [f"{server.bucket}/put/a b+c%.bin"]
    files.rm(url)
    assert not files.exists(url)
    with pytest.raises(FileNotFoundError):
        files.cat_file(url)


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=7-100", 206, b"789"),
        ("bytes=10-", 416, None),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_ranges(
    server: FileObjectServer, files: Any, asked: str, status: int, body: bytes | None
) -> None:
    """Ranges are answered as HTTP says, and what is no range with the whole object."""
    files.pipe(server.url("range"), b"0123456789")
    answer = get(server, "range", Range=asked)
    assert answer.status == status
    if body is not None:
        assert answer.body == body
    if status == 206:
        assert answer.headers["content-range"].endswith("/10")


def test_listings_are_sorted_and_go_on(server: FileObjectServer, files: Any) -> None:
    """More keys than one answer holds are listed over several, each once and in order."""
    root = Path(server.writing("many")[0])
    names = [f"{i // 100:02d}/{i:04d}" for i in range(1234)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    prefix = f"{server.bucket}/many"
    assert files.find(server.url("many")) == [f"{prefix}/{name}" for name in names]
    assert files.ls(server.url("many")) == [f"{prefix}/{i:02d}" for i in range(13)]
    files.rm(server.url("many"), recursive=True)
    assert files.find(server.url("many")) == []


def test_keys_do_not_leave_the_bucket(server: FileObjectServer) -> None:
    """A key that names a place outside of the directory is not found."""
    outside = Path(server.writing("x")[0]).parents[1] / "secret"
    outside.write_text("secret")
    for key in ("../secret", "a/../../secret", "%2e%2e/secret", "./x", "/etc/passwd"):
        assert get(server, key).status == 404, key


def test_what_is_not_there_is_said(server: FileObjectServer) -> None:
    """Parts of S3 that the server does not know are answered as such."""
    port = int(server.endpoint_url.rpartition(":")[2])
    for method, path in (("GET", "?acl"), ("POST", "/a?uploads")):
        answer = ask(method, port, f"/{server.bucket}{path}")
        assert answer is not None
        assert answer.status == 501
        assert b"NotImplemented" in answer.body


def test_log_tells_what_was_read(server: FileObjectServer, files: Any) -> None:
    """Each request is in the log with its reader and the bytes sent."""
    files.pipe(server.url("logged"), b"0123456789")
    server.clear_requests()
    get(server, "logged", Range="bytes=0-3", User_Agent="Boto3/1 app/gcp#us-central1")
    (record,) = server.requests()
    assert (record.method, record.key, record.status) == ("GET", "logged", 206)
    assert (record.nbytes, record.reader) == (4, "gcp:us-central1")


def test_bucket_answers_its_region(server: FileObjectServer) -> None:
    """The bucket tells where it is, in a header and when asked."""
    port = int(server.endpoint_url.rpartition(":")[2])
    answer = ask("HEAD", port, f"/{server.bucket}")
    assert answer is not None
    assert answer.headers["x-amz-bucket-region"] == "us-west-2"
    answer = ask("GET", port, f"/{server.bucket}?location")
    assert answer is not None
    assert b"us-west-2" in answer.body


@pytest.mark.gateway
def test_testbed_writes_files() -> None:
    """A testbed with such servers writes without a request, and s3fs reads it."""
    written = xr.Dataset({"t": (("x", "y"), np.arange(12.0).reshape(3, 4))})
    with Testbed([AWS], objects="files") as bed:
        url = bed.write(written.chunk(x=1), AWS, "a/b.zarr")
        assert bed[AWS].objects.requests() == ()
        options = bed[AWS].objects.storage_options
        read = xr.open_dataset(url, engine="zarr", chunks={}, storage_options=options)
        xr.testing.assert_identical(read.compute(), written)
        written.to_zarr(f"{url}2", storage_options=options, zarr_format=2)
        again = xr.open_dataset(f"{url}2", engine="zarr", storage_options=options)
        xr.testing.assert_identical(again.compute(), written)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"objects": "tapes"}, "'tapes', only moto, files"),
        ({"objects": "files", "outside_bytes_per_second": 1e6}, "emulated network"),
    ],
    ids=["unknown", "slow"],
)
def test_impossible_servers_are_refused(options: dict[str, Any], match: str) -> None:
    """A kind that does not exist, or a rate that it cannot keep, is an error."""
    bed = None
    with pytest.raises(ConfigurationError, match=match):
        bed = Testbed([AWS], **options)
    assert bed is None
