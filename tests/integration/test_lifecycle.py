"""What lives how long, on real gateways: pools, leases, idle timeouts, forks, awaits."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
import xarray as xr

import xr_locality as xl
from support.answers import assert_same
from support.polling import patience, stays, until
from xr_locality import errors
from xr_locality.cli import main
from xr_locality.testing import Testbed

WEST = "aws:us-west-2"

#: Seconds of the administrator's idle timeout.
IDLE_SECONDS = 2.0


@pytest.fixture(scope="module")
def idle_bed() -> Iterator[Testbed]:
    """One region whose gateway ends idle clusters after two seconds."""
    with Testbed([WEST], idle_timeout=IDLE_SECONDS) as bed:
        yield bed


KILLED = """
import os, signal, sys, json, warnings
import dask
dask.config.set(locality=json.loads(sys.stdin.readline()))
import dask.array as da
import xr_locality as xl

here = xl.tag(da.ones(4, chunks=2), "aws:us-west-2")
session = xl.Session()
assert session.compute(here.sum())[0] == 4
{more}
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def started(script: str, config: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Run a script that opens a cluster, and wait until it has; end it in good order."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(config) + "\n")
    process.stdin.flush()
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        # The end of its input is what it waits for.
        process.communicate(timeout=patience(30))


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it as ``kill -9`` does."""
    process.kill()
    process.wait()


# The lease


PLUGIN = """
from distributed.diagnostics.plugin import WorkerPlugin

class Administrators(WorkerPlugin):
    name = "administrators"
    def setup(self, worker):
        worker.ours = True

async def register():
    (connection,) = session.resources.pool.connections.values()
    await connection.client.register_plugin(Administrators())

session.resources.loop.run(register())
"""


def test_lease_ends_the_cluster_of_a_killed_process(testbed: Testbed) -> None:
    """After kill -9 the scheduler hears nothing of us and ends the cluster, plugins or not."""
    gateway = testbed[WEST].gateway
    before = set(gateway.list_clusters())
    # With a worker that stays, for a plug-in waits for those that are there.
    config = testbed.config(minimum=1) | {"lease": "2 seconds"}
    with started(KILLED.format(more=PLUGIN), config) as process:
        (name,) = set(gateway.list_clusters()) - before
        assert stays(lambda: name in gateway.list_clusters(), seconds=4), "its process lives"
        kill(process)
        assert until(lambda: name not in gateway.list_clusters(), seconds=15)


def test_lease_leaves_adopted_clusters_alone() -> None:
    """A scheduler that somebody else runs is not ended, nor is anything left running on it."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        config = {"endpoints": {WEST: cluster.scheduler_address}, "lease": "0.5 seconds"}
        with started(KILLED.format(more=""), config) as process:
            assert not cluster.scheduler.__dict__.get("_xr_locality_watches")
            kill(process)
        assert stays(lambda: cluster.scheduler.status.name == "running", seconds=3)


# The administrator's idle timeout


def test_persisted_data_keep_a_cluster_from_idling_out(idle_bed: Testbed) -> None:
    """While a persisted object lives so does its cluster; afterwards the timeout holds."""
    import dask.array as da

    gateway = idle_bed[WEST].gateway
    ones = xl.tag(da.ones(4, chunks=2), WEST)
    with xl.Session(idle_bed.endpoints()) as session:
        (held,) = session.persist(ones + 1)
        (name,) = gateway.list_clusters()
        assert stays(lambda: name in gateway.list_clusters(), seconds=3 * IDLE_SECONDS)
        assert held.sum().compute() == 8
        del held
        assert until(lambda: name not in gateway.list_clusters(), seconds=15)
        assert session.compute(ones.sum())[0] == 4


def test_a_run_keeps_clusters_that_wait(idle_bed: Testbed) -> None:
    """A region that has nothing to do yet in a run is not ended as idle."""
    gateway = idle_bed[WEST].gateway

    async def body() -> None:
        (endpoint,) = idle_bed.endpoints().values()
        region = xl.Region.parse(WEST)
        async with await endpoint.open(region=region, deadline_seconds=patience(60)) as connection:
            await connection.ensure_workers(1)
            waiting = asyncio.to_thread(
                stays, lambda: bool(gateway.list_clusters()), seconds=3 * IDLE_SECONDS
            )
            assert await waiting
            await connection.restore(1)
            gone = asyncio.to_thread(until, lambda: not gateway.list_clusters(), seconds=15)
            assert await gone

    asyncio.run(body())


# The ledger


def test_clusters_of_killed_processes_are_listed_and_reaped(
    testbed: Testbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`clusters` fails while something is left over; `--reap` ends that and nothing else."""
    gateway = testbed[WEST].gateway
    others = set(gateway.list_clusters())
    config = testbed.config() | {"lease": "never", "state-directory": str(tmp_path)}
    secrets = [each.gateway.password for each in testbed]
    script = KILLED.format(more="")
    with started(script, config) as lost, started(script, config):
        kill(lost)
        with dask.config.set({"locality": config}):
            assert main(["clusters", "--json"]) == 1
            found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
            mine = {name: each for name, each in found.items() if name not in others}
            assert sorted(each["owner"] for each in mine.values()) == ["alive", "gone"]
            assert all(each["region"] == WEST and each["seconds"] > 0 for each in mine.values())
            assert all(found[name]["owner"] == "unknown" for name in others)
            noted = [path.read_text() for path in tmp_path.rglob("*.json")]
            assert len(noted) == 2
            assert not any(secret in text for secret in secrets for text in noted)

            assert main(["clusters", "--reap"]) == 0
            assert "ended" in capsys.readouterr().out
            (left,) = set(gateway.list_clusters()) - others
            assert mine[left]["owner"] == "alive"
            assert main(["clusters"]) == 0
            assert f"{WEST}  {left}" in capsys.readouterr().out
            xl.Session.current().close()
    assert set(gateway.list_clusters()) == others
    assert list(tmp_path.rglob("*.json")) == []


def test_a_gateway_that_does_not_answer_fails_the_list(
    testbed: Testbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be asked is said, and is no success."""
    config = testbed.config() | {"state-directory": str(tmp_path)}
    config["endpoints"][WEST]["gateway"] = "http://127.0.0.1:9"
    with dask.config.set({"locality": config}):
        assert main(["clusters", "--reap"]) == 1
        xl.Session.current().close()
    assert f"{WEST}  http://127.0.0.1:9  not asked: " in capsys.readouterr().out


# One pool in a process


def test_sessions_with_equal_endpoints_share_clusters(testbed: Testbed, a: xr.Dataset) -> None:
    """A second session starts nothing anew, and only the last one to close ends it."""
    endpoints = testbed.endpoints(minimum=0, maximum=2)
    gateway = testbed[WEST].gateway
    before = set(gateway.list_clusters())
    mean = a.t.mean("time")
    with xl.Session(endpoints) as outer:
        mean.locality.compute()
        (name,) = set(gateway.list_clusters()) - before
        with xl.Session(testbed.endpoints(minimum=0, maximum=2)):
            mean.locality.compute()
            mean.locality.compute(endpoints=endpoints)
        assert set(gateway.list_clusters()) - before == {name}
        mean.locality.compute()
        assert len(outer.reports) == 2
    assert set(gateway.list_clusters()) == before


def test_start_is_told_with_what_it_waits_for(testbed: Testbed, a: xr.Dataset) -> None:
    """Until a cluster is there, callbacks hear what is waited for, and how long it may take."""
    heard: list[Any] = []
    with xl.Session(testbed.endpoints(maximum=1), start_timeout="40 seconds") as session:
        session.compute(a.t.mean("time"), callbacks=[heard.append])
        told = [each.facts for each in heard if each.what == "starting"]
        assert {str(each["region"]) for each in told} == {WEST}
        assert {each["deadline_seconds"] for each in told} == {40.0}
        assert any("waiting for cluster" in each["doing"] for each in told)
        assert heard[-1].what == "finished"
        heard.clear()
        session.compute(a.t.mean("time"), callbacks=[heard.append])
        assert "starting" not in {each.what for each in heard}


def test_errors_of_a_plan_come_before_any_start(testbed: Testbed, a: xr.Dataset) -> None:
    """Endpoints are checked while planning goes on, but over the budget nothing starts."""
    before = [each.gateway.list_clusters() for each in testbed]
    with xl.Session(testbed.endpoints(maximum=1), max_egress="1 B") as session:
        with pytest.raises(errors.BudgetError):
            session.compute(a.t)
        assert session.resources.pool is not None
        assert dict(session.resources.pool.connections) == {}
    assert [each.gateway.list_clusters() for each in testbed] == before


# Threads, awaits, forks


def test_two_threads_with_different_cuts(session: xl.Session, a: xr.Dataset, b: xr.Dataset) -> None:
    """Two computes at once over the same schedulers, cut differently, are each right."""
    mean = a.t - b.t.mean("time")
    first = (a.t.mean("time") - b.t.mean("time")).rename("first")
    second = (mean.isel(time=slice(0, 4)).mean("time") + b.t.max("time")).rename("second")
    wanted = [first, second] * 3
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda each: session.compute(each)[0], wanted))
    for got, asked in zip(results, wanted, strict=True):
        assert_same(got, asked.compute(scheduler="sync"))
    assert len({tuple(each.plan.boundaries) for each in session.reports[-6:]}) == 2


