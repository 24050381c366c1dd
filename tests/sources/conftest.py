from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from moto.server import ThreadedMotoServer


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


@pytest.fixture
def dataset() -> xr.Dataset:
    """Make a dataset with two variables whose names begin alike, in ten chunks each."""
    values = np.random.default_rng(0).random((100, 20))
    return xr.Dataset(
        {"tp": (("time", "x"), values), "tp2": (("time", "x"), values + 1)},
        coords={"time": np.arange(100)},
    ).chunk(time=10)
