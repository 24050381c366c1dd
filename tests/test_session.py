from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from support.answers import assert_same, compute_plainly
from support.clusters import two_clusters
from support.polling import patience, until
from xr_locality.errors import (
    BudgetError,
    ConfigurationError,
    EndpointError,
    ExecutionError,
    LocalityErrorGroup,
    LocalityWarning,
    RegionError,
)
from xr_locality.session import Session, current_session

NAMED = {"aws:us-west-2": None, "gcp:us-central1": None}


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Any]]:
    """Clusters whose workers reach each other's schedulers."""
    with two_clusters(processes=True) as started:
        yield started


@pytest.fixture
def session(clusters: dict[str, Any]) -> Iterator[Session]:
    """Make a session over both clusters; by bytes, so that it splits."""
    with Session(clusters, objective="bytes") as made:
        yield made


@pytest.fixture
def difference(sources: tuple[xr.Dataset, xr.Dataset]) -> xr.DataArray:
    """Make the difference of two means in two regions."""
    return sources[0].p.mean("time") - sources[1].p.mean("time")


def empty(clusters: dict[str, Any]) -> bool:
    """Whether no scheduler knows any task."""
    return not any(cluster.scheduler.tasks for cluster in clusters.values())


def clients_of(clusters: dict[str, Any]) -> list[str]:
    """List the clients of ours that schedulers know."""
    connected = [name for cluster in clusters.values() for name in cluster.scheduler.clients]
    return [name for name in connected if name.startswith("Client-xr-locality")]


def plugins_of(clusters: dict[str, Any]) -> list[str]:
    """List the worker plugins of ours that schedulers know."""
    known = [name for cluster in clusters.values() for name in cluster.scheduler.worker_plugins]
    return [name for name in known if "xr-locality" in name]


def fail(block: Any) -> Any:
    """Fail as a user's function may."""
    raise ZeroDivisionError("as it is")


# Computing


def test_result_is_that_of_a_plain_compute(session: Session, difference: xr.DataArray) -> None:
    """A split over two clusters gives what dask alone gives, and says what crossed."""
    (got,) = session.compute(difference)
    assert_same(got, compute_plainly(difference)[0])
    (report,) = session.reports
    assert len(report.plan.regions) == 2
    assert set(report.moved) == set(report.plan.moved)


def test_accessor_uses_the_enclosing_session(session: Session, difference: xr.DataArray) -> None:
    """Inside a with block nothing else need be said."""
    assert_same(difference.locality.compute(), compute_plainly(difference)[0])
    assert len(session.reports) == 1


def test_nothing_is_left_on_the_schedulers(
    session: Session, difference: xr.DataArray, clusters: dict[str, Any]
) -> None:
    """After a run no scheduler knows its tasks any more."""
    session.compute(difference)
    assert until(lambda: empty(clusters))


def test_tasks_own_exception_comes_back_and_nothing_is_left(
    session: Session, sources: tuple[xr.Dataset, xr.Dataset], clusters: dict[str, Any]
) -> None:
    """A failing task's exception arrives unchanged, with a note; both regions are cleared."""
    first, second = (source.p.data.mean(0) for source in sources)
    broken = (first.map_blocks(fail, dtype="f8") - second) * 2
    with pytest.raises(ZeroDivisionError, match="as it is") as caught:
        session.compute(broken)
    assert "region 'aws:us-west-2'" in caught.value.__notes__[0]
    assert until(lambda: empty(clusters))
    assert session.reports == []


def test_failure_leaves_other_runs_alone(
    session: Session, sources: tuple[xr.Dataset, xr.Dataset], clusters: dict[str, Any]
) -> None:
    """Of runs at the same time on the same clusters, one failing does not disturb the others."""
    first, second = (source.p.data.mean(0) for source in sources)
    good = (first - second).sum()
    broken = (second.map_blocks(fail, dtype="f8") - first).sum()
    expected = compute_plainly(good)

    def attempt(wanted: da.Array) -> Any:
        try:
            return session.compute(wanted)
        except ZeroDivisionError as error:
            return error

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(attempt, [good, broken, good, broken, good + 0, good]))
    assert [type(each) for each in answers] == [
        tuple, ZeroDivisionError, tuple, ZeroDivisionError, tuple, tuple,
    ]  # fmt: skip
    for answer in answers:
        if isinstance(answer, tuple):
            assert_same(answer, expected)
    assert until(lambda: empty(clusters))


