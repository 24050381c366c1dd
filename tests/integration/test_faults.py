"""Faults on real processes: the right answer or one clear error, and nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import dask
import pytest
import xarray as xr

import xr_locality as xl
from support.hearing import IOWA, OREGON, When, has_crossed, tasks_are_gone
from support.polling import patience
from support.testbed_processes import processes_of
from xr_locality import errors
from xr_locality.testing import Testbed


def interrupt_when(started: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    """Do something to a run, from another thread, once it has started."""

    def wait() -> None:
        deadline = time.monotonic() + patience(30)
        while not started() and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.fixture
def watched(session: xl.Session) -> tuple[threading.Event, Callable[[Any], None]]:
    """An event that is set when a run has been submitted, and the callback that sets it."""
    submitted = threading.Event()

    def callback(event: Any) -> None:
        if event.what == "submitted" and event.facts["region"] == xl.Region.parse(
            "gcp:us-central1"
        ):
            submitted.set()

    return submitted, callback


@pytest.mark.parametrize("region", ["aws:us-west-2", "gcp:us-central1"])
def test_killed_worker_costs_a_recompute(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray, watched: Any, region: str
) -> None:
    """A worker killed on either side is made up for, and the answer is right."""
    expected = slow.compute(scheduler="sync")
    slow.locality.compute()
    submitted, callback = watched

    def kill() -> None:
        for process in processes_of(testbed, region, "worker"):
            process.kill()

    killer = interrupt_when(submitted.is_set, kill)
    result = slow.locality.compute(callbacks=[callback])
    killer.join()
    xr.testing.assert_identical(result, expected)


@pytest.fixture
def many(a: xr.Dataset, b: xr.Dataset) -> xr.DataArray:
    """A mean in Iowa for which eight values cross, one after another, and wait for their turn."""

    # Defined here, so that they are sent by value: clusters cannot import tests.
    def make(values: Any) -> Any:
        import time

        time.sleep(0.1)
        return values + 1

    def subtract(one: Any, other: Any) -> Any:
        import time

        time.sleep(0.25)
        return one - other

    kept: dict[str, Any] = {"dask": "parallelized", "output_dtypes": [a.t.dtype]}
    with dask.annotate(locality=str(OREGON)):
        made = xr.apply_ufunc(make, a.t, **kept)
    with dask.annotate(locality=str(IOWA)):
        mean: xr.DataArray = xr.apply_ufunc(subtract, made, b.t, **kept).mean()
    return mean


@pytest.mark.parametrize("times", [1, 8], ids=["during", "after"])
@pytest.mark.parametrize("region", [OREGON, IOWA], ids=str)
def test_worker_killed_around_a_transfer_costs_a_recompute(
    testbed: Testbed, session: xl.Session, many: xr.DataArray, region: xl.Region, times: int
) -> None:
    """Killed while values cross or when all have crossed, it is made up for."""
    expected = many.compute(scheduler="sync")
    many.locality.compute()

    def kill() -> None:
        for process in processes_of(testbed, str(region), "worker"):
            process.kill()

    heard = When(kill, happens=has_crossed, times=times)
    result = many.locality.compute(callbacks=[heard])
    heard.join()
    xr.testing.assert_identical(result, expected)
    assert tasks_are_gone(session)


@pytest.mark.parametrize("region", ["aws:us-west-2", "gcp:us-central1"])
def test_killed_scheduler_is_made_up_for(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray, watched: Any, region: str
) -> None:
    """A scheduler that dies on either side is replaced, and what is unfinished is run again."""
    expected = slow.compute(scheduler="sync")
    slow.locality.compute()
    submitted, callback = watched

    def kill() -> None:
        for process in processes_of(testbed, region, "scheduler"):
            process.kill()

    killer = interrupt_when(submitted.is_set, kill)
    result = slow.locality.compute(callbacks=[callback])
    killer.join()
    xr.testing.assert_identical(result, expected)
    assert tasks_are_gone(session)


@pytest.mark.parametrize("region", [OREGON, IOWA], ids=str)
def test_killed_scheduler_is_made_up_for_where_values_are_relayed(
    testbed: Testbed, session: xl.Session, many: xr.DataArray, region: xl.Region
) -> None:
    """What this process has carried to a region that is lost, it carries there again."""
    expected = many.compute(scheduler="sync")

    def kill() -> None:
        for process in processes_of(testbed, str(region), "scheduler"):
            process.kill()

    # By way of this machine: its own share of the crossing is told first.
    heard = When(kill, happens=lambda event: event.what == "moved", times=3)
    result = many.locality.compute(callbacks=[heard], transfer="relay")
    heard.join()
    xr.testing.assert_identical(result, expected)
    assert tasks_are_gone(session)


def test_scheduler_killed_while_results_are_left_there(
    testbed: Testbed, session: xl.Session, many: xr.DataArray
) -> None:
    """Persisted results of a region that is lost while they are made are made again."""

    def kill() -> None:
        for process in processes_of(testbed, str(IOWA), "scheduler"):
            process.kill()

    heard = When(kill)
    kept = many.locality.persist(callbacks=[heard])
    heard.join()
    assert heard.lost
    result = kept.locality.compute()
    xr.testing.assert_identical(result, many.compute(scheduler="sync"))


def test_stopped_cluster_is_replaced(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray, watched: Any
) -> None:
    """A cluster stopped on the server is opened again, and only once in a run."""
    slow.locality.compute()
    submitted, callback = watched
    pool, loop = session.resources.pool, session.resources.loop
    assert pool is not None
    assert loop is not None
    connection: Any = pool.connections[xl.Region.parse("gcp:us-central1")]

    async def stop() -> None:
        server = connection.endpoint.server(connection.region)
        try:
            await server.stop(connection.cluster_name)
        finally:
            await server.close()

    stopper = interrupt_when(submitted.is_set, lambda: loop.run(stop()))
    xr.testing.assert_identical(
        slow.locality.compute(callbacks=[callback]), slow.compute(scheduler="sync")
    )
    stopper.join()
    assert pool.connections[connection.region] is not connection
    xr.testing.assert_identical(slow.locality.compute(), slow.compute(scheduler="sync"))


def test_interrupt_cancels_in_every_region(
    testbed: Testbed, session: xl.Session, slow: xr.DataArray, watched: Any
) -> None:
    """Ctrl-C ends the run, leaves no task behind, and the session still works."""
    submitted, callback = watched
    interrupter = interrupt_when(submitted.is_set, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        slow.locality.compute(callbacks=[callback])
    interrupter.join()
    assert tasks_are_gone(session)
    xr.testing.assert_identical(slow.locality.compute(), slow.compute(scheduler="sync"))


def test_success_leaves_no_task(session: xl.Session, slow: xr.DataArray) -> None:
    """After a run the schedulers hold nothing of it."""
    slow.locality.compute()
    assert tasks_are_gone(session)


def test_own_exception_reaches_the_user(session: xl.Session, a: xr.Dataset, b: xr.Dataset) -> None:
    """A task's exception comes as it is, with a note of its key, region and endpoint."""

    def fail(values: Any) -> Any:
        raise ZeroDivisionError("the user's own")

    failing = xr.apply_ufunc(fail, b.t, dask="parallelized", output_dtypes=[b.t.dtype])
    with pytest.raises(ZeroDivisionError, match="the user's own") as caught:
        (a.t.mean("time") - failing.mean("time")).locality.compute()
    (note,) = caught.value.__notes__
    assert "gcp:us-central1" in note
    assert "mean_agg" in note
    assert "gateway" in note
    assert tasks_are_gone(session)


