"""Every way for values to cross, between clusters of processes of their own."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

import xr_locality as xl
from support.polling import patience
from xr_locality import errors
from xr_locality.execution import remote, submission

AWS, GCP = "aws:us-west-2", "gcp:us-central1"
SIDE = 600
NBYTES = SIDE * SIDE * 8


def crossing(n: int, make: Callable[..., Any] | None = None, *, take: Any = np.sum) -> da.Array:
    """Make arrays of 2.9 MB in the first region, and take each in the second."""

    def block(block_id: Any = None) -> Any:
        # Neither in C's order nor in Fortran's.
        values = np.arange(SIDE * SIDE, dtype="f8").reshape(1, SIDE, SIDE) + block_id[0]
        return values.transpose(0, 2, 1)

    chunks = ((1,) * n, (SIDE,), (SIDE,))
    made = da.map_blocks(make or block, chunks=chunks, dtype="f8", meta=np.empty((0, 0, 0)))
    made = xl.tag(made, AWS)
    with dask.annotate(locality=GCP):
        taken: da.Array = made.map_blocks(
            lambda values: np.reshape(take(values), (1, 1, 1)),
            chunks=((1,) * n, (1,), (1,)),
            dtype="f8",
            meta=np.empty((0, 0, 0)),
        )
    return taken


def files_in(folder: Path) -> list[Path]:
    """List all files below a folder, once nobody writes there any more."""
    deadline = monotonic() + patience(20)
    while True:
        # A worker that was writing when the run ended removes what it wrote.
        files = [path for path in folder.rglob("*") if path.is_file()]
        if not files or monotonic() > deadline:
            return files
        sleep(0.05)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An object store in the second region: a folder that all processes see."""
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("transfer", ["direct", "relay", "stage", "auto"])
def test_values_cross_unchanged_and_are_counted(
    clusters: dict[str, Any], store: Path, transfer: str
) -> None:
    """However values cross, the answer is the same and every byte is counted."""
    wanted = crossing(5)
    with xl.Session(clusters, transfer=transfer, staging={GCP: str(store)}) as session:
        (got,) = session.compute(wanted)
        (report,) = session.reports
    np.testing.assert_array_equal(got, wanted.compute(scheduler="sync"))
    moved = {(str(one), str(other)): nbytes for (one, other), nbytes in report.moved.items()}
    result = {(GCP, "local"): 5 * 8}
    if transfer == "relay":
        assert moved == {(AWS, "local"): 5 * NBYTES, ("local", GCP): 5 * NBYTES} | result
    elif transfer == "stage":
        receipts = moved.pop((AWS, "local"))
        assert moved == {(AWS, GCP): 5 * NBYTES, ("local", GCP): receipts} | result
        assert 0 < receipts < 5000
    else:
        assert moved == {(AWS, GCP): 5 * NBYTES} | result
    assert report.retries == 0
    assert files_in(store) == []


def test_small_values_are_not_staged(clusters: dict[str, Any], store: Path) -> None:
    """Values for which a store is not worth while are relayed."""
    small = xl.tag(da.ones(40, chunks=10), AWS)
    with dask.annotate(locality=GCP):
        doubled = small * 2
    with xl.Session(clusters, transfer="stage", staging={GCP: str(store)}) as session:
        (got,) = session.compute(doubled)
        moved = {tuple(map(str, pair)) for pair in session.reports[-1].moved}
    np.testing.assert_array_equal(got, np.full(40, 2.0))
    assert moved == {(AWS, "local"), ("local", GCP), (GCP, "local")}


def test_failed_run_leaves_nothing_staged(clusters: dict[str, Any], store: Path) -> None:
    """When a task fails, what was staged is deleted and its error is the user's."""

    def fail(values: Any) -> Any:
        raise ZeroDivisionError("the user's own")

    with (
        xl.Session(clusters, transfer="stage", staging={GCP: str(store)}) as session,
        pytest.raises(ZeroDivisionError, match="the user's own"),
    ):
        session.compute(crossing(5, take=fail))
    assert files_in(store) == []


