import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import xarray as xr
from moto.server import ThreadedMotoServer

from support.places import Place, azure_place, azurite, gcs_place, http_place

# gcsfs asks for TLS otherwise, and waits a minute; it reads this when it is imported.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, Any]]:
    """Start an object server with a bucket named "data"; give the options to reach it."""
    import s3fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"key": "k", "secret": "not to be shown", "endpoint_url": f"http://{host}:{port}"}
        s3fs.S3FileSystem(**options).mkdir("data")
        yield options
    finally:
        server.stop()


@pytest.fixture(scope="session")
def places(
    s3_options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Any]:
    """Give a place by its protocol, and start the server behind it when it is first asked for."""
    started: dict[str, Place] = {}
    with ExitStack() as stack:

        def start(protocol: str) -> Place:
            directory = tmp_path_factory.mktemp(protocol)
            if protocol == "file":
                return Place(url=f"file://{directory}")
            if protocol == "memory":
                return Place(url="memory://data")
            if protocol == "http":
                return stack.enter_context(http_place(directory))
            if protocol == "s3":
                host = s3_options["endpoint_url"].partition("://")[2]
                environ = {
                    "AWS_S3_ENDPOINT": host,
                    "AWS_HTTPS": "NO",
                    "AWS_VIRTUAL_HOSTING": "FALSE",
                    "AWS_ACCESS_KEY_ID": s3_options["key"],
                    "AWS_SECRET_ACCESS_KEY": s3_options["secret"],
                }
                secrets = (s3_options["secret"],)
                return Place(url="s3://data", options=s3_options, environ=environ, secrets=secrets)
            if protocol == "gs":
                pytest.importorskip("gcsfs", reason="gcsfs is not installed")
                pytest.importorskip(
                    "gcp_storage_emulator", reason="gcp-storage-emulator is not installed"
                )
                return stack.enter_context(gcs_place())
            pytest.importorskip("adlfs", reason="adlfs is not installed")
            command = azurite(request.config.cache.mkdir("azurite"))
            if command is None:
                pytest.skip("there is no azurite-blob, and npm does not install it")
            return stack.enter_context(azure_place(command, directory))

        def get(protocol: str) -> Place:
            if protocol not in started:
                started[protocol] = start(protocol)
            return started[protocol]

        yield get


@pytest.fixture
def dataset() -> xr.Dataset:
    """Make a dataset with two variables whose names begin alike, in ten chunks each."""
    values = np.random.default_rng(0).random((100, 20))
    return xr.Dataset(
        {"tp": (("time", "x"), values), "tp2": (("time", "x"), values + 1)},
        coords={"time": np.arange(100)},
    ).chunk(time=10)
