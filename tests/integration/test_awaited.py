"""Everything that computes can be awaited: from any event loop, without blocking it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import xarray as xr
from distributed import get_worker

import xr_locality as xl
from support.answers import assert_same
from support.clusters import kept_open, two_clusters
from support.polling import patience
from xr_locality import errors

AWS, GCP = "aws:us-west-2", "gcp:us-central1"


@pytest.fixture(scope="module")
def open_session() -> Iterator[xl.Session]:
    """One session over two clusters in this process."""
    with two_clusters(processes=False) as endpoints:
        session = xl.Session(endpoints, retries=0)
        yield session
        session.close()


@pytest.fixture
def session(open_session: xl.Session) -> Iterator[xl.Session]:
    """The module's session as the current one."""
    with kept_open(open_session) as session:
        yield session


@pytest.fixture
def difference(tmp_path: Path) -> xr.DataArray:
    """A difference of means of data in two regions."""
    means = []
    for name, region in (("a", AWS), ("b", GCP)):
        source = xr.Dataset({"t": (("time", "x"), np.random.default_rng(3).random((8, 5)))})
        source.chunk(time=2).to_zarr(tmp_path / name, consolidated=False)
        opened = xr.open_zarr(tmp_path / name, chunks={}, consolidated=False)
        means.append(xl.tag(opened, region).t.mean("time"))
    return (means[0] - means[1]).rename("t")


#: Everything that computes, awaited, given an object and a path to write to.
WAYS: Final[dict[str, Callable[[xr.DataArray, Path], Coroutine[Any, Any, Any]]]] = {
    "compute": lambda obj, _: xl.compute(obj, asynchronous=True),
    "persist": lambda obj, _: xl.persist(obj, asynchronous=True),
    "session": lambda obj, _: xl.Session.current().persist(obj, asynchronous=True),
    "execute": lambda obj, _: xl.plan(obj).execute(asynchronous=True),
    "accessor-compute": lambda obj, _: obj.locality.compute(asynchronous=True),
    "accessor-persist": lambda obj, _: obj.locality.persist(asynchronous=True),
    "accessor-load": lambda obj, _: obj.locality.load(asynchronous=True),
    "accessor-to-zarr": lambda obj, path: obj.locality.to_zarr(
        path, policy={"rules": {str(path): GCP}}, consolidated=False, asynchronous=True
    ),
}

Way = Callable[[xr.DataArray, Path], Coroutine[Any, Any, Any]]

each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def outcome(awaited: Any, written: Path) -> xr.DataArray:
    """Get at what came of one of the ways."""
    if isinstance(awaited, xr.backends.ZarrStore):
        return xr.open_zarr(written, chunks=None, consolidated=False).t.drop_encoding().load()
    (found,) = awaited if isinstance(awaited, tuple) else (awaited,)
    computed: xr.DataArray = found.compute(scheduler="sync")
    return computed


@each_way
def test_awaited_gives_the_same(
    session: xl.Session, difference: xr.DataArray, tmp_path: Path, way: Way
) -> None:
    """An awaited call gives what the synchronous one does, on whatever thread its loop runs."""
    wanted = difference.compute(scheduler="sync")
    runs = len(session.reports)

    def call(name: str) -> Any:
        with session:
            obj = difference.copy()
            return asyncio.run(way(obj, tmp_path / name)), obj

    here, obj = call("here")
    assert_same(outcome(here, tmp_path / "here"), wanted)
    if here is obj:
        assert isinstance(obj.data, np.ndarray)
    with ThreadPoolExecutor(1) as threads:
        there, _ = threads.submit(call, "there").result(timeout=patience(60))
    assert_same(outcome(there, tmp_path / "there"), wanted)
    assert len(session.reports) == runs + 2


