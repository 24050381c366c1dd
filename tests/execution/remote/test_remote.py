from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.local import get_sync
from dask.typing import Key
from distributed import Client
from distributed.comm import connect, listen
from distributed.protocol import to_serialize
from distributed.protocol.core import dumps, loads
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import xr_locality as xl
from support.answers import assert_same, compute_plainly
from support.polling import patience
from xr_locality.compat.dask_graph import Task, TaskRef
from xr_locality.execution import remote
from xr_locality.execution.ship import Shipped, ship

VALUES = np.random.default_rng(0).random((4, 5, 6)).astype("f4")

ARRAYS: dict[str, Any] = {
    "C order": VALUES,
    "Fortran order": np.asfortranarray(VALUES),
    "neither order": VALUES.transpose(1, 0, 2),
    "backwards": VALUES[::-1],
    "backwards in neither order": VALUES.transpose(2, 0, 1)[:, ::-1],
    "every second": VALUES[:, ::2],
    "broadcast": np.broadcast_to(VALUES[0], (3, 5, 6)),
    "broadcast in neither order": np.broadcast_to(VALUES[0], (3, 5, 6)).transpose(1, 0, 2),
    "empty": np.zeros((0, 3)),
    "scalar array": np.array(3.0),
    "booleans": (VALUES > 0.5).transpose(1, 0, 2),
    "dates": np.arange(6).reshape(2, 3).astype("M8[ns]").T[::-1],
    "records": np.zeros((2, 3, 4), dtype=[("a", "f4"), ("b", "i8")]).transpose(1, 0, 2),
    "text": np.array([["a", "bb"], ["c", "d"]]).T[::-1],
    "objects": np.array([["a", None]], dtype=object).T,
}


def moved(value: Any) -> Any:
    """Move a value as between two clusters: packed, serialised, received, unpacked."""
    frames = dumps({"value": to_serialize(remote.pack(value))})
    return received(loads(frames, deserialize=False)["value"])[0]


def received(sent: Any) -> tuple[Any, int]:
    """Receive a value as a fetch does: what came of it, and its bytes."""
    value, nbytes = asyncio.run(remote.receive(sent))
    return remote.unpack(value), nbytes


def order_of(array: np.ndarray[Any, Any]) -> list[tuple[int, bool]]:
    """Say in which order an array's axes lie in memory, and which way they run."""
    axes = [axis for axis in range(array.ndim) if array.shape[axis] > 1 and array.strides[axis]]
    axes.sort(key=lambda axis: -abs(array.strides[axis]))
    return [(axis, array.strides[axis] < 0) for axis in axes]


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_moved_array_keeps_values_and_memory_order(array: np.ndarray[Any, Any]) -> None:
    """An array arrives with the same values, lying in memory in the same order."""
    got = moved(array)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    assert order_of(got) == order_of(array)
    assert got.flags.writeable or not array.flags.writeable


@pytest.mark.parametrize("name", ["C order", "Fortran order", "neither order"])
def test_arrays_arrive_where_they_can_be_used(name: str) -> None:
    """An array that came at an odd address is moved, or its products would round differently."""
    array = ARRAYS[name]
    frames = dumps({"value": to_serialize({"partial": (remote.pack(array), 7)})})
    sent = loads(frames, deserialize=False)["value"]
    sent.frames = [memoryview(bytearray(b"+" + bytes(frame)))[1:] for frame in sent.frames]
    assert any(np.frombuffer(frame, "u1").ctypes.data % 8 for frame in sent.frames)
    got, rest = received(sent)[0]["partial"]
    assert rest == 7
    assert got.flags.aligned
    np.testing.assert_array_equal(got, array)
    assert order_of(got) == order_of(array)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("pieces", [1, 4])
def test_arrays_arrive_compressed_and_in_pieces(compression: str | None, pieces: int) -> None:
    """A cluster that compresses what it sends is understood, and so are values of many frames."""
    array = np.arange(30_000).reshape(100, 300)
    frames = dumps(
        {"value": to_serialize(remote.pack(array))},
        context={"compression": compression},
        frame_split_size=array.nbytes // pieces,
    )
    got, nbytes = received(loads(frames, deserialize=False)["value"])
    np.testing.assert_array_equal(got, array)
    assert nbytes == array.nbytes if compression is None else nbytes < array.nbytes


