"""Clusters on real gateways, from submission to stop."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from typing import Any

import dask
import distributed
import pytest

from support.endpoint_doubles import CENTRAL, WEST, eventually, fake_gateway
from support.polling import patience
from xr_locality.endpoints import Connection, EndpointPool, GatewayEndpoint, to_endpoint
from xr_locality.endpoints.connection import ConnectionState
from xr_locality.errors import (
    ConfigurationError,
    EndpointError,
    LocalityErrorGroup,
    LocalityWarning,
)
from xr_locality.testing import Testbed

pytestmark = pytest.mark.gateway

SLOW = patience(40)

Run = Callable[[Any], Any]


def endpoint_of(testbed: Testbed, **changes: Any) -> GatewayEndpoint:
    """Make the endpoint of the testbed's western gateway, with changes."""
    gateway = testbed[WEST].gateway
    arguments: dict[str, Any] = {
        "proxy_address": gateway.proxy_address,
        "auth": gateway.auth,
        "maximum": 2,
        **changes,
    }
    return GatewayEndpoint(arguments.pop("address", gateway.address), **arguments)


async def opened(endpoint: GatewayEndpoint, *, deadline_seconds: float = SLOW) -> Connection:
    """Open an endpoint as the western region's."""
    return await endpoint.open(region=WEST, deadline_seconds=deadline_seconds)


@pytest.fixture
def closed_port() -> int:
    """Find a port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_opens_computes_and_stops(clean_testbed: Testbed, run: Run) -> None:
    """A cluster starts, computes in its region's own processes, and is stopped at the end."""

    async def body() -> None:
        async with await opened(endpoint_of(clean_testbed)) as connection:
            assert connection.state is ConnectionState.OPEN
            assert clean_testbed[WEST].gateway.list_clusters() == (connection.cluster_name,)
            assert connection.scheduler_address.startswith("gateway://127.0.0.1:")
            assert connection.connection_args["require_encryption"]
            await connection.check()
            assert await connection.client.submit(os.getpid) != os.getpid()
        assert connection.state is ConnectionState.CLOSED
        assert clean_testbed[WEST].gateway.list_clusters() == ()

    run(body())


def test_global_gateway_configuration_is_not_used(
    clean_testbed: Testbed, run: Run, closed_port: int
) -> None:
    """Trap 1: another gateway's address, proxy, credentials and options change nothing."""
    other = {
        "address": f"http://127.0.0.1:{closed_port}",
        "proxy-address": f"gateway://127.0.0.1:{closed_port}",
        "public-address": f"http://127.0.0.1:{closed_port}",
        "auth": {"type": "jupyterhub", "kwargs": {"api_token": "hub-a-token"}},
        "cluster": {"options": {"image": "of-hub-a"}},
        "http-client": {"proxy": True},
    }

    async def body() -> None:
        async with await opened(endpoint_of(clean_testbed)) as connection:
            assert await connection.client.submit(sum, [1, 2]) == 3

    with dask.config.set(gateway=other):
        run(body())


def test_no_other_hubs_token_is_sent(run: Run) -> None:
    """Trap 1: a server that asks for credentials is sent those of its endpoint alone."""

    async def body() -> None:
        async with fake_gateway({("GET", "/api/v1/options"): (401, {"error": "who?"})}) as fake:
            endpoint = GatewayEndpoint(fake.address, maximum=1)
            with pytest.raises(EndpointError, match="refused our credentials"):
                await endpoint.preflight(region=WEST)
        sent = [
            line for head in fake.heads for line in head.splitlines() if "authori" in line.lower()
        ]
        assert len(sent) == 1
        assert sent[0].startswith("Authorization: Basic ")

    other = {"type": "jupyterhub", "kwargs": {"api_token": "hub-a-token"}}
    with dask.config.set({"gateway.auth": other}):
        run(body())


