from __future__ import annotations

import asyncio
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.local import get_sync

import xr_locality as xl
from support.answers import assert_same, compute_plainly
from support.polling import patience
from xr_locality.errors import BudgetError, EndpointError
from xr_locality.routing import _DISPATCHER
from xr_locality.session import Session, current_session

ARRAY = da.arange(12, chunks=4)


@pytest.fixture(scope="module")
def _shared() -> Iterator[Session]:
    """Make a session that computes in this process."""
    made = Session()
    yield made
    made.close()


@pytest.fixture
def session(_shared: Session) -> Iterator[Session]:
    """Make the shared session the current one, without reports of other tests."""
    from xr_locality.session.session import _current

    token = _current.set(weakref.ref(_shared))
    _shared.reports.clear()
    yield _shared
    _current.reset(token)


class Recorder:
    """A scheduler of the user's own, which counts what it is asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, expression: Any, keys: Any, **kwargs: Any) -> Any:
        """Compute as dask's synchronous scheduler does."""
        self.calls += 1
        return get_sync(expression, keys, **kwargs)


FRAME = dd.from_pandas(pd.DataFrame({"a": range(6), "b": range(6)}), npartitions=2)
DATASET = xr.Dataset({"t": ("x", ARRAY)}).assign(double=lambda dataset: dataset.t * 2)

ROUTED: dict[str, Callable[[], Any]] = {
    "Array.compute": (ARRAY + 1).compute,
    "DataArray.compute": DATASET.t.compute,
    "DataArray.load": lambda: DATASET.t.copy().load(),
    "DataArray.values": lambda: DATASET.t.copy().values,
    "Dataset.compute": DATASET.compute,
    "DataTree.compute": lambda: xr.DataTree(DATASET).compute(),
    "dask.compute": lambda: dask.compute(ARRAY, [ARRAY.sum()], 3),
    "Delayed.compute": lambda: dask.delayed(np.sum)(ARRAY).compute(),
    "Bag.compute": lambda: db.from_sequence(range(5), npartitions=2).map(str).compute(),
    "numpy.asarray": lambda: np.asarray(ARRAY),
    "float": lambda: float(ARRAY.sum()),
    "bool": lambda: bool((ARRAY > 3).any()),
    "series": lambda: FRAME.a.sum().compute(),
    "frame and array": lambda: dask.compute(FRAME.a.sum(), ARRAY.sum()),
    "not optimised": lambda: dask.compute(ARRAY + 1, optimize_graph=False),
}


@pytest.mark.filterwarnings("ignore:Computing mixed collections")
@pytest.mark.parametrize("compute", ROUTED.values(), ids=ROUTED)
def test_plain_computations_are_routed(session: Session, compute: Callable[[], Any]) -> None:
    """Unchanged code inside is computed by the session, with the same answer."""
    with dask.config.set(scheduler="sync"):
        expected = compute()
    with xl.routed() as used:
        got = compute()
    assert used is session
    assert len(session.reports) == 1
    assert_same(got, expected)


def test_functions_that_make_their_own_graphs_are_routed(session: Session, tmp_path: Path) -> None:
    """Some functions of dask hand a plain graph to the scheduler."""
    with xl.routed():
        da.to_npy_stack(tmp_path / "stack", ARRAY)
    assert session.reports
    assert_same(da.from_npy_stack(tmp_path / "stack").compute(scheduler="sync"), np.arange(12))


def test_nothing_is_routed_outside(session: Session) -> None:
    """Before and after, dask computes as it always does."""
    ARRAY.compute()
    with xl.routed():
        pass
    ARRAY.compute()
    assert session.reports == []
    assert "scheduler" not in dask.config.config


def test_scheduler_that_is_named_wins(session: Session) -> None:
    """Who asks for a scheduler gets it, as an argument or by a setting made inside."""
    recorder = Recorder()
    with xl.routed():
        ARRAY.compute(scheduler=recorder)
        with dask.config.set(scheduler=recorder):
            ARRAY.compute()
        ARRAY.compute()
    assert recorder.calls == 2
    assert len(session.reports) == 1