def test_await_leaves_the_event_loop_free(
    session: xl.Session, a: xr.Dataset, b: xr.Dataset
) -> None:
    """Awaited, a compute gives the same and its caller's loop goes on meanwhile."""
    difference = a.t.mean("time") - b.t.mean("time")

    async def body() -> tuple[Any, float]:
        longest, going = 0.0, True

        async def tick() -> None:
            nonlocal longest
            while going:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - before)

        ticking = asyncio.create_task(tick())
        first, second = await asyncio.gather(
            xl.compute(difference, asynchronous=True),
            xl.compute(difference + 1, asynchronous=True),
        )
        going = False
        await ticking
        return (first[0], second[0]), longest

    (first, second), longest = asyncio.run(body())
    assert_same(first, difference.compute(scheduler="sync"))
    assert_same(second, (difference + 1).compute(scheduler="sync"))
    assert longest < 1.0


def test_await_raises_the_plans_errors(session: xl.Session, a: xr.Dataset) -> None:
    """What is wrong is raised by the await, not by the call."""

    async def body() -> None:
        computing = xl.compute(a.t, asynchronous=True, max_egress="1 B")
        with pytest.raises(errors.BudgetError):
            await computing
        with pytest.raises(errors.ConfigurationError, match="no_such"):
            await xl.compute(a.t, asynchronous=True, no_such=1)

    asyncio.run(body())


