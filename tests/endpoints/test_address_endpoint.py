"""Schedulers that somebody else runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from distributed import Client, LocalCluster, Scheduler, Worker
from distributed.security import Security

from support.endpoint_doubles import WEST
from support.polling import patience
from xr_locality.endpoints import AddressEndpoint, Endpoint, to_endpoint
from xr_locality.endpoints.address import normalise_address
from xr_locality.errors import ConfigurationError, EndpointError

Run = Callable[[Any], Any]


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Start a user's cluster inside this process, in an event loop of its own."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as mine:
        yield mine


async def computes(given: object) -> int:
    """Open what a user gave, compute where a task runs, close."""
    endpoint = to_endpoint(given)
    assert endpoint is not None
    await endpoint.preflight(region=WEST)
    async with await endpoint.open(region=WEST, deadline_seconds=patience(20)) as connection:
        assert connection.scheduler_address == endpoint.scheduler_address
        assert connection.cluster_name is None
        await connection.check(deadline_seconds=patience(10))
        await connection.ensure_workers(3)
        await connection.restore(3)
        pid: int = await connection.client.submit(os.getpid, pure=False)
        return pid


def test_a_cluster_in_another_loop_is_adopted(cluster: LocalCluster, run: Run) -> None:
    """A cluster in this process and another thread's loop serves, and stays open."""
    assert run(computes(cluster)) == os.getpid()
    assert cluster.status is distributed.Status.running


def test_a_client_is_adopted_and_stays_the_default(cluster: LocalCluster, run: Run) -> None:
    """The user's client goes on working as dask's default; ours never takes its place."""
    with Client(cluster) as mine:
        assert run(computes(mine)) == os.getpid()
        assert distributed.default_client() is mine
        assert dask.delayed(sum)([1, 2]).compute() == 3
        assert mine.status == "running"


def test_a_cluster_of_processes_is_adopted(run: Run) -> None:
    """Tasks run in the adopted cluster's own processes."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        assert run(computes(cluster)) != os.getpid()
        assert run(computes(cluster.scheduler_address)) != os.getpid()


def test_an_encrypted_cluster_is_adopted(run: Run, tmp_path: Path) -> None:
    """Certificates come from the cluster, from the client, or from files; without, it says so."""
    security = Security.temporary()
    args = security.get_tls_config_for_role("client")
    files = {}
    for key, name in (("ca-file", "ca_file"), ("cert", "cert"), ("key", "key")):
        (tmp_path / name).write_text(args[name])
        files[key] = str(tmp_path / name)

    async def body() -> None:
        options = {"security": security, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        async with (
            Scheduler(protocol="tls://", dashboard=False, **options) as scheduler,
            Worker(scheduler.address, nthreads=1, **options),
            Client(scheduler.address, security=security, asynchronous=True) as mine,
        ):
            described = {"address": scheduler.address, "tls": files}
            for given in (mine, described):
                assert await computes(given) == os.getpid()
            endpoint = to_endpoint(scheduler.address)
            assert endpoint is not None
            with pytest.raises(EndpointError, match=r"no scheduler that answers at 'tls://.*TLS"):
                await endpoint.preflight(region=WEST, deadline_seconds=2)
            shown = repr(to_endpoint(described)) + repr(to_endpoint(mine))
            assert "PRIVATE" not in shown
            assert "ca_file" not in shown

    run(body())


def test_a_worker_is_no_scheduler(run: Run) -> None:
    """An address at which something else answers is refused before a run."""

    async def body() -> None:
        options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        async with (
            Scheduler(dashboard=False, **options) as scheduler,
            Worker(scheduler.address, nthreads=1, **options) as worker,
        ):
            with pytest.raises(EndpointError, match="no scheduler that answers"):
                await AddressEndpoint(worker.address).preflight(region=WEST)

    run(body())


def test_a_scheduler_that_goes_is_noticed(run: Run) -> None:
    """Once the owner closes the cluster, check() and opening fail within their deadlines."""

    async def body() -> None:
        async with Scheduler(
            host="127.0.0.1", dashboard=False, dashboard_address="127.0.0.1:0"
        ) as scheduler:
            endpoint = AddressEndpoint(scheduler.address)
            connection = await endpoint.open(region=WEST, deadline_seconds=patience(10))
            await connection.check()
        assert connection.alive
        with pytest.raises(EndpointError, match="'aws:us-west-2': scheduler 'tcp://") as caught:
            await connection.check(deadline_seconds=0.5)
        assert not connection.alive
        assert not caught.value.reached
        await connection.close()
        with pytest.raises(EndpointError, match="no scheduler that answers"):
            await endpoint.preflight(region=WEST, deadline_seconds=0.5)
        with pytest.raises(EndpointError, match="while connecting to the scheduler"):
            await endpoint.open(region=WEST, deadline_seconds=0.5)

    run(body())


def test_what_a_client_that_has_given_up_is_asked_is_a_connection_error(
    cluster: LocalCluster, run: Run
) -> None:
    """When a client no longer tries to reach its scheduler, that is no error of Python's."""

    async def body() -> None:
        endpoint = to_endpoint(cluster)
        assert endpoint is not None
        async with await endpoint.open(region=WEST, deadline_seconds=patience(20)) as connection:
            assert await connection.run_on_scheduler(abs, -1) == 1
            assert list((await connection.run_on_workers(abs, -2)).values()) == [2]
            assert len(await connection.scheduler.ncores()) == 1
            # As it does after half a minute without an answer.
            await connection.client.close()
            with pytest.raises(ConnectionError, match="lost its scheduler"):
                _ = connection.scheduler
            with pytest.raises(ConnectionError, match="lost its scheduler"):
                await connection.run_on_scheduler(abs, -1)
            with pytest.raises(ConnectionError, match="lost its scheduler"):
                await connection.run_on_workers(abs, -1)

    run(body())


def test_closed_clusters_and_clients_are_refused() -> None:
    """What is closed already cannot be adopted, and says so at once."""
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        pass
    for closed in (client, cluster):
        with pytest.raises(ConfigurationError, match="not connected to a scheduler"):
            to_endpoint(closed)


def test_the_cluster_is_kept_alive(cluster: LocalCluster) -> None:
    """The endpoint holds on to the object that it was made of."""
    endpoint = to_endpoint(cluster)
    assert isinstance(endpoint, AddressEndpoint)
    assert endpoint.owner is cluster


def test_does_not_pickle() -> None:
    """An adopted endpoint may hold keys, so it does not travel."""
    endpoint: Endpoint = AddressEndpoint("tls://10.0.0.7:8786", security=Security())
    with pytest.raises(TypeError, match=r"AddressEndpoint\('tls://10.0.0.7:8786'\) does not"):
        pickle.dumps(endpoint)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://10.0.0.7:8786", "tcp://10.0.0.7:8786"),
        ("10.0.0.7:8786", "tcp://10.0.0.7:8786"),
        ("TCP://Host:8786/", "tcp://host:8786"),
        ("localhost:8786", "tcp://127.0.0.1:8786"),
        ("tls://localhosts:8786", "tls://localhosts:8786"),
        ("gateway://Host:80/AbC", "gateway://host:80/AbC"),
        ("inproc://192.0.2.2/1/2", "inproc://192.0.2.2/1/2"),
    ],
)
def test_addresses_compare_in_one_form(address: str, expected: str) -> None:
    """However an address is written, it has one normal form."""
    assert normalise_address(address) == expected