def test_graph_that_cannot_be_sent_is_an_error(
    session: Session, sources: tuple[xr.Dataset, xr.Dataset], clusters: dict[str, Any]
) -> None:
    """A function that cannot be pickled ends the run in both regions."""
    first, second = (source.p.data.mean(0) for source in sources)
    lock = threading.Lock()
    stuck = second.map_blocks(lambda block, lock=lock: block, dtype="f8") - first
    with pytest.raises(TypeError, match="serialize"):
        session.compute(stuck)
    assert until(lambda: empty(clusters))


def test_collections_of_all_kinds_share_a_run(session: Session) -> None:
    """Arrays, Delayeds and containers that share tasks are computed together, in one region."""
    array = xl.tag(da.ones((8, 6), chunks=2), "aws:us-west-2") * 2
    objects = [{"array": array, "sum": dask.delayed(np.sum)(array)}, array.mean(), "text"]
    assert_same(session.compute(*objects), compute_plainly(*objects))
    assert len(session.reports) == 1


def test_shuffle_inside_a_region_runs(session: Session) -> None:
    """A peer-to-peer rechunk works in a split as it does in one cluster."""
    first = xl.tag(da.arange(96, chunks=8).reshape(16, 6), "aws:us-west-2")
    second = xl.tag(da.ones((16, 6), chunks=(2, 3)), "gcp:us-central1")
    shuffled = first.rechunk((2, 3)).rechunk((16, 1), method="p2p").max(0)
    (got,) = session.compute(shuffled - second.sum(0))
    np.testing.assert_array_equal(got, np.arange(90, 96) - 16.0)


def test_call_from_a_running_event_loop_works(session: Session, difference: xr.DataArray) -> None:
    """In a notebook an event loop is running in the same thread."""

    async def notebook() -> Any:
        return session.compute(difference)

    assert_same(asyncio.run(notebook()), compute_plainly(difference))


def test_execute_runs_the_plan_that_was_shown(session: Session, difference: xr.DataArray) -> None:
    """A plan is looked at, then run: one object for one, a tuple for several."""
    plan = session.plan(difference)
    assert session.reports == []
    assert_same(plan.execute(), compute_plainly(difference)[0])
    assert session.reports[0].plan is plan
    pair = session.plan(difference, difference.sum()).execute()
    assert isinstance(pair, tuple)


def test_callbacks_are_told(session: Session, difference: xr.DataArray) -> None:
    """Who wants to follow a run hears of its beginning, its moves and its end."""
    heard: list[str] = []
    session.compute(difference, callbacks=[lambda progress: heard.append(progress.what)])
    assert heard.count("submitted") == 2
    assert "moved" in heard
    assert heard[-1] == "finished"


# What is computed without a cluster


def test_nothing_lazy_opens_nothing() -> None:
    """Objects without anything to compute come back, and no endpoint is touched."""
    with Session({"aws:us-west-2": "tcp://127.0.0.1:1"}) as made:
        assert_same(made.compute(1, "text", xr.Dataset()), (1, "text", xr.Dataset()))
        assert made.reports == []


def test_accessor_makes_a_new_object() -> None:
    """As with xarray's own compute, changing the result does not change the object."""
    loaded = xr.Dataset({"t": ("x", [1, 2])})
    computed = loaded.locality.compute()
    computed["other"] = ("x", [3, 4])
    assert "other" not in loaded


def test_accessor_loads_in_place(session: Session, sources: tuple[xr.Dataset, xr.Dataset]) -> None:
    """Load fills the object itself: Datasets, arrays with their coordinates, trees below others."""
    first, second = sources
    tree = xr.DataTree.from_dict(
        {"/": first[["w"]], "/child": first[["t"]], "/child/deep": first[["p"]]}
    )
    for item in (first.copy(), second.p, first.lat, tree["child"]):
        expected = compute_plainly(item)[0] if not isinstance(item, xr.DataTree) else None
        assert item.locality.load() is item
        if expected is not None:
            assert_same(item, expected)
    assert not any(
        dask.is_dask_collection(variable.data)
        for node in tree["child"].subtree
        for variable in node.variables.values()
    )
    assert dask.is_dask_collection(tree["w"].data)


# Policy and errors


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"objective": "fame"}, ConfigurationError),
        ({"max_egress": "much"}, ConfigurationError),
        ({"no_such_setting": 1}, ConfigurationError),
        ({"endpoints": {"nowhere:": None}}, RegionError),
        ({"endpoints": {"aws:us-west-2": 5}}, ConfigurationError),
        ({"objective": "fame", "transfer": "pigeon"}, LocalityErrorGroup),
    ],
)
def test_policy_that_cannot_be_understood_is_refused(policy: dict[str, Any], error: type) -> None:
    """A session with a wrong setting is not made, and all that is wrong is told."""
    with pytest.raises(error):
        Session(**policy)