def test_interrupted_run_leaves_nothing_staged(clusters: dict[str, Any], store: Path) -> None:
    """Ctrl-C deletes what was staged, also what is being written."""

    def slowly(values: Any) -> Any:
        import time

        time.sleep(0.2)
        return values.sum()

    staged = threading.Event()

    def interrupt(event: Any) -> None:
        if event.what == "moved" and not staged.is_set():
            staged.set()
            os.kill(os.getpid(), signal.SIGINT)

    with xl.Session(clusters, transfer="stage", staging={GCP: str(store)}) as session:
        with pytest.raises(KeyboardInterrupt):
            session.compute(crossing(40, take=slowly), callbacks=[interrupt])
        assert staged.is_set()
        (again,) = session.compute(crossing(2))
    assert again.shape == (2, 1, 1)
    assert files_in(store) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that has room for one value."""
    if platform.system() != "Linux" or os.geteuid():
        pytest.skip("Only root on Linux mounts a small disk.")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"A small disk could not be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_one_clear_error(clusters: dict[str, Any], small_disk: Path) -> None:
    """A disk that fills up ends the run with one error, and is empty for the next."""
    with xl.Session(clusters, transfer="stage", staging={GCP: str(small_disk)}) as session:
        with pytest.raises(errors.TransferError, match=r"could not stage .*No space left"):
            session.compute(crossing(3))
        assert files_in(small_disk) == []
        wanted = crossing(1)
        (got,) = session.compute(wanted)
    np.testing.assert_array_equal(got, wanted.compute(scheduler="sync"))
    assert files_in(small_disk) == []


def test_store_that_takes_no_such_file_is_one_clear_error(
    clusters: dict[str, Any], store: Path
) -> None:
    """A store that refuses a value ends the run with an error that names region and key."""

    def limit(nbytes: int) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, resource.RLIM_INFINITY))

    from distributed import Client

    with Client(clusters[AWS], set_as_default=False) as client:
        client.run(limit, 10**6)
        try:
            with (
                xl.Session(clusters, transfer="stage", staging={GCP: str(store)}) as session,
                pytest.raises(errors.TransferError, match=r"could not stage .*File too large"),
            ):
                session.compute(crossing(3))
        finally:
            client.run(limit, -1)
    assert files_in(store) == []


def test_failure_to_stage_holds_no_views_of_the_value() -> None:
    """Kept in a reference loop with them, as a worker keeps it, CPython before 3.12.7 crashes."""
    with pytest.raises(OSError, match=r"a value of 8000000 bytes could not be written") as raised:
        remote.stage(np.zeros(10**6), {GCP: ("unknown", b"")}, "x")
    error: BaseException | None = raised.value
    held = []
    while error is not None:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        held += [name for frame in frames[1:] for name in frame.f_locals]
        error = error.__cause__ or error.__context__
    assert not {"views", "frames", "pieces", "packed"} & set(held)


def test_missing_store_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Staging needs a store in each region that takes values, and says so first."""
    nowhere = dict.fromkeys((AWS, GCP), "tcp://127.0.0.1:1")
    with (
        xl.Session(nowhere, transfer="stage", staging={AWS: str(tmp_path)}) as session,
        pytest.raises(errors.ConfigurationError, match="object store in 'gcp:us-central1'"),
    ):
        session.compute(crossing(2))


def test_closed_store_is_refused(clusters: dict[str, Any], tmp_path: Path) -> None:
    """A store that cannot be written is found out before tasks are sent."""
    (tmp_path / "file").touch()
    with (
        xl.Session(clusters, transfer="stage", staging={GCP: str(tmp_path / "file")}) as session,
        pytest.raises(errors.TransferError, match="cannot be written"),
    ):
        session.compute(crossing(2))


def test_keys_of_stores_appear_nowhere(clusters: dict[str, Any], store: Path) -> None:
    """What opens a store is in no repr and no plugin's repr."""
    secret = "a-secret-of-the-store"
    options = {"url": str(store), "storage_options": {"token": secret}}
    with xl.Session(clusters, transfer="stage", staging={GCP: options}) as session:
        session.compute(crossing(2))
        shown = [repr(session.settings()), repr(session), repr(session.reports)]
    assert secret not in "\n".join(shown)


@pytest.mark.parametrize("transfer", ["direct", "relay"])
def test_value_that_cannot_be_unpickled_is_its_own_error(
    clusters: dict[str, Any], transfer: str
) -> None:
    """An error of the value, even one of a connection, comes at once and as it is."""

    def stubborn(block_id: Any = None) -> Any:
        def refuse() -> None:
            raise ConnectionError("the store inside does not answer")

        class Stubborn:
            def __reduce__(self) -> tuple[Any, ...]:
                return refuse, ()

        return Stubborn()

    with (
        xl.Session(clusters, transfer=transfer) as session,
        pytest.raises(ConnectionError, match="the store inside") as caught,
    ):
        session.compute(crossing(2, stubborn))
    assert type(caught.value) is ConnectionError
    assert AWS in "".join(caught.value.__notes__) or GCP in "".join(caught.value.__notes__)


def test_loads_wait_for_their_boundary_values(
    clusters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of values that wait for others to cross, no more is loaded than fits into a window."""
    monkeypatch.setattr(submission, "_AHEAD_NBYTES", 5 * 80_000)
    log = tmp_path / "log"
    n, chunks = 30, ((1,) * 30, (10_000,))

    def note(what: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(what)

    def slowly(block_id: Any = None) -> Any:
        import time

        time.sleep(0.1)
        return np.ones((1, 1))

    def load(block_id: Any = None) -> Any:
        note("L")
        return np.ones((1, 10_000))

    def use(field: Any, mask: Any) -> Any:
        if field.size == 10_000:
            # Planning tries functions on smaller arrays.
            note("U")
        return (field * mask).sum(keepdims=True)

    meta = np.empty((0, 0))
    masks = da.map_blocks(slowly, chunks=((1,) * n, (1,)), dtype="f8", meta=meta)
    loaded = da.map_blocks(load, chunks=chunks, dtype="f8", meta=meta)
    masks, loaded = xl.tag(masks, AWS), xl.tag(loaded, GCP)
    used = da.map_blocks(use, loaded, masks, chunks=((1,) * n, (1,)), dtype="f8", meta=meta)
    with xl.Session(clusters, transfer="direct") as session:
        # Loaded values are taken twice, or they would be one task with what uses them.
        total, most = session.compute(used.sum(), loaded.max())
    assert (total, most) == (n * 10_000, 1.0)
    noted = log.read_text()
    assert noted.count("L") == noted.count("U") == n
    held = np.cumsum([1 if each == "L" else -1 for each in noted])
    # A second window where values are made in another order than they are taken, and
    # those that run.
    assert held.max() <= 2 * 5 + 4