@pytest.mark.parametrize(
    "before", [None, "sync", "threads", pytest.param(Recorder(), id="callable")], ids=str
)
def test_setting_is_left_as_it_was(session: Session, before: Any) -> None:
    """Whatever dask's scheduler was, it is again, also after an exception."""
    with dask.config.set(scheduler=before):
        with xl.routed():
            ARRAY.compute()
        with pytest.raises(ZeroDivisionError), xl.routed():
            raise ZeroDivisionError
        assert dask.config.get("scheduler") is before
    assert len(session.reports) == 1


def test_exception_of_a_task_comes_back(session: Session) -> None:
    """What a task raises is raised, and routing goes on."""

    def fail(block: Any) -> Any:
        raise ZeroDivisionError("as it is")

    with xl.routed():
        with pytest.raises(ZeroDivisionError, match="as it is"):
            ARRAY.map_blocks(fail, dtype="f8").compute()
        ARRAY.compute()
    assert len(session.reports) == 1


def test_other_threads_are_not_routed(session: Session) -> None:
    """A thread that did not enter computes as before, by its default or by the setting."""
    recorder = Recorder()
    for before, calls in [(None, 0), (recorder, 1)]:
        with (
            dask.config.set(scheduler=before),
            xl.routed(),
            ThreadPoolExecutor(1) as threads,
        ):
            answer = threads.submit(lambda: (ARRAY + 1).sum().compute()).result(
                timeout=patience(30)
            )
        assert answer == 78
        assert recorder.calls == calls
    assert session.reports == []


def test_other_threads_keep_their_collections_default(session: Session) -> None:
    """Without any setting a Bag goes where Bags go, an array to threads."""
    names: list[str] = []

    def where() -> None:
        ARRAY.map_blocks(_note, names, meta=np.empty(0, "i8")).compute()

    with xl.routed(), ThreadPoolExecutor(1, thread_name_prefix="other") as threads:
        threads.submit(where).result(timeout=patience(30))
    assert names
    assert all("ThreadPool" in name for name in names)
    assert session.reports == []


def _note(block: Any, names: list[str]) -> Any:
    names.append(threading.current_thread().name)
    return block


def test_other_threads_keep_their_default_client(session: Session) -> None:
    """A thread that did not enter uses the default client, if there is one."""
    from distributed import Client

    with (
        Client(processes=False, n_workers=1, dashboard_address=":0") as client,
        xl.routed(),
        ThreadPoolExecutor(1) as threads,
    ):
        held = threads.submit(ARRAY.persist).result(timeout=patience(30))
        assert threads.submit(ARRAY.compute).result(timeout=patience(30)).sum() == 66
        assert {str(future.client.id) for future in held.dask.values()} == {client.id}
        del held
    assert session.reports == []


def test_persist_of_other_threads_is_theirs(session: Session) -> None:
    """A thread that did not enter persists in memory, and routing is not touched by it."""
    with xl.routed(), ThreadPoolExecutor(1) as threads:
        held = threads.submit(dask.persist, ARRAY).result(timeout=patience(30))[0]
        assert dask.config.get("scheduler") == _DISPATCHER.get
        assert isinstance(held.dask[held.name, 0], np.ndarray)
    assert session.reports == []


def test_persist_inside_stays_in_the_region(session: Session) -> None:
    """dask.persist and .persist() inside leave chunks with the session's cluster."""
    with xl.routed():
        (held,) = dask.persist(ARRAY + 1)
        again = held.sum().compute()
    assert again == 78
    assert len(session.reports) == 2
    np.testing.assert_array_equal(held.compute(scheduler="sync"), np.arange(1, 13))


