"""Access records and names of object servers, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xr_locality.regions.region import Region
from xr_locality.testing.objects import AccessRecord, ObjectServer, bucket_name

LINE = {
    "method": "GET",
    "path": "/bucket/a.zarr/tp/c/0",
    "query": "",
    "status": 200,
    "nbytes": 12,
    "user_agent": "",
}


def record(**changes: object) -> AccessRecord:
    """Read a line of the log that differs from `LINE`."""
    return AccessRecord.from_json(json.dumps({**LINE, **changes}))


@pytest.mark.parametrize(
    ("user_agent", "reader"),
    [
        ("aiobotocore/3.1 md/Botocore#1.43 ua/2.1 os/linux app/aws#us-west-2", "aws:us-west-2"),
        ("app/gcp#us-central1 Boto3/1.43", "gcp:us-central1"),
        ("Boto3/1.43 md/webapp/other", "client"),
        ("", "client"),
    ],
    ids=["last", "first", "not ours", "none"],
)
def test_reader_is_in_the_user_agent(user_agent: str, reader: str) -> None:
    """The reader is the region in the User-Agent, and the client without one."""
    assert record(user_agent=user_agent).reader == reader


@pytest.mark.parametrize(
    ("path", "key"),
    [("/bucket/a.zarr/tp/c/0", "a.zarr/tp/c/0"), ("/bucket", ""), ("/bucket/", ""), ("/", "")],
)
def test_key_is_without_the_bucket(path: str, key: str) -> None:
    """The key of a record is its path after the bucket."""
    assert record(path=path).key == key


def test_unfinished_line_is_not_read(tmp_path: Path) -> None:
    """A line of the access log that is still being written is left for later."""
    server = ObjectServer(region=Region.parse("aws:us-west-2"), directory=tmp_path, environ={})
    text = json.dumps(LINE)
    (tmp_path / "access.jsonl").write_text(f"{text}\n{text[:20]}")
    assert server.requests() == (record(),)
    server.clear_requests()
    assert server.requests() == ()


@pytest.mark.parametrize(
    ("region", "bucket"),
    [
        ("aws:us-west-2", "aws-us-west-2"),
        ("hpc:derecho_2.x", "hpc-derecho-2-x"),
        (f"osn:{'a' * 62}", f"osn-{'a' * 59}"),
    ],
)
def test_bucket_has_a_legal_name(region: str, bucket: str) -> None:
    """A region's bucket bears its name, within the letters and length that S3 allows."""
    assert bucket_name(Region.parse(region)) == bucket
    assert len(bucket) <= 63