class Held:
    """A step of the work that says when it has begun, and goes on when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, values: Any) -> Any:
        """Give back the values; on a worker, when let go. Planning tries it out, too."""
        try:
            get_worker()
        except ValueError:
            return values
        self.begun.set()
        self.go_on.wait(30)
        return values

    def __deepcopy__(self, memo: dict[int, Any]) -> Held:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The clusters are in this process.
        _HELD[id(self)] = self
        return _find, (id(self),)

    def __dask_tokenize__(self) -> Any:
        return id(self)


_HELD: dict[int, Held] = {}


def _find(number: int) -> Held:
    return _HELD[number]


@pytest.fixture
def held() -> Iterator[Held]:
    """A step that is let go at the end, come what may."""
    made = Held()
    yield made
    made.go_on.set()
    _HELD.clear()


def slowed(obj: xr.DataArray, step: Held) -> xr.DataArray:
    """Put a step into an object's graph."""
    return xr.apply_ufunc(step, obj, dask="parallelized", output_dtypes=[obj.dtype])


@each_way
def test_event_loop_goes_on(
    session: xl.Session, difference: xr.DataArray, tmp_path: Path, held: Held, way: Way
) -> None:
    """While tasks run the event loop does other things: here, what they wait for."""
    wanted = difference.compute(scheduler="sync")

    async def let_go() -> None:
        assert await asyncio.to_thread(held.begun.wait, 30)
        held.go_on.set()

    async def body() -> Any:
        letting_go = asyncio.create_task(let_go())
        awaited = await way(slowed(difference, held), tmp_path / "written")
        await letting_go
        return awaited

    assert_same(outcome(asyncio.run(body()), tmp_path / "written"), wanted)


@each_way
def test_cancelled_await_leaves_nothing(
    session: xl.Session, difference: xr.DataArray, tmp_path: Path, held: Held, way: Way
) -> None:
    """A cancelled await has ended the run in every region, and the object is what it was."""
    slow = slowed(difference, held)
    runs = len(session.reports)

    async def body() -> None:
        awaiting = asyncio.create_task(way(slow, tmp_path / "written"))
        assert await asyncio.to_thread(held.begun.wait, 30)
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting

    asyncio.run(body())
    assert session.resources.loop is not None
    assert not session.resources.running
    assert len(session.reports) == runs
    assert slow.chunks is not None
    held.go_on.set()
    assert_same(
        session.compute(difference)[0],
        difference.compute(scheduler="sync"),
    )
    assert session.resources.loop.run(left_over(session)) == set()


async def left_over(session: xl.Session) -> set[str]:
    """Tell which tasks schedulers still have, once they had time to forget."""
    assert session.resources.pool is not None
    left: set[str] = set()
    for connection in session.resources.pool.connections.values():
        for _ in range(200):
            tasks = await connection.client.run_on_scheduler(
                lambda dask_scheduler=None: list(map(str, dask_scheduler.tasks))
            )
            if not tasks:
                break
            await asyncio.sleep(0.05)
        left.update(tasks)
    return left


@each_way
def test_errors_come_with_the_await(
    session: xl.Session, difference: xr.DataArray, tmp_path: Path, way: Way
) -> None:
    """A task's own error is raised by the await, with the region that it came from."""

    def fail(values: Any) -> Any:
        raise ZeroDivisionError("in a task")

    broken = xr.apply_ufunc(fail, difference, dask="parallelized", output_dtypes=["f8"])
    with pytest.raises(ZeroDivisionError, match="in a task") as caught:
        asyncio.run(way(broken, tmp_path / "written"))
    assert any("region" in note for note in caught.value.__notes__)
    assert broken.chunks is not None


def test_context_is_that_of_the_call(session: xl.Session, difference: xr.DataArray) -> None:
    """What was called inside a session runs in it, wherever it is awaited."""
    runs = len(session.reports)

    async def body() -> Any:
        with session:
            loading = difference.locality.load(asynchronous=True)
        with xl.Session({}, unknown_region="error"):
            return await loading

    assert asyncio.run(body()) is difference
    assert len(session.reports) == runs + 1


def test_closing_the_session_ends_an_await(difference: xr.DataArray, held: Held) -> None:
    """A session that is closed meanwhile is an error, not a cancellation of the awaiter."""
    with two_clusters(processes=False) as endpoints:
        session = xl.Session(endpoints)

        async def body() -> None:
            persisting = asyncio.create_task(
                session.persist(slowed(difference, held), asynchronous=True)
            )
            assert await asyncio.to_thread(held.begun.wait, 30)
            await asyncio.to_thread(session.close)
            with pytest.raises(errors.ExecutionError, match="session was closed"):
                await persisting

        asyncio.run(body())
        held.go_on.set()
