"""The main job on two real gateways: each part runs beside its data."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xr_locality as xl
from xr_locality.testing import Testbed

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))


def chunk_readers(testbed: Testbed, region: str) -> set[str]:
    """Tell who has read raw chunks of the dataset in a region."""
    return {
        record.reader
        for record in testbed[region].objects.requests()
        if record.method == "GET" and "/t/" in record.path and "zarr.json" not in record.path
    }


def clear_logs(testbed: Testbed) -> None:
    """Forget who has read what so far."""
    for region in testbed.regions:
        region.objects.clear_requests()


@pytest.fixture
def difference(a: xr.Dataset, b: xr.Dataset) -> xr.DataArray:
    """The difference of two means over time, one in each region."""
    difference: xr.DataArray = a.t.mean("time") - b.t.mean("time")
    return difference


def test_catalog_tells_the_region(a: xr.Dataset, b: xr.Dataset) -> None:
    """An opened entry knows its region, and says that the catalog told it."""
    assert a.locality.region == AWS
    assert b.locality.region == GCP
    assert "entry 'a'" in a.locality.sources[0].evidence


def test_raw_chunks_are_read_only_beside_them(
    testbed: Testbed, session: xl.Session, difference: xr.DataArray
) -> None:
    """The object servers' own logs show no raw chunk read from elsewhere."""
    clear_logs(testbed)
    difference.locality.compute()
    assert chunk_readers(testbed, "aws:us-west-2") == {"aws:us-west-2"}
    assert chunk_readers(testbed, "gcp:us-central1") == {"gcp:us-central1"}


def test_only_the_means_cross(session: xl.Session, difference: xr.DataArray) -> None:
    """One mean crosses to the other region, the difference to the client, as planned."""
    plan = difference.locality.plan()
    difference.locality.compute()
    report = session.reports[-1]
    nbytes = 6 * 8 * 4
    assert report.moved == {(GCP, AWS): nbytes, (AWS, LOCAL): nbytes}
    assert plan.moved == report.moved
    assert len(plan.boundaries) == 1
    assert report.retries == 0
    assert report.by_region[AWS].tasks > 0
    assert report.by_region[GCP].tasks > 0


def test_answer_is_the_same(session: xl.Session, difference: xr.DataArray) -> None:
    """Values, coordinates, attributes and dtype equal those of plain compute."""
    expected = difference.compute(scheduler="sync")
    result = difference.locality.compute()
    xr.testing.assert_identical(result, expected)
    assert result.dtype == expected.dtype
    assert isinstance(result.data, np.ndarray)


def test_one_region_stays_in_it(testbed: Testbed, session: xl.Session, a: xr.Dataset) -> None:
    """A graph over one region runs there, and nothing starts or moves elsewhere."""
    clear_logs(testbed)
    mean = a.t.mean()
    expected = mean.compute(scheduler="sync")
    clear_logs(testbed)
    xr.testing.assert_identical(mean.locality.compute(), expected)
    assert session.reports[-1].plan.regions == (AWS,)
    assert set(session.reports[-1].moved) == {(AWS, LOCAL)}
    assert chunk_readers(testbed, "aws:us-west-2") == {"aws:us-west-2"}
    assert testbed["gcp:us-central1"].objects.requests() == ()


def test_datasets_and_containers(session: xl.Session, a: xr.Dataset, b: xr.Dataset) -> None:
    """Datasets, trees and containers come back as they went in, computed."""
    dataset = xr.Dataset({"mean": a.t.mean("time"), "joined": a.t + b.t})
    tree = xr.DataTree.from_dict({"/one": dataset, "/one/two": b.mean()})
    asked = {"dataset": dataset, "list": [tree, 3, a.t.data.sum()]}
    (result,) = xl.compute(asked)
    (expected,) = dask.compute({"dataset": dataset, "sum": a.t.data.sum()}, scheduler="sync")
    xr.testing.assert_identical(result["dataset"], expected["dataset"])
    assert result["list"][1] == 3
    assert result["list"][2] == expected["sum"]
    computed = result["list"][0]
    assert not any(node.to_dataset().chunks for node in computed.subtree)
    xr.testing.assert_identical(computed["/one"].to_dataset(), expected["dataset"])