@given(
    data=st.data(),
    array=npst.arrays("f8", npst.array_shapes(min_dims=2, max_dims=4, max_side=9)),
)
def test_reduction_of_a_moved_array_rounds_the_same(
    data: st.DataObject, array: np.ndarray[Any, Any]
) -> None:
    """However an array was turned, a sum over it is the same to the last bit elsewhere."""
    turned = array.transpose(data.draw(st.permutations(range(array.ndim))))
    ways = data.draw(st.lists(st.sampled_from([1, -1]), min_size=array.ndim, max_size=array.ndim))
    turned = turned[tuple(slice(None, None, way) for way in ways)]
    axes = tuple(data.draw(st.sets(st.integers(0, array.ndim - 1), min_size=1)))
    with np.errstate(all="ignore"):
        assert moved(turned).sum(axes).tobytes() == turned.sum(axes).tobytes()


async def send_over_tcp(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send messages, aligned, over a connection of distributed's; read them undeserialised."""

    async def send(comm: Any) -> None:
        for message in messages:
            await comm.write(remote.align(message, comm))
        assert await comm.read() == "OK"
        await comm.close()

    async with listen("tcp://127.0.0.1", send, deserialize=False) as listener:
        comm = await connect(listener.contact_address, deserialize=False)
        try:
            arrived = [await comm.read() for _ in messages]
            await comm.write("OK")
            return arrived
        finally:
            await comm.close()


def test_first_large_value_arrives_aligned_whatever_goes_before_it() -> None:
    """It is used as it came: nothing is copied, and what was sent with it is there too."""
    values = np.arange(10**5, dtype="f8")
    messages = [{"data": {"k" * n: to_serialize(values)}, "more": n} for n in range(1, 40)]
    sent = asyncio.run(send_over_tcp(messages))
    for message, arrived in zip(messages, sent, strict=True):
        (received,) = arrived["data"].values()
        value, _ = asyncio.run(remote.receive(received))
        np.testing.assert_array_equal(value, values)
        assert value.ctypes.data % 16 == 0
        assert remote.unpack(value) is value
        assert arrived["more"] == message["more"]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"n": VALUES.T[::-1], "total": VALUES.transpose(1, 0, 2)}, id="dict"),
        pytest.param((VALUES.transpose(1, 0, 2), VALUES[::-1]), id="tuple"),
        pytest.param({"parts": (VALUES.transpose(1, 0, 2),)}, id="nested"),
    ],
)
def test_partials_of_reductions_keep_their_order(value: Any) -> None:
    """The arrays inside a partial keep their memory order too."""

    def arrays(each: Any) -> Iterator[np.ndarray[Any, Any]]:
        if isinstance(each, np.ndarray):
            yield each
        else:
            for inside in each.values() if isinstance(each, dict) else each:
                yield from arrays(inside)

    got = moved(value)
    assert type(got) is type(value)
    for one, other in zip(arrays(got), arrays(value), strict=True):
        np.testing.assert_array_equal(one, other)
        assert order_of(one) == order_of(other)


@pytest.mark.parametrize(
    "value", [None, 3, "text", [1, 2], {"a": 1}, ("x", 1, 2, 3), (), np.float64(2.5), range(3)]
)
def test_other_values_are_moved_as_they_are(value: object) -> None:
    """What holds no array is not touched, tuples that look like marks included."""
    got = moved(value)
    assert type(got) is type(value)
    assert got == value


