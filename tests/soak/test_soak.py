"""Many computes with faults among them: no wrong result, and nothing that grows."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import intake
import numpy as np
import psutil
import pytest
import xarray as xr

import xr_locality as xl
from support.cut_link import CutLink
from support.polling import patience, until
from support.set_timeouts import SetTimeouts
from support.testbed_processes import processes_of
from xr_locality.execution.transport import cluster_links
from xr_locality.testing import Testbed
from xr_locality.testing.watchdog import marked_processes

#: Computes, and those that are not measured at first: they fill caches.
N_COMPUTES, N_WARM = 210, 60

#: Every so many computes something breaks.
FAULT_EVERY = 11

#: Which of the faults are links between clusters that are cut, and for how many seconds.
CUTS, CUT_SECONDS = (2, 6, 11, 17), 0.5

#: Seconds after which no more computes are begun: fewer than 200 fail the test.
BUDGET_SECONDS = 240.0

SEED = 20261124


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What this process and its clusters hold."""

    nbytes: int
    n_threads: int
    n_files: int
    n_processes: int
    n_clusters: int
    n_tasks: int


def measure(testbed: Testbed, session: xl.Session, links: Mapping[str, CutLink]) -> Footprint:
    """Measure, once what has ended is gone; what the links hold is not the library's."""
    gc.collect()
    process = psutil.Process()
    deadline = time.monotonic() + patience(15)
    while (n_tasks := count_tasks(session)) and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    return Footprint(
        nbytes=process.memory_info().rss,
        n_threads=process.num_threads() - sum(each.n_threads for each in links.values()),
        n_files=process.num_fds() - sum(each.n_files for each in links.values()),
        n_processes=len(list(marked_processes(testbed.marker))),
        n_clusters=sum(len(each.gateway.list_clusters()) for each in testbed.regions),
        n_tasks=n_tasks,
    )


def count_tasks(session: xl.Session) -> int:
    """Count what the schedulers hold."""

    def count(dask_scheduler: Any = None) -> int:
        return len(dask_scheduler.tasks)

    async def ask() -> int:
        assert session.resources.pool is not None
        open_ones = session.resources.pool.connections.values()
        return sum([await each.client.run_on_scheduler(count) for each in open_ones])

    assert session.resources.loop is not None
    total: int = session.resources.loop.run(ask())
    return total


def failing_of(values: xr.DataArray) -> xr.DataArray:
    """Make an array whose tasks fail."""

    # By value: clusters cannot import tests.
    def fail(block: Any) -> Any:
        raise ZeroDivisionError("the user's own")

    made: xr.DataArray = xr.apply_ufunc(
        fail, values, dask="parallelized", output_dtypes=[values.dtype]
    )
    return made


