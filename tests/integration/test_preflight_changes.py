"""Clusters that change between and during runs: late workers, lost ones, ones made anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, Worker, get_worker

import xr_locality as xl
from support.cut_link import CutLink
from support.polling import patience
from xr_locality import errors
from xr_locality.testing import Testbed
from xr_locality.testing.watchdog import marked_processes

AWS = "aws:us-west-2"


class Aged(Worker):
    """A worker that says it has an old numcodecs and zarr."""

    #: Set once it was asked.
    asked = threading.Event()
    #: Set where tasks are to fail.
    fails = threading.Event()

    def versions(self, packages: Any = ()) -> dict[str, Any]:
        """Tell versions, as a worker with an old image would."""
        answer: dict[str, Any] = super().versions(packages)
        answer["packages"] |= {"zarr": "1.0.0"}
        self.asked.set()
        return answer


def start(n_workers: int) -> LocalCluster:
    """Start a cluster that is reached over TCP."""
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=":0",
        silence_logs=50,
    )


def zarr_in(path: Path) -> da.Array:
    """Make a small array that is read from a zarr store."""
    import zarr

    zarr.create_array(path, shape=(4,), chunks=(2,), dtype="f8")[:] = np.ones(4)
    return xl.tag(da.from_zarr(str(path)), AWS)


def test_late_workers_are_compared_while_a_run_goes_on(tmp_path: Path) -> None:
    """A worker that joins between two runs, with another zarr, is worth one warning."""
    array = zarr_in(tmp_path / "a.zarr")

    def until_asked(values: Any) -> Any:
        try:
            get_worker()
        except ValueError:
            return values
        assert Aged.asked.wait(30)
        # What was heard is to arrive before the run ends.
        time.sleep(0.5)
        return values

    held = array.map_blocks(until_asked, dtype=array.dtype, meta=np.ones(0))
    with start(1) as cluster, xl.Session({AWS: cluster.scheduler_address}) as session:
        Aged.asked.set()
        assert session.compute(held.sum())[0] == 4
        Aged.asked.clear()

        async def join() -> Worker:
            return await Aged(cluster.scheduler_address, nthreads=1)

        late = cluster.sync(join)
        try:
            with pytest.warns(errors.LocalityWarning, match="zarr 1.0.0 on its workers that came"):
                assert session.compute(held.sum())[0] == 4
            assert session.compute(held.sum())[0] == 4
        finally:
            cluster.sync(late.close)


def test_late_workers_are_told_of_when_a_run_fails(tmp_path: Path) -> None:
    """What a late worker lacks may be why a run failed, so it is said beside the error."""
    array = zarr_in(tmp_path / "a.zarr")

    def fail(values: Any) -> Any:
        try:
            get_worker()
        except ValueError:
            return values
        if Aged.fails.is_set():
            raise ZeroDivisionError("in a task")
        return values

    Aged.fails.clear()
    failing = array.map_blocks(fail, dtype=array.dtype, meta=np.ones(0))
    with start(1) as cluster, xl.Session({AWS: cluster.scheduler_address}) as session:
        assert session.compute(failing.sum())[0] == 4
        Aged.fails.set()

        async def join() -> Worker:
            return await Aged(cluster.scheduler_address, nthreads=1)

        late = cluster.sync(join)
        try:
            with (
                pytest.warns(errors.LocalityWarning, match="zarr 1.0.0 on its workers that came"),
                pytest.raises(ZeroDivisionError),
            ):
                session.compute(failing.sum(), retries=0)
        finally:
            cluster.sync(late.close)


# Read by every process of the testbed's cluster as it starts.
CUSTOMIZE = """
import os, sys
here = os.path.dirname(__file__)
if "XR_LOCALITY_TESTBED_REGION" in os.environ and os.path.exists(os.path.join(here, "aged")):
    sys.path.insert(0, os.path.join(here, "site"))