def test_policy_of_a_call_wins_over_the_sessions(difference: xr.DataArray) -> None:
    """What is said for one plan holds for that plan alone; None means what the session says."""
    with Session(NAMED, objective="bytes") as made:
        assert made.plan(difference, objective="usd").objective == "usd"
        assert made.plan(difference, objective=None).objective == "bytes"
        assert made.plan(difference).objective == "bytes"


def test_wrong_policy_of_a_call_is_refused(difference: xr.DataArray) -> None:
    """A misspelt setting of one call is an error, not something to pass over."""
    with Session(NAMED) as made, pytest.raises(ConfigurationError, match="objectiv"):
        made.plan(difference, objectiv="usd")


def test_staging_is_refused_before_anything_starts(difference: xr.DataArray) -> None:
    """Staging without a store in the region that needs values is said, not replaced."""
    with Session(NAMED) as made, pytest.raises(ConfigurationError, match=r"locality\.staging"):
        made.compute(difference, transfer="stage")


def test_budget_is_checked_before_an_endpoint_is_touched(difference: xr.DataArray) -> None:
    """A run over the limit fails by its budget even where no endpoint could be reached."""
    unreachable = dict.fromkeys(NAMED, "tcp://127.0.0.1:1")
    with Session(unreachable, max_egress="1 B") as made, pytest.raises(BudgetError):
        made.compute(difference)


def test_named_endpoints_are_for_planning_only(difference: xr.DataArray) -> None:
    """What is only named cannot run anything, and every such region is told."""
    with Session(NAMED, objective="bytes") as made:
        assert len(made.plan(difference).regions) == 2
        with pytest.raises(LocalityErrorGroup, match="has only a name") as caught:
            made.compute(difference)
        assert {problem.region for problem in caught.value.exceptions} == set(NAMED)


def test_what_if_endpoints_hold_for_one_plan(difference: xr.DataArray) -> None:
    """endpoints= of a call plans for other endpoints than the session's."""
    with Session({"aws:us-west-2": None}) as made:
        assert len(made.plan(difference, endpoints=NAMED, objective="bytes").regions) == 2
        with pytest.raises(EndpointError, match="gcp:us-central1"):
            made.plan(difference)


def test_futures_of_the_endpoints_of_a_call(clusters: dict[str, Any]) -> None:
    """What a cluster holds lies in its region, also where the call alone names that cluster."""
    from distributed import Client

    with Client(clusters["gcp:us-central1"], set_as_default=False) as client:
        held = client.persist(da.ones(10, chunks=5))
        plan = xl.plan(held.sum(), endpoints=clusters)
        assert [str(region) for region in plan.regions] == ["gcp:us-central1"]
        with pytest.raises(EndpointError, match="not an endpoint of this session"):
            xl.plan(held.sum(), endpoints=NAMED)
        del held


def test_endpoints_of_a_call_make_a_session_of_their_own(
    difference: xr.DataArray, clusters: dict[str, Any]
) -> None:
    """compute(endpoints=…) uses them and lets go of them; the session's are untouched."""
    with Session({"aws:us-west-2": "tcp://127.0.0.1:1"}) as made:
        (got,) = made.compute(difference, endpoints=clusters, objective="bytes")
    assert_same(got, compute_plainly(difference)[0])
    assert until(lambda: empty(clusters))


def test_persisted_with_endpoints_of_the_call(
    clusters: dict[str, Any], difference: xr.DataArray
) -> None:
    """Persisted values outlive the session of their call, which closes with the last of them."""
    expected = compute_plainly(difference)[0]
    with Session({}, probe="never") as session:
        (held,) = session.persist(difference, endpoints=clusters)
    assert_same(held.compute(), expected)
    assert_same(xl.compute(held, endpoints=clusters)[0], expected)
    later = held + 1
    del held
    gc.collect()
    assert_same(later.compute(), expected + 1)
    assert clients_of(clusters)
    del later
    gc.collect()
    assert until(lambda: not clients_of(clusters))


def test_first_try_without_endpoints_says_what_it_pulls(difference: xr.DataArray) -> None:
    """With nothing configured all runs here, with one warning a session."""
    with Session() as made:
        with pytest.warns(LocalityWarning, match=r"first\.zarr .aws:us-west-2.") as caught:
            (got,) = made.compute(difference)
        assert caught[0].filename == __file__
        made.compute(difference.sum())
    assert_same(got, compute_plainly(difference)[0])


# Lifetime


