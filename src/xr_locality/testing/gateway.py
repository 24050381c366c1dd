"""The Dask Gateway of an emulated region."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from xr_locality.errors import EndpointError
from xr_locality.regions.region import Region
from xr_locality.testing.hosts import LOOPBACK, Host
from xr_locality.testing.objects import reader_environment
from xr_locality.testing.servers import Server, ServerAnswer, ask, free_ports
from xr_locality.testing.watchdog import MARKER_VARIABLE

__all__ = ["REGION_VARIABLE", "GatewayServer"]

#: Environment variable with the region in which a task of a gateway's cluster runs.
REGION_VARIABLE: Final = "XR_LOCALITY_TESTBED_REGION"

_KILL_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02

# The same two options as in dask-gateway's own documentation: what a user can
# set on many a real gateway.
_CLUSTER_OPTIONS: Final = """
from dask_gateway_server.options import Float, Integer, Options

def cluster_options_handler(options):
    return {
        "worker_cores": options.worker_cores,
        "worker_memory": int(options.worker_memory * 2**30),
    }

c.Backend.cluster_options = Options(
    Integer("worker_cores", default=1, min=1, max=4, label="Worker Cores"),
    Float("worker_memory", default=2, min=0.5, max=8, label="Worker Memory (GiB)"),
    handler=cluster_options_handler,
)
"""


class GatewayServer(Server):
    """A ``dask-gateway-server`` with its proxy, whose clusters are local processes.

    It has a password of its own, and offers the cluster options
    ``worker_cores`` and ``worker_memory`` (in GiB).

    Parameters
    ----------
    region : Region
        Whose gateway it is.
    directory : Path
        Where it keeps its files.
    environ : Mapping[str, str]
        The environment of the server.
    host : Host
        Where it listens.
    environment : Mapping[str, str], optional
        More of the environment of its clusters' schedulers and workers.
    """

    kind: ClassVar[str] = "gateway"

    def __init__(
        self,
        *,
        region: Region,
        directory: Path,
        environ: Mapping[str, str],
        host: Host = LOOPBACK,
        environment: Mapping[str, str] | None = None,
        idle_timeout: float = 0.0,
    ) -> None:
        super().__init__(region=region, directory=directory, environ=environ, host=host)
        self._environment = dict(environment or {})
        self._idle_timeout = idle_timeout
        self.username = "tester"
        self.password = secrets.token_urlsafe(16)
        self._encryption_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._http_port = 0
        self._tcp_port = 0

    @property
    def address(self) -> str:
        """Where the gateway's HTTP proxy listens."""
        return f"http://{self.host.address}:{self._http_port}"

    @property
    def proxy_address(self) -> str:
        """Where the proxy of its clusters' schedulers listens: a port of its own."""
        return f"gateway://{self.host.address}:{self._tcp_port}"

    @property
    def auth(self) -> dict[str, str]:
        """The user's name and password, as `GatewayEndpoint` and the configuration take them."""
        return {"type": "basic", "username": self.username, "password": self.password}

    def list_clusters(self) -> tuple[str, ...]:
        """Ask the gateway for its active clusters.

        Returns
        -------
        tuple of str
            Their names.

        Raises
        ------
        EndpointError
            If the gateway does not answer.
        """
        # Asked without dask_gateway, whose synchronous client starts a thread
        # and complains when it is collected.
        answer = self._list()
        if answer is None or answer.status != 200:
            raise EndpointError(
                f"The gateway of {str(self.region)!r} at {self.address!r} does not answer.",
                region=str(self.region),
            )
        return tuple(json.loads(answer.body))

    def kill(self) -> None:
        """Kill the server and its proxy as ``kill -9`` does. May be called twice.

        The processes of its clusters live on, out of reach, until the testbed
        is closed.
        """
        super().kill()
        # The proxy ends by itself once its pipe to the server is closed.
        deadline = time.monotonic() + _KILL_SECONDS
        while self._ask("/") is not None:
            if time.monotonic() > deadline:
                raise EndpointError(
                    f"The proxy of the gateway of {str(self.region)!r} outlived its server "
                    f"by {_KILL_SECONDS:g} seconds.",
                    region=str(self.region),
                )
            time.sleep(_POLL_SECONDS)

    def forget(self) -> None:
        """Lose, while it is down, what it knew of its clusters."""
        self._database.unlink()

    def restart(self, *, deadline: float) -> None:
        """Start the server again, where it was and with what it knew, after it was killed.

        Parameters
        ----------
        deadline : float
            Until when to wait for it, in seconds of ``time.monotonic``.

        Raises
        ------
        EndpointError
            If it was never started, or is not ready in time.
        """
        self.kill()
        self._process = self._run()
        self.wait_until_ready(deadline=deadline)

    def _spawn(self) -> subprocess.Popen[bytes]:
        api_port, self._http_port, self._tcp_port = free_ports(3, self.host)
        # Holds the password; the testbed's directory is its owner's alone.
        self._config.write_text(self._config_text(api_port), "utf-8")
        return self._run()

    @property
    def _config(self) -> Path:
        return self._directory / "dask_gateway_config.py"

    @property
    def _database(self) -> Path:
        return self._directory / "clusters.sqlite"

    def _run(self) -> subprocess.Popen[bytes]:
        return self._popen([sys.executable, "-m", "dask_gateway_server", "-f", str(self._config)])

    def _is_ready(self) -> bool:
        # No other server on this machine knows the password, so a good answer can
        # only come from this server.
        answer = self._list()
        return answer is not None and answer.status == 200

    def _list(self) -> ServerAnswer | None:
        credentials = b64encode(f"{self.username}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        return self._ask("/api/v1/clusters/", headers=headers)

    def _ask(self, path: str, *, headers: Mapping[str, str] | None = None) -> ServerAnswer | None:
        return ask("GET", self._http_port, path, headers=headers, host=self.host)

    def _config_text(self, api_port: int) -> str:
        settings = self._settings(api_port)
        lines = [
            f"c.{name}.{trait} = {value!r}"
            for name, traits in settings.items()
            for trait, value in traits.items()
        ]
        return "\n".join(lines) + "\n" + _CLUSTER_OPTIONS

    def _settings(self, api_port: int) -> Mapping[str, Mapping[str, Any]]:
        clusters = self._directory / "clusters"
        clusters.mkdir(exist_ok=True)
        dask = [sys.executable, "-m", "dask"]
        return {
            "DaskGateway": {
                "address": f"{self.host.address}:{api_port}",
                "authenticator_class": "dask_gateway_server.auth.SimpleAuthenticator",
                "backend_class": "dask_gateway_server.backends.local.UnsafeLocalBackend",
            },
            "SimpleAuthenticator": {"password": self.password},
            "Proxy": {
                "address": f"{self.host.address}:{self._http_port}",
                "tcp_address": f"{self.host.address}:{self._tcp_port}",
                "proxy_status_period": 1.0,
            },
            "UnsafeLocalBackend": {
                "clusters_directory": str(clusters),
                # So that it knows its clusters again when it is restarted.
                "db_url": f"sqlite:///{self._database}",
                "db_encrypt_keys": [self._encryption_key],
                # As short as they can be, but for the timeout: a scheduler that
                # unpacks a large graph on a busy machine is not dead.
                "cluster_heartbeat_period": 1,
                "cluster_heartbeat_timeout": 20.0,
                "cluster_status_period": 0.5,
                "worker_status_period": 0.5,
            },
            "ClusterConfig": {
                # The server's own defaults, dask-scheduler and dask-worker, were
                # removed from distributed.
                "scheduler_cmd": [*dask, "scheduler", "--no-dashboard"],
                # Without a nanny a worker is there a second earlier, and gone
                # when it is killed.
                "worker_cmd": [*dask, "worker", "--no-dashboard", "--no-nanny"],
                "adaptive_period": 0.5,
                "idle_timeout": self._idle_timeout,
                "environment": {
                    **self._environment,
                    **reader_environment(self.region),
                    REGION_VARIABLE: str(self.region),
                    MARKER_VARIABLE: self._environ[MARKER_VARIABLE],
                    "DASK_TEMPORARY_DIRECTORY": str(clusters),
                    # As a nanny would set it.
                    "OMP_NUM_THREADS": "1",
                },
            },
        }
