"""A store that may not be written to is found out before anything is spent on its values."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr

import xr_locality as xl

AWS, GCP = "aws:us-west-2", "gcp:us-central1"


@pytest.fixture
def session() -> Iterator[xl.Session]:
    """A session whose endpoints are not there: opening one would be another error."""
    unreachable = dict.fromkeys((AWS, GCP), "tcp://127.0.0.1:9")
    with xl.Session(unreachable, start_timeout="2 seconds") as session:
        yield session


@pytest.fixture
def dataset(tmp_path: Path) -> xr.Dataset:
    """A dataset in one region."""
    source = xr.Dataset({"t": (("time", "x"), np.ones((4, 3)))}, coords={"time": np.arange(4)})
    source.chunk(time=2).to_zarr(tmp_path / "source.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "source.zarr", chunks={}, consolidated=False)
    return (xl.tag(opened, AWS) + 1).drop_encoding()


class ReadOnly(BaseHTTPRequestHandler):
    """An S3 server that shows an empty bucket, and denies all writes."""

    # Clients wait for leave to send a body, which older versions do not give.
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        """List nothing; say that there is no such object."""
        if "list-type" in self.path:
            self._answer(200, "<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")
        else:
            self._refuse(404, "NoSuchKey")

    def do_PUT(self) -> None:
        """Deny."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._refuse(403, "AccessDenied")

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

    def _answer(self, status: int, text: str) -> None:
        self.asked.append(f"{self.command} {status}")
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_HEAD = do_GET  # noqa: N815 - http.server's name
    do_POST = do_PUT  # noqa: N815
    do_DELETE = do_PUT  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def read_only() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that denies all writes, and what it was asked."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (ReadOnly,), {"asked": asked}))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def write(session: xl.Session, dataset: xr.Dataset, store: Any, **kwargs: Any) -> BaseException:
    """Write where it is denied; see that nothing was opened or sent, and give the error."""
    heard: list[Any] = []
    policy = {"rules": {str(store): GCP}, "callbacks": [heard.append]}
    with pytest.raises(OSError) as caught:  # noqa: PT011 - told apart by who calls
        dataset.locality.to_zarr(store, policy=policy, **kwargs)
    assert heard == []
    assert session.reports == []
    assert session.resources.pool is None or not session.resources.pool.connections
    return caught.value


def test_key_that_may_not_write(
    session: xl.Session, dataset: xr.Dataset, read_only: tuple[str, list[str]]
) -> None:
    """A key that may read and not write is refused with the first metadata, sent from here."""
    address, asked = read_only
    options = {"key": "AKIA", "secret": "a-secret-key", "endpoint_url": address}
    error = write(session, dataset, "s3://bucket/new.zarr", storage_options=options)
    assert isinstance(error, PermissionError)
    assert "a-secret-key" not in f"{error!r} {error}"
    assert "PUT 403" in asked


def test_nobodys_key(
    session: xl.Session, dataset: xr.Dataset, read_only: tuple[str, list[str]]
) -> None:
    """So is a writer without a key."""
    address, _ = read_only
    options = {"anon": True, "endpoint_url": address}
    error = write(session, dataset, "s3://bucket/new.zarr", storage_options=options, mode="w")
    assert isinstance(error, PermissionError)


def test_directory_that_cannot_be_made(
    session: xl.Session, dataset: xr.Dataset, tmp_path: Path
) -> None:
    """A path below a file is no directory, whoever asks: even an administrator."""
    (tmp_path / "file").touch()
    error = write(session, dataset, tmp_path / "file" / "new.zarr")
    assert isinstance(error, NotADirectoryError | FileExistsError)
    assert (tmp_path / "file").read_bytes() == b""