SCRIPT = """
import sys, warnings
warnings.simplefilter("ignore")
import dask, intake
import xr_locality
{configure}
cat = intake.open_catalog({catalog!r})
difference = cat.a.to_dask().t.mean("time") - cat.b.to_dask().t.mean("time")
print("sum", float(difference.locality.compute().sum()))
sys.stdout.flush()
{end}
"""


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "1 / 0"])
def test_exit_without_close_stops_the_clusters(testbed: Testbed, catalog: Any, end: str) -> None:
    """The default session closes when the interpreter exits, however it exits."""
    script = textwrap.dedent(SCRIPT).format(
        configure="dask.config.set(locality=__import__('json').loads(sys.stdin.read()))",
        catalog=str(catalog.path),
        end=end,
    )
    import json

    before = [each.gateway.list_clusters() for each in testbed.regions]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(testbed.config()),
        capture_output=True,
        text=True,
        timeout=patience(90),
        check=False,
    )
    assert "sum" in done.stdout, done.stderr
    assert done.returncode == {"pass": 0, "raise SystemExit(3)": 3, "1 / 0": 1}[end]
    assert [each.gateway.list_clusters() for each in testbed.regions] == before


def test_falls_back_to_relay_where_workers_cannot_dial(
    testbed: Testbed, a: xr.Dataset, b: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where workers do not reach the other gateway's proxy, values go by way of here."""
    from xr_locality.execution.remote import rpc_client
    from xr_locality.execution.transport import cluster_links

    def behind_a_firewall(source: Any) -> tuple[str, Any]:
        # Nothing listens on that port: only this machine reaches the real one.
        name = source.scheduler_address.rpartition("/")[2]
        return f"gateway://127.0.0.1:9/{name}", source.security

    monkeypatch.setattr(rpc_client, "FIRST_CONTACT_SECONDS", 2.0)
    monkeypatch.setattr(cluster_links, "route_to", behind_a_firewall)
    difference = a.t.mean("time") - b.t.mean("time")
    # Not those of the module's session, which has its ways already, and would be shared.
    with xl.Session(testbed.endpoints(minimum=1, maximum=2)) as session:
        with pytest.warns(xl.errors.LocalityWarning, match="by way of this machine"):
            result = difference.locality.compute()
        xr.testing.assert_identical(result, difference.compute(scheduler="sync"))
        again = difference.locality.compute()
        assert session.reports[-1].moved == session.reports[-2].moved
        with pytest.raises(errors.TransferError, match=r"transfer='relay'"):
            difference.locality.compute(transfer="direct")
    xr.testing.assert_identical(again, result)
