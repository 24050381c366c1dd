"""Client of one Dask Gateway server: requests with deadlines and clear errors.

dask-gateway's own client waits for ever, does not name the gateway that failed, and
takes missing arguments from dask's global configuration. So every argument is given,
and every request goes through one function with a deadline that translates its errors.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from xr_locality.compat.dask_gateway import make_gateway
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.errors import (
    ConfigurationError,
    EndpointError,
    LocalityError,
    MissingDependencyError,
)
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from dask_gateway.auth import GatewayAuth
    from dask_gateway.client import ClusterReport
    from dask_gateway.options import Options

    from xr_locality.regions import Region

__all__ = ["GatewayClient", "is_loopback"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS: Final = 3


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address always means this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class GatewayClient:
    """Client of one Dask Gateway server, for one region.

    Parameters
    ----------
    region, endpoint : Region, Endpoint
        The region and its endpoint, for messages.
    address, proxy_address, public_address : str
        The server's API; where schedulers are reached; its pages in a browser.
    auth : GatewayAuth
        The credentials.
    ca_file : str or None
        File of one more certificate authority to trust for the API.
    http_proxy : str, False or None
        HTTP proxy on the way to the API; None for the environment's.
    """

    def __init__(
        self,
        *,
        region: Region,
        endpoint: Endpoint,
        address: str,
        proxy_address: str,
        public_address: str,
        auth: GatewayAuth,
        ca_file: str | None = None,
        http_proxy: str | bool | None = None,
    ) -> None:
        #: The server's API.
        self.address = address
        self._region = region
        self._endpoint = endpoint
        self._closed = False
        self._gateway = make_gateway(
            address=address,
            proxy_address=proxy_address,
            public_address=public_address,
            auth=auth,
            request_arguments={**_proxy_arguments(address, http_proxy), **self._trust(ca_file)},
        )

    def _trust(self, ca_file: str | None) -> dict[str, Any]:
        """Make the keyword argument of aiohttp that adds a certificate authority."""
        if ca_file is None:
            return {}
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(cafile=Path(ca_file).expanduser())
        except (OSError, ssl.SSLError) as err:
            raise ConfigurationError(
                f"Region {str(self._region)!r}: {self._endpoint.describe()} has ca_file "
                f"{ca_file!r}, which cannot be used ({err}). Give a file of certificates in PEM.",
                region=str(self._region),
                key="ca_file",
            ) from err
        return {"ssl": context}

    async def options(self, wanted: Mapping[str, Any]) -> Options:
        """Request the cluster options that the server offers, and set ours.

        Parameters
        ----------
        wanted : Mapping
            The values of our settings; the server's defaults fill the rest.

        Raises
        ------
        ConfigurationError
            If the server offers no such option or no such value.
        EndpointError
            If the server cannot be reached or does not accept our credentials.
        """
        offered: Options = await self._call(
            "for its cluster options",
            lambda: self._gateway.cluster_options(use_local_defaults=False),
        )
        # dask's configuration holds '-' and '_' in keys to be the same.
        names = {name.replace("-", "_"): name for name in offered}
        unknown = sorted(name for name in wanted if name.replace("-", "_") not in names)
        if unknown:
            listed = ", ".join(map(repr, offered)) or "none"
            raise ConfigurationError(
                f"Region {str(self._region)!r}: {self._endpoint.describe()} has no cluster "
                f"option {', '.join(map(repr, unknown))}. It offers: {listed}.",
                region=str(self._region),
                unknown=tuple(unknown),
                offered=tuple(offered),
            )
        for name, value in wanted.items():
            try:
                offered[names[name.replace("-", "_")]] = value
            except (TypeError, ValueError) as err:
                # Text and mappings may hold secrets, such as environment variables.
                harmless = isinstance(value, bool | int | float)
                reason = str(err) if harmless else f"given a {type(value).__name__!r}"
                raise ConfigurationError(
                    f"Region {str(self._region)!r}: {self._endpoint.describe()} does not "
                    f"accept this value of cluster option {name!r}: {reason}. "
                    "Ask the gateway for what it accepts: Gateway.cluster_options().",
                    region=str(self._region),
                    option=name,
                ) from None
        return offered

    async def probe_proxy(self) -> None:
        """Raise if nothing listens where schedulers are to be reached."""
        address = self._gateway.proxy_address
        parts = urlsplit(address)
        try:
            async with asyncio.timeout(timeouts().gateway_request):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError as err:
            raise self._endpoint.failure(
                self._region,
                f"reaches schedulers through its proxy at {address!r}, "
                f"which does not answer ({type(err).__name__}: {err})",
                advice="Check proxy_address=: it is often another port or host than the gateway's.",
                reached=False,
            ) from err
        writer.close()

    async def submit(self, options: Options) -> str:
        """Request a new cluster and return its name at once."""
        name: str = await self._call("for a new cluster", lambda: self._gateway.submit(options))
        return name

    async def report(self, name: str, *, wait: bool = False) -> ClusterReport:
        """Request the state of a cluster; optionally wait until it has started or failed."""
        return await self._call(
            f"for cluster {name!r}", lambda: self._gateway.get_cluster(name, wait=wait)
        )

    async def wait_until_running(self, name: str) -> ClusterReport:
        """Wait until a submitted cluster runs; the caller sets the deadline.

        Raises
        ------
        EndpointError
            If it fails or is stopped, or the server stays away.
        """
        from dask_gateway.client import ClusterStatus

        missed = 0
        while True:
            try:
                report = await self.report(name, wait=True)
            except EndpointError as problem:
                missed += 1
                if problem.reached or missed >= _ATTEMPTS:
                    raise
                logger.info("Asking again for cluster %s: %s", name, problem)
            else:
                missed = 0
                if report.status is ClusterStatus.RUNNING:
                    return report
                if report.status is not ClusterStatus.PENDING:
                    raise self._endpoint.failure(
                        self._region,
                        f"could not start cluster {name!r}, which is now "
                        f"{report.status.name.lower()}",
                        advice="The options may ask for more than there is; "
                        "the gateway's log says why.",
                    )
            await asyncio.sleep(timeouts().gateway_pause)

    async def adapt(self, name: str, *, minimum: int, maximum: int) -> None:
        """Have a cluster scale itself between two numbers of workers."""
        await self._call(
            f"to scale cluster {name!r}",
            lambda: self._gateway.adapt_cluster(name, minimum=minimum, maximum=maximum),
        )

    async def scale(self, name: str, n: int) -> None:
        """Fix a cluster's number of workers."""
        await self._call(f"to scale cluster {name!r}", lambda: self._gateway.scale_cluster(name, n))

    async def versions(self) -> dict[str, str]:
        """Request the server's version."""
        found = await self._call("for its version", self._gateway.get_versions)
        return {"dask-gateway-server": str(found["server"]["version"])}

    async def clusters(self) -> tuple[str, ...]:
        """List the names of this user's clusters at the server."""
        return tuple(sorted(report.name for report in await self.cluster_reports()))

    async def cluster_reports(self) -> list[ClusterReport]:
        """Request the states of this user's clusters at the server."""
        return await self._call("for its clusters", self._gateway.list_clusters)

    async def stop(self, name: str) -> None:
        """Stop a cluster; a cluster that has gone already is no error."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._call(
                    f"to stop cluster {name!r}",
                    lambda: self._gateway.stop_cluster(name),
                    seconds=timeouts().client_close,
                )
            except EndpointError as problem:
                # A cluster left running costs money, so once is not enough.
                if problem.reached or attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(timeouts().gateway_pause)
            else:
                return

    async def close(self) -> None:
        """Close the connections to the server; clusters keep running."""
        self._closed = True
        await self._gateway.close()

    async def _call(
        self, asked: str, call: Callable[[], Awaitable[T]], *, seconds: float | None = None
    ) -> T:
        seconds = timeouts().gateway_request if seconds is None else seconds
        if self._closed:
            # dask-gateway would open a new connection, which would never be closed.
            raise self._endpoint.failure(
                self._region, "is closed on our side", advice="Open the endpoint again."
            )
        try:
            async with asyncio.timeout(seconds):
                return await call()
        except Exception as err:  # noqa: BLE001 - the sign-in is a plug-in
            problem = self._translate(err, asked, seconds)
            # aiohttp's answers hold the request with its headers, password included.
            cause = None if hasattr(err, "request_info") else err
        # Outside of the handler: the context of the error must not hold the request either.
        raise problem from cause

    def _translate(self, err: Exception, asked: str, seconds: float) -> LocalityError:
        """Make the error for a failed request; a sign-in plug-in may raise anything."""
        import aiohttp
        from dask_gateway import GatewayClusterError, GatewayServerError

        def failure(what: str, advice: str, *, reached: bool = True) -> EndpointError:
            return self._endpoint.failure(self._region, what, advice=advice, reached=reached)

        if isinstance(err, aiohttp.ClientResponseError) and err.status in (401, 403):
            return failure(
                f"refused our credentials (status {err.status}) when asked {asked}",
                "Check auth=, or 'auth' in the endpoint's settings.",
            )
        if isinstance(err, aiohttp.ClientResponseError) and err.status >= 400:
            return failure(
                f"answered with status {err.status} ({_shortened(err.message)}) when asked {asked}",
                "Try again later, or ask its administrator.",
                reached=err.status not in (502, 503, 504),
            )
        if isinstance(err, aiohttp.ClientResponseError | KeyError):
            return failure(
                f"does not answer as a Dask Gateway does when asked {asked}",
                "Check the address: it is that of the gateway's API, without '/api'.",
            )
        if isinstance(err, TimeoutError):
            return failure(
                f"did not answer within {seconds:g} seconds when asked {asked}",
                "See whether it still runs.",
                reached=False,
            )
        if isinstance(err, aiohttp.ClientError | OSError):
            return failure(
                f"cannot be reached when asked {asked} ({err})",
                "Check the address, and that this machine may reach it.",
                reached=False,
            )
        if isinstance(err, ImportError):
            return MissingDependencyError(
                f"Region {str(self._region)!r}: signing in at {self._endpoint.describe()} "
                f"needs the package {err.name!r}. Install it.",
                package=err.name,
            )
        if isinstance(err, GatewayClusterError | GatewayServerError | ValueError):
            return failure(
                f"refused when asked {asked}: {_shortened(str(err))}",
                "Check the address and the options, or ask its administrator.",
            )
        return failure(
            f"could not be asked {asked}: signing in failed with {type(err).__name__!r}",
            "Check auth=, or 'auth' in the endpoint's settings.",
        )


def _proxy_arguments(address: str, http_proxy: str | bool | None) -> dict[str, Any]:
    """Make the keyword arguments of aiohttp that choose the proxy."""
    if http_proxy is False:
        return {}
    if http_proxy is None or http_proxy is True:
        parts = urlsplit(address)
        host = parts.hostname or ""
        # Requests to this machine may hold secrets, and are not sent to a proxy.
        if is_loopback(host) or proxy_bypass(host):
            return {}
        http_proxy = getproxies().get(parts.scheme)
    return {"proxy": http_proxy} if http_proxy else {}


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:199]}…"