"""


@pytest.mark.filterwarnings("ignore:Mismatched versions")
def test_a_cluster_made_anew_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that replaces a lost one, and has another dask, ends the run in an error that says so."""
    (tmp_path / "sitecustomize.py").write_text(CUSTOMIZE)
    facts = tmp_path / "site" / "dask-2020.1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: dask\nVersion: 2020.1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")

    def slowly(values: Any) -> Any:
        import time

        time.sleep(0.2)
        return values

    with Testbed([AWS]) as bed, xl.Session(bed.endpoints(minimum=1, maximum=1)) as session:
        ones = xl.tag(da.ones(40, chunks=1), AWS).map_blocks(slowly, dtype="f8", meta=np.ones(0))
        assert session.compute(ones[:2].sum())[0] == 2

        def lose(event: Any) -> None:
            if event.what == "submitted":
                (tmp_path / "aged").touch()
                for process in marked_processes(bed.marker):
                    if "scheduler" in process.cmdline():
                        process.kill()

        with pytest.raises(errors.EndpointError, match="dask 2020.1.0 on its sch") as caught:
            session.compute(ones.sum(), callbacks=[lose])
        assert any("opened again for" in note for note in caught.value.__notes__)
        # The gateway takes a moment to see that the first one's scheduler has gone.
        deadline = time.monotonic() + patience(20)
        while bed[AWS].gateway.list_clusters() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert bed[AWS].gateway.list_clusters() == ()


@pytest.fixture
def looking() -> Iterator[tuple[LocalCluster, CutLink]]:
    """A cluster without workers behind a link that can be cut."""
    with ExitStack() as stack:
        cluster = stack.enter_context(start(0))
        where = urlsplit(cluster.scheduler_address)
        assert where.hostname is not None
        assert where.port is not None
        yield cluster, stack.enter_context(CutLink(where.hostname, where.port))


@pytest.mark.parametrize("lost", ["scheduler-closes", "link-cut"])
def test_lost_while_looked_at(
    looking: tuple[LocalCluster, CutLink], tmp_path: Path, lost: str
) -> None:
    """A cluster lost while it is looked at is that, and not one with unfit packages."""
    cluster, link = looking
    array = zarr_in(tmp_path / "a.zarr")

    def lose() -> None:
        while not any("preflight" in str(key) for key in list(cluster.scheduler.tasks)):
            time.sleep(0.02)
        if lost == "link-cut":
            link.cut()
        else:
            cluster.close()

    losing = threading.Thread(target=lose)
    with xl.Session({AWS: f"tcp://127.0.0.1:{link.port}"}, start_timeout="4 seconds") as session:
        losing.start()
        with pytest.raises(errors.EndpointError) as caught:
            session.compute(array.sum())
        losing.join(30)
    assert caught.value.region == AWS
    assert "packages may not fit" not in str(caught.value)
    assert "has no worker" not in str(caught.value)


def test_without_workers_says_so(looking: tuple[LocalCluster, CutLink], tmp_path: Path) -> None:
    """A cluster that is there and has no worker in time is told apart from a lost one."""
    _, link = looking
    array = zarr_in(tmp_path / "a.zarr")
    with (
        xl.Session({AWS: f"tcp://127.0.0.1:{link.port}"}, start_timeout="2 seconds") as session,
        pytest.raises(errors.EndpointError, match="has no worker after 2 seconds"),
    ):
        session.compute(array.sum())


def test_busy_workers_are_no_problem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where workers are there and busy, the run is sent all the same, and waits its turn."""
    array = zarr_in(tmp_path / "a.zarr")
    with (
        start(1) as cluster,
        xl.Session({AWS: cluster.scheduler_address}, start_timeout="1 second") as session,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        busy = client.submit(time.sleep, 3, pure=False)
        assert session.compute(array.sum())[0] == 4
        assert busy.done()
    assert "its 1 workers are busy" in caplog.text
