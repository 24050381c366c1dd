"""Servers that fail: gateways and their proxies, object stores."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import fsspec
import numpy as np
import psutil
import pytest
import xarray as xr

import xr_locality as xl
from support.hearing import IOWA, OREGON, When
from support.polling import patience, until
from support.set_timeouts import SetTimeouts
from xr_locality import errors
from xr_locality.testing import Testbed


def test_killed_proxy_costs_what_was_unfinished(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray
) -> None:
    """A gateway starts its proxy again; the same cluster is found behind it."""
    slow.locality.compute()

    def kill() -> None:
        for child in psutil.Process(testbed[IOWA].gateway.pid).children(recursive=True):
            if "proxy" in child.name():
                child.kill()

    heard = When(kill)
    result = slow.locality.compute(callbacks=[heard])
    heard.join()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))


@pytest.mark.parametrize("forgets", [False, True], ids=["remembers", "forgets"])
def test_restarted_gateway_costs_what_was_unfinished(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray, forgets: bool
) -> None:
    """Its clusters are found again when it is back, or others opened if it forgot them."""
    slow.locality.compute()
    gateway = testbed[IOWA].gateway
    (before,) = gateway.list_clusters()

    def kill_and_restart() -> None:
        gateway.kill()
        if forgets:
            gateway.forget()
        threading.Event().wait(2)
        gateway.restart(deadline=time.monotonic() + patience(30))

    heard = When(kill_and_restart)
    result = slow.locality.compute(callbacks=[heard])
    heard.join()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))
    assert (before in gateway.list_clusters()) is not forgets


def test_gateway_that_stays_away_is_one_error(
    testbed: Testbed, slow: xr.DataArray, set_timeouts: SetTimeouts
) -> None:
    """The error names the region, and the cluster that nobody could stop ends by itself."""
    set_timeouts(liveness_return=2.0, reopen=3.0)
    gateway = testbed[IOWA].gateway
    before = set(gateway.list_clusters())
    heard = When(gateway.kill)
    with xl.Session(testbed.endpoints(minimum=1, maximum=1), lease="5 s"):
        try:
            with pytest.raises(errors.EndpointError, match=str(IOWA)):
                slow.locality.compute(callbacks=[heard])
        finally:
            heard.join()
            gateway.restart(deadline=time.monotonic() + patience(30))
        result = slow.locality.compute()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))
    assert until(lambda: set(gateway.list_clusters()) <= before, seconds=60)


@pytest.mark.parametrize("status", [500, 503])
def test_errors_of_an_object_store_that_pass_cost_time(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray, status: int
) -> None:
    """The store's library asks again; the run does not notice."""
    objects = testbed[IOWA].objects
    heard = When(lambda: objects.fail_next(3, status=status))
    result = slow.locality.compute(callbacks=[heard])
    heard.join()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))
    assert [each.status for each in objects.requests()].count(status) == 3


def test_object_store_that_stalls_for_a_while_costs_time(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray
) -> None:
    """Nothing comes of it for 5 s, and then all."""

    def stall() -> None:
        with testbed[IOWA].objects.stalled():
            threading.Event().wait(5)

    heard = When(stall)
    result = slow.locality.compute(callbacks=[heard])
    heard.join()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))
    assert heard.lost == 0


def test_object_store_that_fails_for_good_is_the_tasks_error(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray
) -> None:
    """What the store's library raises at last reaches the user, and says where it was."""
    objects = testbed[IOWA].objects
    heard = When(lambda: objects.fail_next(10**6))
    try:
        with pytest.raises(OSError, match="Service Unavailable") as raised:
            slow.locality.compute(callbacks=[heard])
    finally:
        heard.join()
        objects.fail_next(0)
    assert any(str(IOWA) in note for note in raised.value.__notes__)
    result = slow.locality.compute()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))


@pytest.fixture
def staging(testbed: Testbed) -> Iterator[xl.Session]:
    """A session that stages values in Iowa's object store."""
    objects = testbed[IOWA].objects
    store = {"url": objects.url("staging"), "storage_options": objects.storage_options}
    with xl.Session(
        testbed.endpoints(minimum=1, maximum=1), transfer="stage", staging={str(IOWA): store}
    ) as session:
        yield session


def staged(n: int) -> da.Array:
    """Make large values in Oregon, one after another, and take each in Iowa."""

    # By value: clusters cannot import tests.
    def make(block_id: Any = None) -> Any:
        import time

        time.sleep(0.3)
        return np.ones((1, 2**20))

    made = da.map_blocks(
        make, chunks=((1,) * n, (2**20,)), dtype="f8", meta=np.empty((0, 0)), name="made"
    )
    made = xl.tag(made, str(OREGON))
    with dask.annotate(locality=str(IOWA)):
        return made.sum(1)


def keys_staged(testbed: Testbed) -> list[str]:
    """List what is in the staging store."""
    objects = testbed[IOWA].objects
    files = fsspec.filesystem("s3", **objects.storage_options, skip_instance_cache=True)
    listed: list[str] = files.find(objects.url("staging"))
    return listed


def test_errors_of_a_staging_store_that_pass_cost_time(
    testbed: Testbed, staging: xl.Session
) -> None:
    """The store's library asks again, and what was staged is deleted at the end."""
    objects = testbed[IOWA].objects
    heard = When(lambda: objects.fail_next(3))
    (sums,) = staging.compute(staged(6), callbacks=[heard])
    heard.join()
    np.testing.assert_array_equal(sums, np.full(6, 2.0**20))
    assert keys_staged(testbed) == []


def test_staging_store_that_fails_for_good_is_one_error(
    testbed: Testbed, staging: xl.Session
) -> None:
    """The error says what could not be staged, and a warning what was left in the store."""
    objects = testbed[IOWA].objects
    heard = When(lambda: objects.fail_next(10**6))
    try:
        with (
            pytest.warns(errors.LocalityWarning, match=r"could not be deleted .*Delete the folder"),
            pytest.raises(errors.TransferError, match="could not stage .*Service Unavailable"),
        ):
            staging.compute(staged(6), callbacks=[heard])
    finally:
        heard.join()
        objects.fail_next(0)
    (sums,) = staging.compute(staged(2))
    np.testing.assert_array_equal(sums, np.full(2, 2.0**20))