def test_session_closes_twice_and_then_refuses(difference: xr.DataArray) -> None:
    """A closed session says so; it does not start anything again."""
    made = Session(NAMED)
    made.close()
    made.close()
    assert "closed" in repr(made)
    for use in (made.check, lambda: made.compute(difference, max_egress="1 TB")):
        with pytest.raises(EndpointError, match="closed"):
            use()


def test_closing_ends_a_run_of_another_thread(
    sources: tuple[xr.Dataset, xr.Dataset], clusters: dict[str, Any], tmp_path: Path
) -> None:
    """Whoever computes in a session that is closed meanwhile gets an error, and does not hang."""
    first, second = (source.p.data.mean(0) for source in sources)
    gate = tmp_path / "gate"

    def wait(block: Any, gate: Path = gate) -> Any:
        deadline = monotonic() + patience(30)
        while not gate.exists() and monotonic() < deadline:
            sleep(0.02)
        return block

    made = Session(clusters, objective="bytes")
    with ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        stack.callback(gate.touch)
        waiting = first.map_blocks(wait, meta=np.empty((0, 0)))
        running = threads.submit(made.compute, waiting - second)
        assert until(lambda: not empty(clusters))
        made.close()
        with pytest.raises(ExecutionError, match="closed while it was computing"):
            running.result(timeout=patience(30))
    assert until(lambda: empty(clusters))
    assert plugins_of(clusters) == []
    assert clients_of(clusters) == []


def test_adopted_clusters_stay_open(clusters: dict[str, Any], difference: xr.DataArray) -> None:
    """A cluster that the user handed in is there after the session, without our clients."""
    with Session(clusters, objective="bytes") as made, ThreadPoolExecutor(4) as threads:
        list(threads.map(made.compute, [difference, difference + 1, difference * 2]))
        assert clients_of(clusters)
        # The way to the other cluster once, and on both what gives large values.
        links = [name for name in plugins_of(clusters) if "streamer" not in name]
        assert len(links) == 1
        assert until(lambda: len(plugins_of(clusters)) == 3)
    assert until(lambda: not clients_of(clusters)), clients_of(clusters)
    assert all(cluster.scheduler.workers for cluster in clusters.values())
    assert plugins_of(clusters) == []


def test_no_thread_is_left(clusters: dict[str, Any], difference: xr.DataArray) -> None:
    """When a session is closed, the thread of its event loop is gone."""
    before = set(threading.enumerate())
    with Session(clusters) as made:
        made.compute(difference)
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if "loop" in thread.name.lower()]


def test_sessions_nest() -> None:
    """The innermost session is the current one, and leaving restores the one outside."""
    with Session(NAMED) as outer:
        with Session(NAMED) as inner:
            assert current_session() is inner
        assert current_session() is outer
        with pytest.raises(ZeroDivisionError), Session(NAMED):
            fail(None)
        assert current_session() is outer
    assert current_session() is not outer


def test_other_threads_do_not_share_the_current_session() -> None:
    """A session is current where it was entered."""
    with Session(NAMED) as made, ThreadPoolExecutor(1) as threads:
        assert threads.submit(current_session).result() is not made


def test_nothing_keeps_a_session_that_nobody_holds() -> None:
    """Contexts that others copied inside of it do not keep it, nor the files its plans hold."""
    with Session(NAMED) as made:
        copied = contextvars.copy_context()
        assert copied.run(current_session) is made
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None
    assert copied.run(current_session) is current_session()


def test_default_session_follows_the_configured_endpoints() -> None:
    """The default is kept while the configuration stays, and made anew when it changes."""
    first = current_session()
    assert current_session() is first
    with dask.config.set({"locality.endpoints": dict(NAMED)}):
        second = current_session()
        assert second is not first
        assert list(map(str, second.regions)) == list(NAMED)
        assert current_session() is second
    third = current_session()
    assert third.regions == ()
    third.close()
    assert current_session() is not third


def test_default_session_reads_other_settings_each_time(difference: xr.DataArray) -> None:
    """A policy set in the configuration holds at once, without a new session."""
    with dask.config.set({"locality.endpoints": dict(NAMED)}):
        session = current_session()
        with dask.config.set({"locality.objective": "seconds"}):
            assert xl.plan(difference).objective == "seconds"
            assert current_session() is session
        assert xl.plan(difference).objective == "usd"


def test_reports_are_kept_the_latest_last(session: Session, difference: xr.DataArray) -> None:
    """A session keeps what was measured, but not for ever."""
    import xr_locality.session.session as module

    total = difference.sum()
    session.compute(total)
    (first,) = session.reports
    session.reports += [first] * module._REPORTS
    session.compute(total)
    assert len(session.reports) == module._REPORTS
    assert session.reports[-1] is not first
