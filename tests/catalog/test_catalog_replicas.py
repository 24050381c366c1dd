"""Entries with replicas: which one a plan reads, and that it is read."""

from __future__ import annotations

import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr
import yaml

import xr_locality as xl
from support.clusters import two_clusters
from support.inprocess import run_here, submitted
from support.polling import patience
from xr_locality.errors import (
    ConfigurationError,
    EndpointError,
    LocalityErrorGroup,
    RegionError,
    SourceError,
)
from xr_locality.regions.region import Region
from xr_locality.testing.objects import ObjectServer

WEST, IOWA, IRELAND = map(Region.parse, ("aws:us-west-2", "gcp:us-central1", "aws:eu-west-1"))
BOTH = {str(WEST): None, str(IOWA): None}


@pytest.fixture(autouse=True)
def quiet_intake() -> Iterator[None]:
    """Let Intake's own deprecations be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="intake")
        yield


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Region, ObjectServer]]:
    """Start an object server in two regions: ``era5`` is in both, ``lens`` in Iowa alone."""
    servers = {
        region: ObjectServer(
            region=region, directory=tmp_path_factory.mktemp("server"), environ=os.environ
        )
        for region in (WEST, IOWA)
    }
    try:
        for server in servers.values():
            server.spawn()
        for region, server in servers.items():
            server.wait_until_ready(deadline=time.monotonic() + patience(60))
            write(field("era5"), server, "era5.zarr")
            if region == IOWA:
                write(field("lens"), server, "lens.zarr", zarr_format=2)
            # No copy of it: half of the chunks, of another type, of other times.
            write(field("era5").chunk(time=4), server, "chunks.zarr")
            write(field("era5").astype("f8"), server, "dtype.zarr")
            write(field("era5").isel(time=slice(4)), server, "shape.zarr")
        yield servers
    finally:
        for server in servers.values():
            server.kill()
            server.reap()


def write(dataset: xr.Dataset, server: ObjectServer, key: str, zarr_format: int = 3) -> None:
    """Write a dataset to a region's object server."""
    dataset.drop_encoding().to_zarr(
        server.url(key),
        zarr_format=zarr_format,  # type: ignore[arg-type]
        consolidated=False,
        storage_options=server.storage_options,
    )


def field(name: str) -> xr.Dataset:
    """Make a dataset in four chunks, whose values its name decides."""
    rng = np.random.default_rng(len(name))
    values = rng.random((8, 30, 40), dtype="float32")
    dataset = xr.Dataset({"t": (("time", "y", "x"), values)}, {"time": np.arange(8)})
    return dataset.chunk(time=2)


