"""Servers that fail: gateways and their proxies, object stores."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psutil
import xarray as xr

import xr_locality as xl
from xr_locality.testing import Testbed

IOWA = xl.Region.parse("gcp:us-central1")


def when_submitted(act: Callable[[], None]) -> Callable[[Any], None]:
    """Make a callback that acts once, in a thread, when Iowa has been sent its part."""
    threads: list[threading.Thread] = []

    def callback(event: Any) -> None:
        if event.what == "submitted" and event.facts["region"] == IOWA and not threads:
            threads.append(threading.Thread(target=act))
            threads[0].start()

    return callback


def difference(a: xr.Dataset, b: xr.Dataset) -> xr.DataArray:
    """Make a difference whose second part takes a second."""

    # By value: clusters cannot import tests.
    def inner(values: Any) -> Any:
        import time

        time.sleep(0.15)
        return values

    delayed = xr.apply_ufunc(inner, b.t, dask="parallelized", output_dtypes=[b.t.dtype])
    made: xr.DataArray = a.t.mean("time") - delayed.mean("time")
    return made


def test_killed_proxy_costs_what_was_unfinished(
    testbed: Testbed, session: xl.Session, a: xr.Dataset, b: xr.Dataset
) -> None:
    """A gateway starts its proxy again; the same cluster is found behind it."""
    work = difference(a, b)
    work.locality.compute()

    def kill() -> None:
        for child in psutil.Process(testbed[IOWA].gateway.pid).children(recursive=True):
            if "proxy" in child.name():
                child.kill()

    result = work.locality.compute(callbacks=[when_submitted(kill)])
    xr.testing.assert_identical(result, work.compute(scheduler="sync"))
