"""Emulated regions on one machine, each with a real gateway and object server."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from xr_locality.errors import ConfigurationError, EndpointError, MissingDependencyError
from xr_locality.regions.region import Region
from xr_locality.testing import watchdog
from xr_locality.testing.gateway import GatewayServer
from xr_locality.testing.hosts import LOOPBACK
from xr_locality.testing.lifetime import StartedOnce
from xr_locality.testing.network import EmulatedNetwork
from xr_locality.testing.objects import OBJECT_SERVERS, ObjectServer, bucket_name
from xr_locality.testing.servers import Server

if TYPE_CHECKING:
    import xarray as xr
    from dask_gateway import GatewayCluster

    from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint

__all__ = ["EmulatedRegion", "Testbed"]

logger = logging.getLogger(__name__)

_NEEDED: Final = ("dask_gateway_server", "sqlalchemy", "moto", "flask", "flask_cors", "s3fs")
_WATCHDOG_SECONDS: Final = 10.0
_REGIONS: Final = ("aws:us-west-2", "gcp:us-central1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRegion:
    """One region of a testbed."""

    region: Region
    #: Its Dask Gateway.
    gateway: GatewayServer
    #: Its object store.
    objects: ObjectServer

    @property
    def servers(self) -> tuple[Server, ...]:
        """The gateway and the object server."""
        return self.gateway, self.objects

    @contextmanager
    def cluster(self) -> Iterator[GatewayCluster]:
        """Start a cluster of one worker as users do without this library.

        Yields
        ------
        dask_gateway.GatewayCluster
            Whose worker is there; closed at the end.
        """
        from dask_gateway import BasicAuth, GatewayCluster

        server = self.gateway
        with GatewayCluster(
            server.address,
            proxy_address=server.proxy_address,
            auth=BasicAuth(server.username, server.password),
        ) as cluster:
            try:
                cluster.scale(1)
                with cluster.get_client(set_as_default=False) as client:
                    client.wait_for_workers(1)
                yield cluster
            finally:
                cluster.close()
                # When it is collected, the gateway (dask-gateway 2026.3) would close again
                # what has no loop any more, and fail.
                del cluster.gateway._loop_runner


class Testbed(StartedOnce):
    """Emulated regions on one machine.

    Each has a real ``dask-gateway-server`` with a password of its own, and a
    real S3 server whose bucket answers the region's name and whose access log
    records which region's workers read what. All of it ends with the ``with``
    block, with the interpreter, or with the death of this process.

    Parameters
    ----------
    regions : iterable of Region or str, optional
        The regions to emulate. By default those of `network`, or two.
    network : EmulatedNetwork, optional
        The network between the regions, and between them and this process. Each
        region's servers and clusters then run in its namespace. One that is not
        running is started and closed with the testbed. By default all run side by
        side on this machine.
    objects : str, optional
        Which object servers: ``"moto"``, which know all of S3 that tests need, or
        ``"files"``, which know reading and writing whole objects, and are fast.
    start_timeout : float
        Seconds that all servers together may take to start.
    keep_logs : bool
        Keep the directory of the servers' logs at the end.
    outside_bytes_per_second : float, optional
        Bytes a second that each region's object server sends to readers of
        elsewhere, with ``"moto"`` only. By default as many as the machine can send.
    environment : Mapping of str to str, optional
        More environment variables of the gateways' schedulers and workers, which
        inherit almost none of this process's.
    idle_timeout : float, optional
        Seconds after which the gateways end a cluster that is idle, as an
        administrator may set it. By default never.

    Raises
    ------
    ConfigurationError
        If there is no region, or one is named twice, is ``local`` or is not in the
        network; if there are no such object servers, or they cannot be slowed down.
    MissingDependencyError
        If a package of the extra ``testing`` is not installed.

    Examples
    --------
    >>> with Testbed(["aws:us-west-2", "gcp:us-central1"]) as bed:  # doctest: +SKIP
    ...     url = bed.write(dataset, "aws:us-west-2", "a.zarr")
    ...     with xl.Session(bed.endpoints(), client_region="local"):
    ...         ...
    """

    # pytest would take the class for a test by its name.
    __test__ = False

    _kind: ClassVar[str] = "testbed"

    def __init__(
        self,
        regions: Iterable[Region | str] | None = None,
        *,
        network: EmulatedNetwork | None = None,
        objects: str = "moto",
        start_timeout: float = 30.0,
        keep_logs: bool = False,
        outside_bytes_per_second: float | None = None,
        environment: Mapping[str, str] | None = None,
        idle_timeout: float = 0.0,
    ) -> None:
        if regions is None:
            regions = _REGIONS if network is None else network.regions
        self._named = _checked_regions(regions, network)
        if objects not in OBJECT_SERVERS:
            raise ConfigurationError(
                f"There are no object servers {objects!r}, only {', '.join(OBJECT_SERVERS)}."
            )
        self._objects = OBJECT_SERVERS[objects]
        if outside_bytes_per_second is not None and not self._objects.slows_outsiders:
            raise ConfigurationError(
                f"Object servers {objects!r} send as fast as they can. Put an emulated network "
                "between the regions instead of outside_bytes_per_second."
            )
        _check_installed()
        self._start_timeout = start_timeout
        self._keep_logs = keep_logs
        self._outside_bytes_per_second = outside_bytes_per_second
        #: The network between the regions; None if there is none.
        self.network = network
        self._closes_network = False
        self._environment = dict(environment or {})
        self._idle_timeout = idle_timeout
        self._regions: dict[Region, EmulatedRegion] = {}
        self._directory: Path | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        #: What the testbed's processes carry in the environment variable
        #: ``XR_LOCALITY_TESTBED``.
        self.marker = secrets.token_hex(8)

    @property
    def directory(self) -> Path:
        """Where the servers' logs are."""
        if self._directory is None:
            raise self._not_running()
        return self._directory

    @property
    def regions(self) -> tuple[EmulatedRegion, ...]:
        """The emulated regions, in the order given."""
        return tuple(self._regions.values())

    def __getitem__(self, region: Region | str) -> EmulatedRegion:
        wanted = Region.parse(region)
        if not self._regions:
            raise self._not_running()
        if wanted not in self._regions:
            raise ConfigurationError(
                f"The testbed has no region {str(wanted)!r}, only {self._listed()}.",
                region=str(wanted),
            )
        return self._regions[wanted]

    def __iter__(self) -> Iterator[EmulatedRegion]:
        return iter(self.regions)

    def endpoints(
        self, *, minimum: int = 0, maximum: int = 2, **kwargs: Any
    ) -> dict[Region, GatewayEndpoint]:
        """Make an endpoint for each region, as `Session` takes them.

        Over an emulated network they send their passwords in the clear: its addresses
        are not this machine's loopback, but no other machine reaches them.

        Parameters
        ----------
        minimum, maximum : int
            Between which numbers of workers each cluster adapts.
        **kwargs : Any
            More for `GatewayEndpoint`.
        """
        from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint

        if self.network is not None:
            kwargs.setdefault("allow_insecure_auth", True)
        return {
            each.region: GatewayEndpoint(
                each.gateway.address,
                proxy_address=each.gateway.proxy_address,
                auth=each.gateway.auth,
                minimum=minimum,
                maximum=maximum,
                **kwargs,
            )
            for each in self
        }

    def config(self, *, minimum: int = 0, maximum: int = 2) -> dict[str, Any]:
        """Describe the regions as the configuration of ``locality`` does.

        Parameters
        ----------
        minimum, maximum : int
            Between which numbers of workers each cluster adapts.

        Returns
        -------
        dict
            For ``dask.config.set(locality=…)`` or a YAML file. It holds the
            gateways' passwords.
        """
        return {
            "client-region": "local",
            "endpoints": {
                str(each.region): {
                    "gateway": each.gateway.address,
                    "proxy-address": each.gateway.proxy_address,
                    "auth": each.gateway.auth,
                    "minimum": minimum,
                    "maximum": maximum,
                    **({} if self.network is None else {"allow-insecure-auth": True}),
                }
                for each in self
            },
        }

    def write(
        self, dataset: xr.Dataset, region: Region | str, name: str, **to_zarr_kwargs: Any
    ) -> str:
        """Write a dataset as zarr into a region's object store.

        Parameters
        ----------
        dataset : xarray.Dataset
            What to write.
        region : Region or str
            Where.
        name : str
            Its key in the region's bucket, such as ``"a.zarr"``.
        **to_zarr_kwargs : Any
            More for `xarray.Dataset.to_zarr`.

        Returns
        -------
        str
            The URL, to be opened with the object server's ``storage_options``.
        """
        objects = self[region].objects
        target, options = objects.writing(name)
        with warnings.catch_warnings():
            # Consolidated metadata open faster and without a warning, but zarr
            # warns of writing them: format 3 does not specify them.
            warnings.filterwarnings("ignore", message="Consolidated metadata is currently not")
            dataset.to_zarr(target, storage_options=options, **to_zarr_kwargs)
        return objects.url(name)

    def catalog(self, path: str | Path, entries: Mapping[str, str]) -> Path:
        """Write an Intake catalog of zarr stores, each tagged with its region.

        Parameters
        ----------
        path : str or Path
            The YAML file to write.
        entries : Mapping[str, str]
            Name to URL, as `write` returned it.

        Returns
        -------
        Path
            The file, for ``intake.open_catalog``.

        Raises
        ------
        ConfigurationError
            If no region of the testbed holds a URL.
        """
        import yaml

        sources = {name: self._entry(url) for name, url in entries.items()}
        document = {"metadata": {"version": 1}, "sources": sources}
        target = Path(path)
        target.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        return target

    def __repr__(self) -> str:
        state = "running" if self._regions else "not running"
        return f"<Testbed: {self._listed()}; {state}>"

    def _start(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="xr-locality-testbed-"))
        # First of all: from here on nothing can be left behind.
        self._watchdog = self._spawn_watchdog()
        environ = {**os.environ, watchdog.MARKER_VARIABLE: self.marker}
        if self.network is not None and not self.network.is_running:
            self._closes_network = True
            self.network.start()
        for region in self._named:
            directory = self._directory / bucket_name(region)
            directory.mkdir()
            host = LOOPBACK if self.network is None else self.network.host(region)
            self._regions[region] = EmulatedRegion(
                region=region,
                gateway=GatewayServer(
                    region=region,
                    directory=directory,
                    environ=environ,
                    host=host,
                    environment=self._environment,
                    idle_timeout=self._idle_timeout,
                ),
                objects=self._objects(
                    region=region,
                    directory=directory,
                    environ=environ,
                    host=host,
                    outside_bytes_per_second=self._outside_bytes_per_second,
                ),
            )
        servers = [server for each in self for server in each.servers]
        for server in servers:
            server.spawn()
        deadline = time.monotonic() + self._start_timeout
        for server in servers:
            server.wait_until_ready(deadline=deadline)

    def _close(self) -> None:
        if self._watchdog is None:
            return
        watchdog.clean_up(self.marker, directory=self._removable())
        for each in self:
            for server in each.servers:
                server.reap()
        self._regions.clear()
        if self._closes_network and self.network is not None:
            self.network.close()
        _dismiss(self._watchdog)
        if self._keep_logs:
            logger.info("The logs of %r are in %s.", self, self._directory)

    def _spawn_watchdog(self) -> subprocess.Popen[bytes]:
        removable = self._removable()
        return subprocess.Popen(
            [
                *(sys.executable, "-P", watchdog.__file__),
                *(str(os.getpid()), self.marker),
                *([] if removable is None else [str(removable)]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _removable(self) -> Path | None:
        return None if self._keep_logs else self._directory

    def _entry(self, url: str) -> dict[str, Any]:
        for each in self:
            if url.startswith(each.objects.url("")):
                return {
                    "driver": ["xarray_locality", "zarr"],
                    "args": {"urlpath": url, "storage_options": each.objects.storage_options},
                    "metadata": {"locality": {"region": str(each.region)}},
                }
        raise ConfigurationError(
            f"No region of the testbed holds {url!r}. Use a URL that `write` returned.", url=url
        )

    def _not_running(self) -> EndpointError:
        return EndpointError("The testbed is not running. Use `with Testbed() as bed: …`.")

    def _listed(self) -> str:
        return ", ".join(str(region) for region in self._named)


def _checked_regions(
    regions: Iterable[Region | str], network: EmulatedNetwork | None
) -> tuple[Region, ...]:
    parsed = tuple(Region.parse(region) for region in regions)
    shown = ", ".join(repr(str(region)) for region in parsed)
    if not parsed:
        raise ConfigurationError("A testbed needs at least one region.")
    if any(region.is_local for region in parsed):
        raise ConfigurationError(
            f"A testbed cannot emulate 'local', the user's own machine: got {shown}."
        )
    if len({bucket_name(region) for region in parsed}) < len(parsed):
        raise ConfigurationError(f"A testbed's regions must have different names: got {shown}.")
    if network is not None and not set(parsed) <= set(network.regions):
        raise ConfigurationError(f"A region of the testbed is not in {network!r}: got {shown}.")
    return parsed


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"The testbed needs {', '.join(missing)}. Install xr-locality[testing].",
            missing=tuple(missing),
            extra="testing",
        )


def _dismiss(process: subprocess.Popen[bytes]) -> None:
    """End the watchdog, which has nothing left to do."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_WATCHDOG_SECONDS)
    except subprocess.TimeoutExpired:
        # A forked child of ours holds the pipe open.
        process.kill()
        process.wait()