def test_asynchronous_tasks_are_routed_by_themselves(session: Session) -> None:
    """Of two tasks of one loop, only the one that entered is routed."""
    recorder = Recorder()

    async def inside(entered: asyncio.Event, leave: asyncio.Event) -> None:
        with xl.routed():
            ARRAY.compute()
            entered.set()
            await leave.wait()
            ARRAY.compute()

    async def both() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(inside(entered, leave))
        await entered.wait()
        ARRAY.compute()
        leave.set()
        await task

    with dask.config.set(scheduler=recorder):
        asyncio.run(both())
    assert recorder.calls == 1
    assert len(session.reports) == 2


# Nesting and overlapping


def test_routed_nests(session: Session) -> None:
    """Leaving the inner one leaves the outer one routed."""
    with xl.routed():
        with xl.routed():
            ARRAY.compute()
        ARRAY.compute()
    assert len(session.reports) == 2
    assert dask.config.get("scheduler", None) is None


def test_limits_set_outside_hold_inside() -> None:
    """A library that routes inside a user's routed() keeps to the user's budget."""
    array = xl.tag(da.ones(8, chunks=4), "aws:us-west-2")
    with (
        Session({"aws:us-west-2": None}),
        xl.routed(max_egress="1 B"),
        xl.routed(objective="bytes"),
        pytest.raises(BudgetError),
    ):
        array.compute()


def test_own_endpoints_make_a_session_that_is_closed() -> None:
    """routed(endpoints=…) uses a session of its own, also for what asks for the current one."""
    with xl.routed(endpoints={"aws:us-west-2": None}) as own:
        assert current_session() is own
        with xl.routed() as inner:
            assert inner is own
        assert ARRAY.compute().sum() == 66
        assert len(own.reports) == 1
    with pytest.raises(EndpointError, match="closed"):
        own.check()


def test_threads_may_overlap(session: Session) -> None:
    """One thread enters while another is inside, and leaves after it."""
    first, second = threading.Event(), threading.Event()

    def enter_second() -> None:
        first.wait(30)
        with xl.routed():
            second.set()

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(enter_second)
        with xl.routed():
            first.set()
            second.wait(30)
            running.result(timeout=patience(30))
            ARRAY.compute()
    assert len(session.reports) == 1
    assert dask.config.get("scheduler", None) is None


def test_setting_that_overlaps_is_undone(session: Session) -> None:
    """A setting that was made inside and ends outside brings nothing back."""
    setting: Any = None
    with xl.routed():
        setting = dask.config.set(scheduler="sync")
        ARRAY.compute()
    assert dask.config.get("scheduler") == "sync"
    setting.__exit__(None, None, None)
    # dask has put the dispatcher back, which withdraws when it is asked.
    assert ARRAY.compute().sum() == 66
    assert dask.config.get("scheduler", None) is None
    assert session.reports == []


def test_entering_after_an_overlap_does_not_recurse(session: Session) -> None:
    """What dask put back is not taken for the scheduler of others."""
    setting: Any = None
    with xl.routed():
        setting = dask.config.set(scheduler="sync")
    setting.__exit__(None, None, None)
    with xl.routed(), ThreadPoolExecutor(1) as threads:
        assert threads.submit(ARRAY.compute).result(timeout=patience(30)).sum() == 66
    assert dask.config.get("scheduler", None) is None
    assert session.reports == []


def test_client_made_inside_takes_over(session: Session) -> None:
    """As in dask, a Client() made inside computes from there on."""
    from distributed import Client

    with xl.routed():
        with Client(processes=False, n_workers=1, dashboard_address=":0"):
            assert ARRAY.compute().sum() == 66
        assert session.reports == []
        ARRAY.compute()
    assert len(session.reports) == 1
    assert dask.config.get("scheduler", None) is None


@pytest.mark.parametrize("before", [None, "threads"])
def test_configuration_can_be_sent_to_new_processes(session: Session, before: str | None) -> None:
    """Workers started meanwhile are sent dask's configuration; in them nobody is inside."""
    with dask.config.set(scheduler=before), xl.routed():
        sent = pickle.loads(pickle.dumps(dask.config.config))
    assert sent["scheduler"] == before


