"""Servers to probe: emulated clouds, and strangers that hang, redirect and lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from support.strangers import Stranger
from xr_locality.regions.probe.cache import ProbeCache
from xr_locality.regions.probe.prober import Probe


@pytest.fixture
def stranger() -> Iterator[Callable[..., Stranger]]:
    """Start strangers, and stop them."""
    started: list[Stranger] = []

    def start(answer: Callable[[BaseHTTPRequestHandler, Stranger], None]) -> Stranger:
        started.append(Stranger(answer))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture(scope="session")
def s3_service() -> Iterator[str]:
    """Start an emulated S3 with the buckets ``west`` and ``east``; give its URL."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id="k",
            aws_secret_access_key="s",
            region_name="us-east-1",
        )
        west = {"LocationConstraint": "us-west-2"}
        client.create_bucket(Bucket="west", CreateBucketConfiguration=west)
        client.create_bucket(Bucket="east")
        yield url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def gcs_service() -> Iterator[str]:
    """Start an emulated Cloud Storage without buckets; give its URL."""
    name = "gcp_storage_emulator.server"
    emulator = pytest.importorskip(name, reason="gcp-storage-emulator is not installed")
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    try:
        host, port = server._api._httpd.server_address
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def make_probe(tmp_path: Path) -> Callable[..., Probe]:
    """Make a probe that keeps its answers in the test's directory."""

    def make(*, seconds: float = 5.0, **kwargs: Any) -> Probe:
        return Probe(ProbeCache(tmp_path / "answers"), seconds=seconds, **kwargs)

    return make