@contextmanager
def links_between(
    testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, CutLink]]:
    """Give workers of other regions a way of their own to each region's scheduler."""
    with ExitStack() as stack:
        links: dict[str, CutLink] = {}
        for each in testbed.regions:
            proxy = urlsplit(each.gateway.proxy_address)
            assert proxy.hostname is not None
            assert proxy.port is not None
            links[str(each.region)] = stack.enter_context(CutLink(proxy.hostname, proxy.port))

        def route_to(source: Any) -> tuple[str, Any]:
            name = source.scheduler_address.rpartition("/")[2]
            return f"gateway://127.0.0.1:{links[str(source.region)].port}/{name}", source.security

        monkeypatch.setattr(cluster_links, "route_to", route_to)
        yield links


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timeout(500)
def test_many_computes_with_faults(  # noqa: PLR0915 - one story
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_timeouts: SetTimeouts,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever fails, at random: each result is right, and nothing leaks."""
    set_timeouts(liveness_return=2.0)
    chance = random.Random(SEED)
    rng = np.random.default_rng(SEED)
    told: Counter[str] = Counter()
    with Testbed() as testbed, links_between(testbed, monkeypatch) as links:
        urls = {}
        for name, region in zip("ab", testbed.regions, strict=True):
            values = rng.random((8, 6, 8), dtype="float32")
            dataset = xr.Dataset({"t": (("time", "y", "x"), values)})
            urls[name] = testbed.write(dataset.chunk(time=2), region.region, "t.zarr")
        catalog: Any = intake.open_catalog(str(testbed.catalog(tmp_path / "catalog.yaml", urls)))
        a, b = catalog.a.to_dask().t, catalog.b.to_dask().t
        failing = failing_of(b)
        works = [
            a.mean("time") - b.mean("time"),
            (a.isel(time=0) * b.isel(time=1)).sum(),
            a.max("time"),
            (a - b).std("time"),
        ]
        expected = [work.compute(scheduler="sync") for work in works]

        def kill(kind: str) -> Callable[[], None]:
            def act() -> None:
                region = chance.choice(testbed.regions).region
                for process in processes_of(testbed, region, kind):
                    process.kill()

            return act

        def cut() -> None:
            link = links[chance.choice(sorted(links))]
            link.cut()
            threading.Event().wait(CUT_SECONDS)
            link.mend()

        faults = {"worker": kill("worker"), "scheduler": kill("scheduler"), "cut": cut}
        # Two schedulers, as a new cluster takes its time; otherwise workers and tasks.
        kinds = {FAULT_EVERY * 8: "scheduler", FAULT_EVERY * 15: "scheduler"}
        kinds |= {FAULT_EVERY * number: "cut" for number in CUTS}
        started = time.monotonic()
        with xl.Session(
            testbed.endpoints(minimum=1, maximum=1), objective="bytes", transfer="direct"
        ) as session:
            warm: Footprint | None = None
            for number in range(N_COMPUTES):
                if time.monotonic() - started > BUDGET_SECONDS:
                    break
                if number == N_WARM:
                    warm = measure(testbed, session, links)
                which = chance.randrange(len(works))
                fault = kinds.get(number, chance.choice(["worker", "task", "task"]))
                if number == 0 or number % FAULT_EVERY:
                    fault = "none"
                told[fault] += 1
                if fault == "task":
                    with pytest.raises(ZeroDivisionError, match="the user's own"):
                        (a.mean("time") - failing.mean("time")).locality.compute()
                    continue
                thread = None
                if fault in faults:
                    delay = chance.random() * 0.3
                    thread = threading.Timer(delay, faults[fault])
                    thread.start()
                result = works[which].locality.compute()
                if thread is not None:
                    thread.join()
                xr.testing.assert_identical(result, expected[which])
            seconds = time.monotonic() - started
            n_done = sum(told.values())
            end = measure(testbed, session, links)
        assert [each.gateway.list_clusters() for each in testbed.regions] == [(), ()]
        left = [
            each
            for region in testbed.regions
            for kind in ("scheduler", "worker")
            for each in gone_soon(testbed, region.region, kind)
        ]
    assert warm is not None, f"only {n_done} computes in {seconds:.0f} s"
    with capsys.disabled():
        print(  # noqa: T201 - its figures are what it is for
            f"\nSoak: {n_done} computes in {seconds:.0f} s, faults {dict(told)}; "
            f"{sum(each.n_reset for each in links.values())} connections reset; "
            f"after {N_WARM} computes {warm}, at the end {end}."
        )
    assert n_done >= 200, f"only {n_done} computes in {seconds:.0f} s"
    assert told["cut"] == len(CUTS)
    assert any(each.n_reset for each in links.values())
    assert not left
    assert end.n_tasks == 0
    assert end.n_clusters <= 2
    assert end.n_processes <= warm.n_processes
    assert end.n_threads <= warm.n_threads + 4
    assert end.n_files <= warm.n_files + 10
    assert end.nbytes <= warm.nbytes + 64 * 2**20


def gone_soon(testbed: Testbed, region: xl.Region, kind: str) -> list[psutil.Process]:
    """List what still runs of a region's clusters a while after they were ended."""
    until(lambda: not processes_of(testbed, region, kind), seconds=15)
    return processes_of(testbed, region, kind)