def test_values_cross_both_ways(session: xl.Session, a: xr.Dataset, b: xr.Dataset) -> None:
    """A rolling mean over data joined from two regions exchanges only what it needs."""
    joined = xr.concat([a.t, b.t], "time").rolling(time=3).mean()
    result = joined.locality.compute()
    xr.testing.assert_identical(result, joined.compute(scheduler="sync"))
    plan, report = session.reports[-1].plan, session.reports[-1]
    between = {pair: n for pair, n in report.moved.items() if LOCAL not in pair}
    assert sum(between.values()) < a.t.nbytes / 2
    assert {pair: n for pair, n in plan.moved.items() if LOCAL not in pair} == between


def test_load_fills_in_place(session: xl.Session, a: xr.Dataset) -> None:
    """``load`` computes beside the data and changes the object itself."""
    dataset = a[["t"]].mean("time")
    assert dataset.locality.load() is dataset
    assert isinstance(dataset.t.data, np.ndarray)


def test_persisted_chunks_stay_and_are_found(
    testbed: Testbed, session: xl.Session, a: xr.Dataset, b: xr.Dataset
) -> None:
    """After ``persist`` plans know where chunks are, and nothing is read again."""
    doubled = (a.t * 2).locality.persist()
    clear_logs(testbed)
    difference = doubled.mean("time") - b.t.mean("time")
    result = difference.locality.compute()
    assert chunk_readers(testbed, "aws:us-west-2") == set()
    xr.testing.assert_identical(result, ((a.t * 2).mean("time") - b.t.mean("time")).compute())
    assert session.reports[-1].plan.regions == (AWS, GCP)
    xr.testing.assert_identical(doubled.compute(), (a.t * 2).compute())


def test_routed_plain_compute(
    testbed: Testbed, session: xl.Session, difference: xr.DataArray
) -> None:
    """A plain ``.compute()`` inside ``routed()`` runs beside the data."""
    expected = difference.compute(scheduler="sync")
    clear_logs(testbed)
    with xl.routed():
        result = difference.compute()
    xr.testing.assert_identical(result, expected)
    assert chunk_readers(testbed, "aws:us-west-2") == {"aws:us-west-2"}
    assert chunk_readers(testbed, "gcp:us-central1") == {"gcp:us-central1"}
    assert session.reports[-1].moved == {(GCP, AWS): 192, (AWS, LOCAL): 192}


def test_other_threads_are_not_routed(
    testbed: Testbed, session: xl.Session, difference: xr.DataArray
) -> None:
    """A thread that did not enter ``routed()`` computes here, as ever."""
    clear_logs(testbed)
    with xl.routed():
        thread = threading.Thread(target=difference.compute)
        thread.start()
        thread.join()
    assert chunk_readers(testbed, "aws:us-west-2") == {"client"}
    assert dask.config.get("scheduler", None) is None


def test_threads_at_once_with_other_cuts(session: xl.Session, a: xr.Dataset, b: xr.Dataset) -> None:
    """Computes at once on the same schedulers, cut in different places, do not collide."""
    programs = {
        "means": a.t.mean("time") - b.t.mean("time"),
        "elementwise": (a.t - b.t).sum("time"),
        "joined": xr.concat([a.t, b.t], "time").std("time"),
    }
    results: dict[str, Any] = {}

    def compute(name: str) -> None:
        results[name] = programs[name].locality.compute()

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(compute, name))
        for name in programs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, program in programs.items():
        xr.testing.assert_identical(results[name], program.compute(scheduler="sync"))


def test_relay_goes_by_way_of_the_client(session: xl.Session, difference: xr.DataArray) -> None:
    """With ``transfer="relay"`` a boundary value passes through this machine."""
    result = difference.locality.compute(transfer="relay")
    xr.testing.assert_identical(result, difference.compute(scheduler="sync"))
    assert session.reports[-1].moved == {(GCP, LOCAL): 192, (LOCAL, AWS): 192, (AWS, LOCAL): 192}