def test_masked_arrays_keep_their_masks() -> None:
    """A subclass of arrays is left to the protocol that knows it."""
    masked = np.ma.masked_greater(VALUES, 0.5).transpose(1, 0, 2)
    got = moved(masked)
    assert isinstance(got, np.ma.MaskedArray)
    np.testing.assert_array_equal(got.mask, masked.mask)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("mean-abc", "mean-abc-r1"),
        (("mean-abc", 0, 1), ("mean-abc-r1", 0, 1)),
        (3, ("locality-r1", 3)),
        ((3, "x"), ("locality-r1", (3, "x"))),
    ],
)
def test_keys_of_a_run_are_its_own(key: Key, expected: Key) -> None:
    """A renamed key keeps what dask reads from its name."""
    assert remote.rename(key, "r1") == expected
    assert remote.rename(key, "r1") != remote.rename(key, "r2")


def test_secrets_are_sealed_and_opened() -> None:
    """Concealed under a key, a secret shows nothing; concealed again, it is itself."""
    secret, key = b"a private key" * 20, os.urandom(32)
    concealed = remote.conceal(secret, key)
    assert len(concealed) == len(secret)
    assert b"private" not in concealed
    assert remote.conceal(concealed, key) == secret
    assert remote.conceal(concealed, os.urandom(32)) != secret


@pytest.mark.parametrize("fuse", [None, False])
def test_optimizer_renames_every_key(fuse: bool | None) -> None:
    """An optimised partition makes the same values under the keys of the run."""
    array = (da.ones((6, 4), chunks=2) + 1).mean(0) - da.arange(4, chunks=2)
    keys = list(dask.core.flatten(array.__dask_keys__()))
    optimizer = remote.PartitionOptimizer("r1", frozenset())
    with dask.config.set({"optimization.fuse.active": fuse}):
        tasks = optimizer(array.__dask_graph__(), keys)
    assert all("r1" in str(key) for key in tasks)
    got = get_sync(tasks, [remote.rename(key, "r1") for key in keys])
    for one, other in zip(got, get_sync(dict(array.dask), keys), strict=True):
        np.testing.assert_array_equal(one, other)


def test_optimizer_leaves_fixed_keys_alone() -> None:
    """A Future keeps its name, and those who take it still find it."""
    graph = {"held": Task("held", int, 3), "next": Task("next", abs, TaskRef("held"))}
    optimizer = remote.PartitionOptimizer("r1", frozenset({"held"}))
    tasks = optimizer(graph, ["held", "next"])
    assert set(tasks) == {"held", "next-r1"}
    assert get_sync(tasks, ["next-r1"]) == (3,)


def test_optimizer_leaves_barriers_alone() -> None:
    """Workers find the barrier of a shuffle by its name, which is part of the protocol."""
    array = da.ones((16, 6), chunks=(2, 3)).rechunk((16, 1), method="p2p")
    keys = list(dask.core.flatten(array.__dask_keys__()))
    before = {key for key in array.dask if str(key).startswith("shuffle-barrier")}
    after = remote.PartitionOptimizer("r1", frozenset())(array.__dask_graph__(), keys)
    assert before
    assert {key for key in after if "barrier" in str(key)} == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: Shipped(remote.pack),
        lambda: Shipped(remote.fetch),
        lambda: Shipped(remote.measure_span),
        lambda: Shipped(remote.PartitionOptimizer("r1", frozenset({"x"}))),
        lambda: Shipped(remote.LinkPlugin("name", b"concealed", b"salt", 1.0, {})),
    ],
    ids=["pack", "fetch", "measure_span", "optimizer", "plugin"],
)
def test_code_travels_by_value(tmp_path: Path, make: Callable[[], Shipped]) -> None:
    """What is sent to a cluster can be used where xr-locality cannot be imported."""
    pickled = tmp_path / "sent.pickle"
    pickled.write_bytes(pickle.dumps(make()))
    code = f"import pickle; print(pickle.load(open({str(pickled)!r}, 'rb')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=patience(60),
        env=without_the_package(tmp_path),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Shipped" not in done.stdout


def test_shipping_leaves_pickle_as_it_was() -> None:
    """Only what is shipped travels by value; afterwards pickle goes by name again."""
    import cloudpickle

    ship(remote.pack)
    assert pickle.loads(cloudpickle.dumps(remote.pack)) is remote.pack