def test_cluster_can_be_started_inside(session: Session) -> None:
    """Starting worker processes inside works, and they compute as ever."""
    from distributed import Client, LocalCluster

    with (
        xl.routed(),
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.submit(_sum_in_a_task).result(timeout=patience(30)) == 3
    assert session.reports == []


def _sum_in_a_task() -> int:
    return int(da.ones(3, chunks=1).sum().compute(scheduler="threads"))


def test_results_of_dask_stay_bit_identical(session: Session) -> None:
    """A Dataset whose variables derive from one another is the same, inside and outside."""
    with xl.routed():
        got = DATASET.compute()
    assert_same(got, compute_plainly(DATASET)[0])


def test_direct_get_returns_the_nesting_of_dasks_schedulers(session: Session) -> None:
    """Functions that call a scheduler themselves get what dask's own schedulers return."""
    graph = {"a": (int, 1), "b": (int, 2)}
    keys = ["a", ["b", ["a"]]]
    with xl.routed():
        got = dask.base.get_scheduler()(graph, keys)
    assert got == dask.get(graph, keys)


ARGUMENTS: dict[str, Callable[[], Any]] = {
    "map_blocks": lambda: ARRAY.map_blocks(np.subtract, ARRAY.mean(), dtype="f8").sum(),
    "map_blocks by keyword": lambda: ARRAY.map_blocks(
        lambda block, other: block - other, other=ARRAY.mean(), dtype="f8"
    ).sum(),
    "histogram": lambda: da.histogram(
        ARRAY, bins=3, range=[ARRAY.min(), ARRAY.max()], density=True
    )[0],
    "from_delayed": lambda: da.from_delayed(
        dask.delayed(np.cumsum)(ARRAY), shape=ARRAY.shape, dtype=ARRAY.dtype
    ).sum(),
    "polyfit": lambda: (
        xr.DataArray(ARRAY.astype("f8"), dims="x", coords={"x": np.arange(ARRAY.size)})
        .polyfit("x", 1)
        .polyfit_coefficients
    ),
}


@pytest.mark.parametrize("make", ARGUMENTS.values(), ids=ARGUMENTS)
def test_lazy_arguments_of_tasks_are_routed(session: Session, make: Callable[[], Any]) -> None:
    """A collection that is an argument inside a graph is computed as by dask itself."""
    lazy = make()
    expected = lazy.compute(scheduler="sync")
    with xl.routed():
        got, together = lazy.compute(), dask.compute(lazy, ARRAY.sum())[0]
    np.testing.assert_allclose(got, expected)
    np.testing.assert_allclose(together, expected)
    np.testing.assert_allclose(xl.compute(lazy)[0], expected)


def test_tasks_that_compute_are_not_routed() -> None:
    """A compute inside a task of the embedded region is that cluster's, and no run of ours."""

    @dask.delayed  # type: ignore[untyped-decorator]
    def summary(number: int) -> float:
        return float(da.ones(10, chunks=5).sum().compute() + number)

    with xl.routed(endpoints={}) as session:
        assert dask.compute(*[summary(i) for i in range(4)]) == (10.0, 11.0, 12.0, 13.0)
        assert len(session.reports) == 1


def test_files_that_are_loaded_while_they_are_opened(tmp_path: Path) -> None:
    """``open_mfdataset`` opens in tasks, and its ``preprocess`` may compute there."""
    paths = [tmp_path / f"{number}.nc" for number in range(2)]
    for number, path in enumerate(paths):
        xr.Dataset({"v": ("x", np.full(2, number))}).to_netcdf(path, engine="h5netcdf")

    def preprocess(opened: xr.Dataset) -> xr.Dataset:
        return opened.load()

    with xl.routed(endpoints={}) as session:
        combined = xr.open_mfdataset(
            paths,
            engine="h5netcdf",
            combine="nested",
            concat_dim="x",
            parallel=True,
            preprocess=preprocess,
        )
        assert len(session.reports) == 1
        np.testing.assert_array_equal(combined.v, [0, 0, 1, 1])