def test_local_data_join_in(session: xl.Session, a: xr.Dataset, tmp_path: Any) -> None:
    """Data in local files are read here, and only their mean is sent."""
    ones = xr.Dataset({"t": (a.t.dims, np.ones(a.t.shape))}).chunk(time=4)
    ones.to_zarr(tmp_path / "local.zarr", zarr_format=2)
    here = xr.open_zarr(tmp_path / "local.zarr", chunks={})
    assert here.locality.region == LOCAL
    difference = a.t.mean("time") - here.t.mean("time")
    xr.testing.assert_identical(difference.locality.compute(), difference.compute())
    assert session.reports[-1].plan.regions == (AWS, LOCAL)


def test_no_default_client_is_left(session: xl.Session, difference: xr.DataArray) -> None:
    """No client of ours becomes dask's default."""
    from distributed import default_client

    difference.locality.compute()
    with pytest.raises(ValueError, match="No clients found"):
        default_client()


def test_secrets_appear_nowhere(
    testbed: Testbed, session: xl.Session, difference: xr.DataArray, caplog: Any
) -> None:
    """Passwords and keys are in no plan, report, log or plugin's repr."""
    caplog.set_level("DEBUG")
    difference.locality.compute()
    report = session.reports[-1]
    pool = session.resources.pool
    assert pool is not None
    gateways = [pool.connections[region] for region in (AWS, GCP)]
    # Of a private key, its first line after the heading.
    secrets = [connection.security.tls_key.splitlines()[1] for connection in gateways]
    secrets += [region.gateway.password for region in testbed.regions]
    plugins = [_worker_plugins(session, connection) for connection in gateways]
    shown = "\n".join(
        [
            repr(report),
            str(report),
            repr(report.plan),
            report.plan.explain(),
            str(report.plan.to_dict()),
            caplog.text,
            repr(session),
            *plugins,
        ]
    )
    for secret in secrets:
        assert secret not in shown


def _worker_plugins(session: xl.Session, connection: Any) -> str:
    def show(dask_scheduler: Any = None) -> str:
        return repr(dask_scheduler.worker_plugins)

    async def ask() -> str:
        shown: str = await connection.client.run_on_scheduler(show)
        return shown

    assert session.resources.loop is not None
    return session.resources.loop.run(ask())


def test_runs_from_asynchronous_code(session: xl.Session, difference: xr.DataArray) -> None:
    """A synchronous compute in a thread of an event loop works as elsewhere."""

    async def main() -> xr.DataArray:
        result: xr.DataArray = await asyncio.to_thread(difference.locality.compute)
        return result

    xr.testing.assert_identical(asyncio.run(main()), difference.compute(scheduler="sync"))


def test_writes_from_beside_the_store(
    testbed: Testbed, session: xl.Session, a: xr.Dataset, b: xr.Dataset
) -> None:
    """``to_zarr`` makes chunks beside their data and writes them beside the store."""
    dataset = xr.Dataset({"doubled": a.t * 2, "difference": a.t.mean("time") - b.t.mean("time")})
    objects = testbed["gcp:us-central1"].objects
    url = objects.url("written.zarr")
    clear_logs(testbed)
    dataset.locality.to_zarr(
        url,
        policy={"rules": {url: "gcp:us-central1"}},
        consolidated=False,
        storage_options=objects.storage_options,
    )
    chunks = [
        record
        for record in objects.requests()
        if record.method == "PUT" and any(f"/{name}/c/" in record.path for name in dataset)
    ]
    assert {record.reader for record in chunks} == {"gcp:us-central1"}
    assert chunk_readers(testbed, "aws:us-west-2") == {"aws:us-west-2"}
    assert chunks
    written = xr.open_zarr(url, consolidated=False, storage_options=objects.storage_options)
    xr.testing.assert_identical(written.load(), dataset.compute(scheduler="sync"))


def test_store_of_unknown_region_is_refused(
    testbed: Testbed, session: xl.Session, a: xr.Dataset
) -> None:
    """Writing to a store whose region nobody knows says how to say it."""
    objects = testbed["gcp:us-central1"].objects
    with pytest.raises(xl.errors.RegionError, match="written to, is not known"):
        (a.t * 2).to_dataset().locality.to_zarr(
            objects.url("nowhere.zarr"),
            consolidated=False,
            storage_options=objects.storage_options,
        )
