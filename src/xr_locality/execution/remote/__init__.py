"""Code that runs on the clusters: fetches of boundary values, the split's optimiser.

It is sent to schedulers and workers by value, so xr-locality need not be
installed there: these modules import nothing of the package but each other, only
the standard library, numpy, dask and distributed, which any cluster has.

What a function uses of its module's globals travels with it. So globals are
only what pickles by name: dask's ``sizeof``, an object that holds every type
registered with it, is imported where it is used.
"""

from xr_locality.execution.remote.conceal import conceal
from xr_locality.execution.remote.fetch import TOPIC, LinkPlugin, fetch
from xr_locality.execution.remote.packing import align, pack, receive, unpack
from xr_locality.execution.remote.partition_keys import OutputOptimizer, PartitionOptimizer, rename
from xr_locality.execution.remote.readiness import (
    Readiness,
    missing,
    open_managed,
    read_arrow,
    read_file,
    read_zarr,
)
from xr_locality.execution.remote.result_client import ResultClient
from xr_locality.execution.remote.rpc_client import LinkError, RpcClient
from xr_locality.execution.remote.staged_values import StorePlugin, is_receipt, stage
from xr_locality.execution.remote.streaming import ValueStreamer
from xr_locality.execution.remote.task_measurements import measure_span, sizes_of
from xr_locality.execution.remote.value_client import ValueClient
from xr_locality.execution.remote.value_server import (
    NOTICE,
    STREAMER,
    WINDOW,
    close_value_server,
    open_value_server,
)

__all__ = [
    "NOTICE",
    "STREAMER",
    "TOPIC",
    "WINDOW",
    "LinkError",
    "LinkPlugin",
    "OutputOptimizer",
    "PartitionOptimizer",
    "Readiness",
    "ResultClient",
    "RpcClient",
    "StorePlugin",
    "ValueClient",
    "ValueStreamer",
    "align",
    "close_value_server",
    "conceal",
    "fetch",
    "is_receipt",
    "measure_span",
    "missing",
    "open_managed",
    "open_value_server",
    "pack",
    "read_arrow",
    "read_file",
    "read_zarr",
    "receive",
    "rename",
    "sizes_of",
    "stage",
    "unpack",
]