def test_cancelling_the_await_cancels_in_every_region(
    session: xl.Session, a: xr.Dataset, b: xr.Dataset
) -> None:
    """A cancelled await returns when the run has ended, and no scheduler keeps its tasks."""
    started = threading.Event()

    def slowly(values: Any) -> Any:
        import time

        time.sleep(0.3)
        return values

    def callback(event: Any) -> None:
        if event.what == "submitted":
            started.set()

    slow = [
        xr.apply_ufunc(slowly, each.t, dask="parallelized", output_dtypes=[each.t.dtype])
        for each in (a, b)
    ]
    difference = slow[0].mean("time") - slow[1].mean("time")

    async def body() -> None:
        computing = asyncio.create_task(
            session.compute(difference, callbacks=[callback], asynchronous=True)
        )
        assert await asyncio.to_thread(started.wait, 30)
        computing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await computing

    def count(dask_scheduler: Any = None) -> int:
        return len(dask_scheduler.tasks)

    async def left() -> int:
        assert session.resources.pool is not None
        asked = [
            each.client.run_on_scheduler(count)
            for each in session.resources.pool.connections.values()
        ]
        return sum(await asyncio.gather(*asked))

    asyncio.run(body())
    assert session.resources.loop is not None
    loop = session.resources.loop
    assert until(lambda: loop.run(left()) == 0, seconds=15)
    assert_same(session.compute(a.t.mean())[0], a.t.mean().compute(scheduler="sync"))


FORKED = """
import os, sys, json, gc, warnings
import dask
dask.config.set(locality=json.loads(sys.stdin.readline()))
import dask.array as da
import xr_locality as xl

here = xl.tag(da.ones(4, chunks=2), "aws:us-west-2")
session = xl.Session()
with session:
    assert session.compute(here.sum())[0] == 4
    xl.Session.current()
    held = session.persist(here + 1)[0]
    child = os.fork()
    if child == 0:
        total = held.sum()
        for use in (lambda: session.compute(total), lambda: total.compute(scheduler="sync")):
            try:
                use()
            except xl.errors.ExecutionError as error:
                assert "forked" in str(error), error
            else:
                os._exit(5)
        session.close()
        del session, held, total
        gc.collect()
        with xl.Session() as own:
            assert own.compute(here.sum())[0] == 4
            # Larger than what distributed does in a thread that the child has not.
            assert own.compute(xl.tag(da.ones(3_000_000), "aws:us-west-2"))[0].sum() == 3_000_000
        # In full, with all that runs when an interpreter ends.
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert session.compute(here.sum())[0] == 4
    assert held.sum().compute(scheduler="sync") == 8
print("ready", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_leaves_the_parents_clusters_alone(testbed: Testbed) -> None:
    """A child has an error or clusters of its own, and the parent's session goes on."""
    gateway = testbed[WEST].gateway
    before = gateway.list_clusters()
    process = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
        input=json.dumps(testbed.config()) + "\n",
        capture_output=True,
        text=True,
        timeout=patience(90),
        check=False,
    )
    assert process.stdout == "ready\n", process.stderr
    assert process.returncode == 0
    assert "Traceback" not in process.stderr
    assert gateway.list_clusters() == before