@pytest.fixture
def entry(servers: Mapping[Region, ObjectServer]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes an entry, with replicas in regions, of keys."""

    def entry(
        key: str, region: Region, replicas: Mapping[Region, str] | None = None, **locality: Any
    ) -> dict[str, Any]:
        copies = [
            {
                "urlpath": servers[where].url(copy),
                "region": str(where),
                "storage_options": servers[where].storage_options,
            }
            for where, copy in (replicas or {}).items()
        ]
        server = servers[region]
        return {
            "driver": ["xarray_locality", "zarr"],
            "args": {
                "urlpath": server.url(key),
                "storage_options": server.storage_options,
                "consolidated": False,
            },
            "metadata": {"locality": {"region": str(region), "replicas": copies, **locality}},
        }

    return entry


@pytest.fixture
def open_catalog(tmp_path: Path) -> Callable[..., Any]:
    """Write a catalog and open it with Intake."""

    def open_catalog(**sources: Any) -> Any:
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({"sources": sources}))
        return intake.open_catalog(str(path))

    return open_catalog


@pytest.fixture
def pair(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> tuple[xr.Dataset, xr.Dataset]:
    """Open ``era5``, in Oregon with a replica in Iowa, and ``lens``, in Iowa alone."""
    cat = open_catalog(
        era5=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}), lens=entry("lens.zarr", IOWA)
    )
    return cat.era5.to_dask(), cat.lens.to_dask()


def chunks_read(servers: Mapping[Region, ObjectServer]) -> dict[Region, set[str]]:
    """List the stores of which chunks were read, by region, and forget them."""
    read: dict[Region, set[str]] = {}
    for region, server in servers.items():
        keys = {each.key for each in server.requests() if each.method == "GET"}
        read[region] = {key.split("/")[0] for key in keys if "/t/" in key and key[-1].isdigit()}
        server.clear_requests()
    return read


def test_the_rest_of_the_graph_chooses(
    pair: tuple[xr.Dataset, xr.Dataset], servers: Mapping[Region, ObjectServer]
) -> None:
    """A difference is computed where both operands have a copy, and that copy alone is read."""
    era5, lens = pair
    difference = (era5.t - lens.t).mean()
    expected = difference.compute()
    plan = xl.plan(difference, endpoints=BOTH, client_region=str(WEST))
    assert plan.regions == (IOWA,)
    assert [(str(each.region), each.target) for each in plan.replicas] == [(str(IOWA), IOWA)]
    assert {transfer.why for transfer in plan.transfers} == {"result"}
    chunks_read(servers)
    (got,) = run_here(plan)
    xr.testing.assert_identical(got, expected)
    assert chunks_read(servers) == {WEST: set(), IOWA: {"era5.zarr", "lens.zarr"}}


def test_alone_the_original_is_read(
    pair: tuple[xr.Dataset, xr.Dataset], servers: Mapping[Region, ObjectServer]
) -> None:
    """Without anything else in the graph, what results cost least from is read."""
    era5, _ = pair
    mean = era5.t.mean("time")
    expected = mean.compute()
    chunks_read(servers)
    for client in (WEST, IOWA):
        plan = xl.plan(mean, endpoints=BOTH, client_region=str(client))
        (got,) = run_here(plan)
        xr.testing.assert_identical(got, expected)
        assert plan.regions == (client,)
        assert plan.nbytes_moved == 0 or {each.why for each in plan.transfers} == {"result"}
        assert chunks_read(servers) == {
            WEST: {"era5.zarr"} if client == WEST else set(),
            IOWA: {"era5.zarr"} if client == IOWA else set(),
        }


def test_one_region_of_several_needs_an_endpoint(
    pair: tuple[xr.Dataset, xr.Dataset], servers: Mapping[Region, ObjectServer]
) -> None:
    """Where only a replica has an endpoint, it is read; where none has, that is an error."""
    era5, _ = pair
    mean = era5.t.mean()
    plan = xl.plan(mean, endpoints={str(IOWA): None})
    assert plan.regions == (IOWA,)
    chunks_read(servers)
    run_here(plan)
    assert chunks_read(servers) == {WEST: set(), IOWA: {"era5.zarr"}}
    with pytest.raises(EndpointError, match="aws:us-west-2"):
        xl.plan(mean, endpoints={str(IRELAND): None})


def test_without_remote_reads_the_best_copy_is_read(
    pair: tuple[xr.Dataset, xr.Dataset],
) -> None:
    """Where nothing is read from afar, all copies are tried, and not the original alone."""
    era5, lens = pair
    difference = (era5.t - lens.t).mean()
    plan = xl.plan(difference, endpoints=BOTH, client_region=str(IOWA), remote_read="never")
    assert plan.regions == (IOWA,)
    assert [each.region for each in plan.replicas] == [IOWA]
    assert plan.moved == {}
    alone = xl.plan(
        (era5.t - 1).mean() + lens.t.max("time").sum(),
        endpoints=BOTH,
        client_region=str(IOWA),
        remote_read="never",
    )
    assert alone.regions == (IOWA,)


def test_others_of_the_region_still_need_an_endpoint(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """A replica of one source is no endpoint for another source of the same region."""
    cat = open_catalog(
        era5=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}), alone=entry("dtype.zarr", WEST)
    )
    total = cat.era5.to_dask().t.sum() + cat.alone.to_dask().t.sum()
    with pytest.raises(EndpointError, match="aws:us-west-2"):
        xl.plan(total, endpoints={str(IOWA): None})


def test_read_from_afar_from_the_nearest(
    pair: tuple[xr.Dataset, xr.Dataset], servers: Mapping[Region, ObjectServer]
) -> None:
    """A region without a copy reads the one whose bytes cost it least, and the plan says so."""
    era5, _ = pair
    plan = xl.plan(
        era5.t.mean("time"),
        endpoints={str(IRELAND): None},
        missing_endpoint="nearest",
        prices={f"{WEST} -> {IRELAND}": 1.0, f"{IOWA} -> {IRELAND}": 0.5},
    )
    assert plan.regions == (IRELAND,)
    (read,) = (each for each in plan.transfers if each.why == "remote-read")
    assert (read.source, read.target) == (IOWA, IRELAND)
    assert read.key == servers[IOWA].url("era5.zarr")
    assert f"reads the replica {read.key} in {IOWA}" in " ".join(plan.explain().split())


def test_split_plan_reads_replicas(
    entry: Callable[..., dict[str, Any]],
    open_catalog: Callable[..., Any],
    servers: Mapping[Region, ObjectServer],
) -> None:
    """Where a graph is split, the region that the rest of the graph chose reads its copy."""
    cat = open_catalog(
        era5=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}),
        lens=entry("lens.zarr", IOWA),
        alone=entry("dtype.zarr", WEST),
    )
    era5, lens, alone = (cat[name].to_dask().t for name in ("era5", "lens", "alone"))
    wanted = (era5 - lens).mean("time") + alone.mean("time")
    expected = wanted.compute()
    plan = xl.plan(wanted, endpoints=BOTH)
    assert plan.regions == (WEST, IOWA)
    chunks_read(servers)
    (got,) = run_here(plan)
    xr.testing.assert_identical(got, expected)
    assert chunks_read(servers) == {WEST: {"dtype.zarr"}, IOWA: {"era5.zarr", "lens.zarr"}}


@pytest.mark.parametrize("wrong", ["chunks", "dtype", "shape"])
def test_what_is_no_copy_is_refused(
    wrong: str,
    entry: Callable[..., dict[str, Any]],
    open_catalog: Callable[..., Any],
) -> None:
    """A replica that differs in chunks, type or shape is an error that says in which."""
    cat = open_catalog(era5=entry("era5.zarr", WEST, {IOWA: f"{wrong}.zarr"}))
    plan = xl.plan(cat.era5.to_dask().t.sum(), endpoints={str(IOWA): None})
    with pytest.raises(SourceError, match=f"no copy: its array 't' has {wrong}"):
        run_here(plan)


def test_missing_replica_is_refused(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """A replica that is not there is an error that names it, before anything is sent."""
    cat = open_catalog(era5=entry("era5.zarr", WEST, {IOWA: "gone.zarr"}))
    plan = xl.plan(cat.era5.to_dask().t.sum(), endpoints={str(IOWA): None})
    with pytest.raises(SourceError, match="gone.zarr"):
        submitted(plan)


def test_region_forces_a_replica(
    entry: Callable[..., dict[str, Any]],
    open_catalog: Callable[..., Any],
    servers: Mapping[Region, ObjectServer],
) -> None:
    """``to_dask(region=…)`` opens what is there, and plans know no other."""
    source = open_catalog(era5=entry("era5.zarr", WEST, {IOWA: "era5.zarr"})).era5
    assert source.regions == (WEST, IOWA)
    opened = source.to_dask(region="gcp:us-central1")
    assert opened.locality.region == IOWA
    plan = xl.plan(opened.t.mean(), endpoints=BOTH, client_region=str(WEST))
    assert (plan.regions, plan.replicas) == ((IOWA,), ())
    assert source.to_dask(region=IOWA) is opened
    chunks_read(servers)
    opened.t.mean().compute()
    assert chunks_read(servers) == {WEST: set(), IOWA: {"era5.zarr"}}
    with pytest.raises(RegionError, match=f"'{IRELAND}'.*{WEST}, {IOWA}"):
        source.to_dask(region=IRELAND)


@pytest.mark.parametrize("client", [WEST, IOWA], ids=str)
def test_what_may_not_leave_is_read_where_results_are_wanted(
    client: Region,
    entry: Callable[..., dict[str, Any]],
    open_catalog: Callable[..., Any],
    servers: Mapping[Region, ObjectServer],
) -> None:
    """Of data that never leave, the copy beside the client is read, and nothing crosses."""
    source = open_catalog(a=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}, leaves="never")).a
    mean = source.to_dask().t.mean("time")
    expected = mean.compute()
    plan = xl.plan(mean, endpoints=BOTH, client_region=str(client))
    assert plan.regions == (client,)
    assert plan.moved == {}
    chunks_read(servers)
    (got,) = run_here(plan)
    xr.testing.assert_identical(got, expected)
    assert {where for where, read in chunks_read(servers).items() if read} == {client}


def test_what_may_not_leave_leaves_no_region_that_it_is_listed_in(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """A copy is no way out: to a client in a third region nothing goes, from any of them."""
    source = open_catalog(a=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}, leaves="never")).a
    wanted = source.to_dask().t.sum()
    for policy in ({"client_region": str(IRELAND)}, {"client_region": "local"}):
        with pytest.raises(SourceError, match="may not leave"):
            xl.plan(wanted, endpoints=BOTH, **policy)
    with pytest.raises(SourceError, match="may not leave region 'gcp:us-central1'"):
        xl.plan(wanted, endpoints={str(IOWA): None}, client_region=str(WEST))
    with pytest.raises(EndpointError, match="aws:us-west-2"):
        xl.plan(wanted, endpoints={str(IRELAND): None}, client_region=str(IRELAND))


def test_two_that_may_not_leave_meet_where_both_are(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """Data that both stay are combined in the one region in which each has a copy."""
    cat = open_catalog(
        a=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}, leaves="never"),
        b=entry("lens.zarr", IOWA, leaves="never"),
    )
    wanted = (cat.a.to_dask().t - cat.b.to_dask().t).mean()
    plan = xl.plan(wanted, endpoints=BOTH, client_region=str(IOWA))
    assert (plan.regions, plan.moved) == ((IOWA,), {})
    assert [each.region for each in plan.replicas] == [IOWA]


def test_chunks_that_stay_are_reduced_beside_any_copy(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """With ``leaves: reduced`` the copy that costs least is reduced, and only means cross."""
    cat = open_catalog(
        a=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}, leaves="reduced"),
        b=entry("lens.zarr", IOWA),
    )
    wanted = cat.a.to_dask().t.mean("time") - cat.b.to_dask().t.mean("time")
    plan = xl.plan(wanted, endpoints=BOTH, client_region=str(IOWA))
    assert (plan.regions, plan.moved) == ((IOWA,), {})


def test_replica_hides_how_it_is_opened(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """Neither the repr of a replica nor its pickle holds its URL's or its options' secrets."""
    given = entry("era5.zarr", WEST)
    given["metadata"]["locality"]["replicas"] = [
        {
            "urlpath": "https://me:hush@host.org/a.zarr?sig=hush",
            "region": str(IOWA),
            "storage_options": {"secret": "hush"},
        }
    ]
    tag = open_catalog(a=given).a.tag
    shown = repr(tag) + str(tag) + repr(pickle.dumps(tag))
    assert "host.org" in shown
    assert "hush" not in shown


def test_entry_of_several_urls(
    entry: Callable[..., dict[str, Any]],
    open_catalog: Callable[..., Any],
    servers: Mapping[Region, ObjectServer],
) -> None:
    """A replica lists a copy of each URL, in their order, and all are read where it is chosen."""
    keys = ("first.zarr", "second.zarr")
    for server in servers.values():
        for n, key in enumerate(keys):
            part = field("era5").assign_coords(time=np.arange(8) + 8 * n)
            write(part * (n + 1), server, key)
    given = entry(keys[0], WEST, {IOWA: keys[0]})
    given["args"]["urlpath"] = [servers[WEST].url(key) for key in keys]
    given["metadata"]["locality"]["replicas"][0]["urlpath"] = [
        servers[IOWA].url(key) for key in keys
    ]
    source = open_catalog(a=given).a
    assert source.regions == (WEST, IOWA)
    mean = source.to_dask().t.mean("time")
    expected = mean.compute()
    plan = xl.plan(mean, endpoints={str(IOWA): None}, client_region=str(IOWA))
    assert {read.replica.store.path for read in plan.replicas if read.replica} == set(keys)
    chunks_read(servers)
    (got,) = run_here(plan)
    xr.testing.assert_identical(got, expected)
    assert chunks_read(servers) == {WEST: set(), IOWA: set(keys)}
    forced = source.to_dask(region=IOWA)
    chunks_read(servers)
    xr.testing.assert_identical(forced.t.mean("time").compute(), expected)
    assert chunks_read(servers) == {WEST: set(), IOWA: set(keys)}


def test_replica_of_several_urls_has_as_many(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """Of lists that are not as long nobody could tell which URL is a copy of which."""
    given = entry("era5.zarr", WEST, {IOWA: "era5.zarr"})
    given["args"]["urlpath"] = [given["args"]["urlpath"]] * 2
    with pytest.raises(ConfigurationError, match="has 1 URLs and its entry 2"):
        open_catalog(a=given).a.to_dask()


def test_netcdf_is_reopened(tmp_path: Path, open_catalog: Callable[..., Any]) -> None:
    """A replica of a file is opened as the file was, and read."""
    pytest.importorskip("netCDF4")
    original, copy = (str(tmp_path / name) for name in ("a.nc", "b.nc"))
    field("era5").to_netcdf(original)
    (field("era5") + 1).to_netcdf(copy)
    replicas = [{"urlpath": copy, "region": str(IOWA)}]
    cat = open_catalog(
        a={
            "driver": "xr_locality.catalog.drivers.NetCDFSource",
            "args": {"urlpath": original, "chunks": {"time": 2}},
            "metadata": {"locality": {"region": str(WEST), "replicas": replicas}},
        }
    )
    opened = cat.a.to_dask()
    plan = xl.plan(opened.t, endpoints={str(IOWA): None})
    (got,) = run_here(plan)
    xr.testing.assert_equal(got, opened.t.compute() + 1)


def test_several_problems_are_told_together(
    entry: Callable[..., dict[str, Any]], open_catalog: Callable[..., Any]
) -> None:
    """A region that a replica serves is left out of what is wrong, and others are named."""
    cat = open_catalog(
        era5=entry("era5.zarr", WEST, {IOWA: "era5.zarr"}), lens=entry("lens.zarr", IOWA)
    )
    total = cat.era5.to_dask().t.sum() + cat.lens.to_dask().t.sum()
    with pytest.raises(EndpointError, match="gcp:us-central1"):
        xl.plan(total, endpoints={str(WEST): None})
    with pytest.raises(LocalityErrorGroup, match="aws:us-west-2"):
        xl.plan(total, endpoints={str(IRELAND): None})


def test_sessions_read_replicas(
    pair: tuple[xr.Dataset, xr.Dataset], servers: Mapping[Region, ObjectServer]
) -> None:
    """On real clusters the chosen copy is read, in one region and in a plan for two."""
    era5, lens = pair
    wanted = (era5.t - lens.t).mean()
    expected = wanted.compute()
    with two_clusters(processes=False) as endpoints, xl.Session(endpoints, progress=False) as one:
        chunks_read(servers)
        (got,) = one.compute(wanted)
        assert chunks_read(servers) == {WEST: set(), IOWA: {"era5.zarr", "lens.zarr"}}
        (report,) = one.reports
        assert "reads the replica" in " ".join(report.plan.explain().split())
    xr.testing.assert_allclose(got, expected)