def test_this_machines_gateway_is_not_asked_through_a_proxy(
    clean_testbed: Testbed, run: Run, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web proxy in the environment does not get to see what is for the loopback interface."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    run(endpoint_of(clean_testbed).preflight(region=WEST))


def test_plain_dask_is_left_alone(clean_testbed: Testbed, run: Run) -> None:
    """Trap 2: no default client is left behind, and a plain compute stays in this process."""

    async def body() -> None:
        async with await opened(endpoint_of(clean_testbed)) as connection:
            with pytest.raises(ValueError, match="No clients found"):
                distributed.default_client()
            assert dask.config.get("scheduler", None) is None
            assert await asyncio.to_thread(dask.delayed(os.getpid)().compute) == os.getpid()
            assert connection.client.asynchronous
        with pytest.raises(ValueError, match="No clients found"):
            distributed.default_client()

    run(body())


def test_a_cluster_stopped_on_the_server_is_noticed(clean_testbed: Testbed, run: Run) -> None:
    """Trap 5: check() asks the gateway, and the pool opens a new cluster afterwards."""

    async def body() -> None:
        pool = EndpointPool({WEST: endpoint_of(clean_testbed)}, deadline_seconds=SLOW)
        first = (await pool.open([WEST]))[WEST]
        await pool.check()
        assert pool.find(first.scheduler_address) == WEST
        server = endpoint_of(clean_testbed).server(WEST)
        await server.stop(first.cluster_name)
        await server.close()
        with pytest.raises(EndpointError, match=r"no longer runs cluster .*stopp"):
            await pool.check(deadline_seconds=patience(10))
        assert not first.alive
        assert dict(pool.connections) == {}
        second = (await pool.open([WEST]))[WEST]
        assert second.cluster_name != first.cluster_name
        assert await second.client.submit(sum, [1, 2]) == 3
        await pool.close()
        assert first.state is ConnectionState.CLOSED

    run(body())


def test_starting_has_a_deadline(clean_testbed: Testbed, run: Run) -> None:
    """Trap 5: a cluster that does not start in time is given up and stopped."""
    with pytest.raises(EndpointError, match=r"not open after 0.4 seconds, while .*start_timeout"):
        run(opened(endpoint_of(clean_testbed), deadline_seconds=0.4))
    assert clean_testbed[WEST].gateway.list_clusters() == ()


def test_the_endpoints_own_deadline_counts(clean_testbed: Testbed, run: Run) -> None:
    """start_timeout of the endpoint takes the place of the session's."""
    with pytest.raises(EndpointError, match="not open after 0.4 seconds"):
        run(opened(endpoint_of(clean_testbed, start_timeout=0.4), deadline_seconds=SLOW))


def test_a_cluster_without_a_connection_is_stopped(clean_testbed: Testbed, run: Run) -> None:
    """Where the scheduler runs and cannot be reached, its cluster is stopped."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def body() -> None:
        async with await asyncio.start_server(swallow, "127.0.0.1", 0) as silent:
            port = silent.sockets[0].getsockname()[1]
            with pytest.raises(EndpointError, match="while connecting to the scheduler at"):
                await opened(endpoint_of(clean_testbed, proxy_address=port), deadline_seconds=4)

    run(body())
    assert clean_testbed[WEST].gateway.list_clusters() == ()


def test_cancelling_a_start_stops_the_cluster(clean_testbed: Testbed, run: Run) -> None:
    """Ctrl-C while the cluster starts leaves nothing running."""
    gateway = clean_testbed[WEST].gateway

    async def has_cluster() -> bool:
        return bool(await asyncio.to_thread(gateway.list_clusters))

    async def body() -> None:
        opening = asyncio.create_task(opened(endpoint_of(clean_testbed)))
        await eventually(has_cluster)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert gateway.list_clusters() == ()

    run(body())


def test_cancelling_a_submission_stops_what_it_made(run: Run) -> None:
    """Ctrl-C before the gateway has told the cluster's name still stops that cluster."""
    answers: dict[tuple[str, str], tuple[int, Any]] = {
        ("GET", "/api/v1/options"): (200, {"cluster_options": []}),
        ("POST", "/api/v1/clusters/"): (201, {"name": "c1"}),
        ("DELETE", "/api/v1/clusters/c1"): (204, ""),
    }

    async def body() -> None:
        async with fake_gateway(answers, held=("POST", "/api/v1/clusters/")) as fake:
            opening = asyncio.create_task(opened(GatewayEndpoint(fake.address, maximum=1)))
            await eventually(lambda: fake.held in fake.asked)
            opening.cancel()
            fake.release.set()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert fake.asked[-1] == ("DELETE", "/api/v1/clusters/c1")

    run(body())


@pytest.mark.parametrize("step", ["preflight", "open"])
def test_a_wrong_password_is_refused(clean_testbed: Testbed, run: Run, step: str) -> None:
    """The error names region and gateway, and shows no password anywhere."""
    auth = {"type": "basic", "username": "ada", "password": "hunter2"}
    endpoint = endpoint_of(clean_testbed, auth=auth)
    with pytest.raises(EndpointError, match="refused our credentials") as caught:
        run(opened(endpoint) if step == "open" else endpoint.preflight(region=WEST))
    error = caught.value
    assert "aws:us-west-2" in str(error)
    assert endpoint.address in str(error)
    assert error.reached
    shown = [repr(error), repr(error.facts), *traceback.format_exception(error)]
    assert not any("hunter2" in text or "aHVudGVyMg" in text for text in shown)
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("step", ["preflight", "open"])
def test_a_gateway_that_is_down(run: Run, closed_port: int, step: str) -> None:
    """The error names region and gateway, and says that nothing answered."""
    endpoint = GatewayEndpoint(f"http://127.0.0.1:{closed_port}", maximum=1)
    with pytest.raises(
        EndpointError, match=r"'aws:us-west-2': gateway .*cannot be reached"
    ) as caught:
        run(opened(endpoint) if step == "open" else endpoint.preflight(region=WEST))
    assert not caught.value.reached


@pytest.mark.parametrize("step", ["preflight", "open"])
def test_a_proxy_that_is_down(
    clean_testbed: Testbed, run: Run, closed_port: int, step: str
) -> None:
    """A wrong proxy address is found before a cluster starts."""
    endpoint = endpoint_of(clean_testbed, proxy_address=closed_port)
    with pytest.raises(EndpointError, match=f"proxy at 'gateway://127.0.0.1:{closed_port}'"):
        run(opened(endpoint) if step == "open" else endpoint.preflight(region=WEST))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "mine"}, r"no cluster option 'image'. It offers: 'worker_cores', 'worker_mem"),
        ({"worker-cores": 99}, r"option 'worker-cores': worker_cores must be <= 4"),
        ({"worker_cores": "hunter2"}, r"option 'worker_cores': given a 'str'"),
    ],
)
def test_options_that_are_not_offered(
    clean_testbed: Testbed, run: Run, options: dict[str, Any], message: str
) -> None:
    """Wrong options are found before a cluster starts, and what is offered is listed."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        run(endpoint_of(clean_testbed, options=options).preflight(region=WEST))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, "<html>Welcome</html>"), "does not answer as a Dask Gateway does"),
        ((200, {"something": "else"}), "does not answer as a Dask Gateway does"),
        ((404, "<html>Nothing here</html>"), "refused when asked for its cluster options"),
        ((403, {"error": "no"}), "refused our credentials"),
        ((500, {"error": "broken"}), "refused when asked for its cluster options: broken"),
        ((503, {"error": "later"}), "answered with status 503"),
    ],
)
def test_servers_that_are_no_gateway_or_are_ill(
    run: Run, answer: tuple[int, Any], message: str
) -> None:
    """Whatever a server answers, the error is ours and says what to look at."""

    async def body() -> None:
        async with fake_gateway({("GET", "/api/v1/options"): answer}) as fake:
            with pytest.raises(EndpointError, match=message):
                await GatewayEndpoint(fake.address, maximum=1).preflight(region=WEST)

    run(body())


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_a_cluster_that_fails_to_start(run: Run, status: str) -> None:
    """A cluster that fails or is stopped while it starts is an error, and is stopped."""
    report = {
        "name": "c1",
        "status": status,
        "options": {},
        "start_time": 0,
        "stop_time": None,
        "dashboard_route": None,
    }
    answers: dict[tuple[str, str], tuple[int, Any]] = {
        ("GET", "/api/v1/options"): (200, {"cluster_options": []}),
        ("POST", "/api/v1/clusters/"): (201, {"name": "c1"}),
        ("GET", "/api/v1/clusters/c1?wait"): (200, report),
        ("GET", "/api/v1/clusters/c1?wait="): (200, report),
        ("DELETE", "/api/v1/clusters/c1"): (204, ""),
    }

    async def body() -> None:
        async with fake_gateway(answers) as fake:
            with pytest.raises(EndpointError, match=f"'c1', which is now {status.lower()}"):
                await opened(GatewayEndpoint(fake.address, maximum=1))
            assert fake.asked[-1] == ("DELETE", "/api/v1/clusters/c1")

    run(body())


def test_options_arrive_and_a_fixed_size_is_kept(clean_testbed: Testbed, run: Run) -> None:
    """Options reach the workers, and minimum == maximum is that many without any task."""

    async def body() -> None:
        endpoint = endpoint_of(clean_testbed, options={"worker_cores": 2}, minimum=1, maximum=1)
        async with await opened(endpoint) as connection:
            await connection.client.wait_for_workers(1)
            info = connection.client.scheduler_info()
            assert [worker["nthreads"] for worker in info["workers"].values()] == [2]
            await connection.ensure_workers(7)
            await connection.restore(7)

    run(body())


def test_a_run_may_claim_workers(clean_testbed: Testbed, run: Run) -> None:
    """The floor rises with claims, up to the maximum, and falls when they are given back."""

    async def body() -> None:
        async with await opened(endpoint_of(clean_testbed)) as connection:

            async def workers() -> int:
                identity = await connection.client.scheduler.identity(n_workers=0)
                n: int = identity["n_workers"]
                return n

            async def has(n: int) -> bool:
                return await workers() == n

            assert await has(0)
            await connection.ensure_workers(50)
            await connection.ensure_workers(1)
            await eventually(lambda: has(2))
            await connection.restore(50)
            await eventually(lambda: has(1))
            await connection.restore(1)
            await eventually(lambda: has(0))

    run(body())


def test_a_connection_shows_no_secret_and_does_not_pickle(clean_testbed: Testbed, run: Run) -> None:
    """Trap 7: neither password nor TLS key is in anything that a connection shows."""

    async def body() -> None:
        async with await opened(endpoint_of(clean_testbed)) as connection:
            security = connection.security
            secrets = [clean_testbed[WEST].gateway.password, security.tls_key, security.tls_cert]
            things = [connection, connection.endpoint, connection.route, connection.client]
            shown = [text for thing in things for text in (repr(thing), str(thing), f"{thing}")]
            shown.append(connection.endpoint.describe())
            assert not any(secret in text for secret in secrets for text in shown)
            assert not any("PRIVATE" in text or "CERTIFICATE" in text for text in shown)
            for thing in (connection, connection.endpoint, connection.route):
                with pytest.raises(TypeError, match="does not pickle") as caught:
                    pickle.dumps(thing)
                assert not any(secret in str(caught.value) for secret in secrets)

    run(body())


def test_regions_open_and_fail_together(clean_testbed: Testbed, run: Run) -> None:
    """Two gateways open in one call; with one wrong password neither keeps a cluster."""
    good = clean_testbed.endpoints()

    async def body() -> None:
        pool = EndpointPool(good, deadline_seconds=SLOW)
        await pool.preflight(good)
        connections = await pool.open(good)
        results = [one.client.submit(os.getpid) for one in connections.values()]
        assert len(set(await asyncio.gather(*results))) == 2
        await pool.close()
        await pool.close()

        wrong = {**good, WEST: endpoint_of(clean_testbed, auth=None)}
        pool = EndpointPool(wrong, deadline_seconds=SLOW)
        with pytest.raises(EndpointError, match="'aws:us-west-2'.*refused our credentials"):
            await pool.preflight(wrong)
        with pytest.raises(EndpointError, match="'aws:us-west-2'.*refused our credentials"):
            await pool.open(wrong)
        assert dict(pool.connections) == {}
        assert clean_testbed[CENTRAL].gateway.list_clusters() == ()
        await pool.close()

    run(body())


def test_problems_of_two_gateways_are_reported_together(
    clean_testbed: Testbed, run: Run, closed_port: int
) -> None:
    """A wrong password here and a dead gateway there come as one group."""
    endpoints = {
        WEST: endpoint_of(clean_testbed, auth=None),
        CENTRAL: GatewayEndpoint(f"http://127.0.0.1:{closed_port}", maximum=1),
    }

    async def body() -> None:
        pool = EndpointPool(endpoints)
        for attempt in (pool.preflight, pool.open):
            with pytest.raises(LocalityErrorGroup) as caught:
                await attempt(endpoints)
            assert [error.region for error in caught.value.exceptions] == [
                "aws:us-west-2",
                "gcp:us-central1",
            ]
        await pool.close()

    run(body())


def test_a_users_own_gateway_cluster_is_adopted(clean_testbed: Testbed, run: Run) -> None:
    """A GatewayCluster that the user made serves as an endpoint and is left running."""
    from dask_gateway import Gateway
    from dask_gateway.auth import BasicAuth

    gateway = clean_testbed[WEST].gateway
    auth = BasicAuth(gateway.username, gateway.password)

    async def body() -> None:
        async with (
            Gateway(gateway.address, gateway.proxy_address, auth=auth, asynchronous=True) as mine,
            mine.new_cluster() as cluster,
        ):
            endpoint = to_endpoint(cluster)
            assert endpoint is not None
            async with await endpoint.open(region=WEST, deadline_seconds=SLOW) as connection:
                identity = await connection.client.scheduler.identity(n_workers=0)
                assert identity["type"] == "Scheduler"
            assert gateway.list_clusters() == (cluster.name,)

    run(body())


def test_a_gateway_that_dies_is_noticed_and_left(run: Run) -> None:
    """With the server gone, check() and close() end within their deadlines and say so."""

    async def body(bed: Testbed) -> None:
        pool = EndpointPool(bed.endpoints(), deadline_seconds=SLOW)
        connection = (await pool.open([WEST]))[WEST]
        await asyncio.to_thread(bed[WEST].gateway.kill)
        with pytest.raises(EndpointError, match="no scheduler that answers"):
            await connection.check(deadline_seconds=1)
        with pytest.warns(LocalityWarning, match=f"{connection.cluster_name}.* may still run"):
            await pool.close()
        assert connection.state is ConnectionState.CLOSED

    with Testbed([WEST]) as bed:
        run(body(bed))