def test_shipped_objects_work_here_too() -> None:
    """Before it is sent, what was shipped is called like the object."""
    shipped = Shipped(remote.pack)
    np.testing.assert_array_equal(shipped(VALUES), VALUES)
    assert repr(shipped) == "pack"


def without_the_package(folder: Path) -> dict[str, str]:
    """Make an environment in which importing xr_locality fails."""
    hidden = folder / "hidden"
    (hidden / "xr_locality").mkdir(parents=True, exist_ok=True)
    (hidden / "xr_locality" / "__init__.py").write_text("raise ImportError('not installed here')")
    return {**os.environ, "PYTHONPATH": str(hidden)}


@contextmanager
def bare_clusters(folder: Path, *regions: str) -> Iterator[dict[str, str]]:
    """Start schedulers and workers that cannot import xr_locality; yield their addresses."""
    env = without_the_package(folder)
    with ExitStack() as stack:

        def start(*arguments: str) -> None:
            started = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments],
                    env=env,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(started.terminate)

        found = {region: folder / f"{number}.json" for number, region in enumerate(regions)}
        for path in found.values():
            where = ["--scheduler-file", str(path), "--no-dashboard"]
            start("scheduler", "--host", "127.0.0.1", "--port", "0", *where)
            # Workers wait for the file by themselves.
            start("worker", "--nthreads", "2", "--no-nanny", *where)
        yield {region: _address(path) for region, path in found.items()}


def _address(path: Path) -> str:
    """Wait until a scheduler has told its address."""
    deadline = monotonic() + patience(60)
    while monotonic() < deadline:
        if path.exists() and (told := path.read_text()):
            return str(json.loads(told)["address"])
        sleep(0.05)
    raise AssertionError(f"{path} was not written in time")


@pytest.mark.slow
def test_clusters_need_not_have_the_package(
    tmp_path: Path, sources: tuple[xr.Dataset, xr.Dataset]
) -> None:
    """Schedulers and workers on which xr-locality is not installed run a split all the same."""
    first, second = sources
    wanted = first.p.mean("time") - second.p.std("time")
    with (
        bare_clusters(tmp_path, "aws:us-west-2", "gcp:us-central1") as endpoints,
        xl.Session(endpoints, objective="bytes", transfer="direct") as session,
    ):
        (got,) = session.compute(wanted)
        (report,) = session.reports
    assert_same(got, compute_plainly(wanted)[0])
    assert set(report.plan.regions) == set(report.by_region)
    assert len(report.plan.regions) == 2


@pytest.mark.slow
def test_large_values_are_streamed_from_workers_without_the_package(tmp_path: Path) -> None:
    """What lets workers give their large values as streams comes to them by value."""

    def count_gathers(dask_scheduler: Any) -> int:
        told = [event for _, event in dask_scheduler.get_events("all")]
        return sum(event.get("action") == "gather" for event in told)

    n, length = 3, 3_000_000
    made = da.random.default_rng(0).random((n, length), chunks=(1, length))
    made = xl.tag(made, "aws:us-west-2")
    with dask.annotate(locality="gcp:us-central1"):
        summed = made.map_blocks(
            lambda values: values.sum(axis=1, keepdims=True), chunks=(1, 1), meta=np.empty((0, 0))
        )
    with (
        bare_clusters(tmp_path, "aws:us-west-2", "gcp:us-central1") as endpoints,
        xl.Session(endpoints, transfer="direct") as session,
        Client(endpoints["aws:us-west-2"], set_as_default=False) as client,
    ):
        # Workers learn of it while the first run starts.
        session.compute(summed)
        before = client.run_on_scheduler(count_gathers)
        (got,) = session.compute(summed + 1)
        assert client.run_on_scheduler(count_gathers) == before
        crossed = [
            nbytes
            for (_, target), nbytes in session.reports[-1].moved.items()
            if str(target) == "gcp:us-central1"
        ]
    assert crossed == [n * length * 8]
    np.testing.assert_array_equal(got, (summed + 1).compute(scheduler="sync"))
