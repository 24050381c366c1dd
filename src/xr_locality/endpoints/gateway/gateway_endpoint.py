"""Dask Gateway as an endpoint: all its settings, checked before the first request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from dask.utils import parse_timedelta

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint, EndpointFacts
from xr_locality.endpoints.gateway.auth import Auth, parse_auth
from xr_locality.endpoints.gateway.gateway_client import GatewayClient, is_loopback
from xr_locality.endpoints.gateway.gateway_cluster import ClusterConnection
from xr_locality.errors import ConfigurationError

if TYPE_CHECKING:
    from dask_gateway.auth import GatewayAuth

    from xr_locality.regions import Region

__all__ = ["GatewayEndpoint"]

_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True, init=False, repr=False)
class GatewayEndpoint(Endpoint):
    """A Dask Gateway, which starts a cluster in its region for a run.

    Nothing is taken from the ``gateway`` section of dask's configuration, which
    describes one gateway only: a missing argument is derived from `address`, or
    has dask-gateway's built-in default. In xr-locality's own configuration
    ``gateway: default`` means the gateway of that section.

    Parameters
    ----------
    address : str
        The gateway's API, ``http://`` or ``https://``.
    proxy_address : str or int, optional
        Where its schedulers are reached: ``"host:port"``, a URL, or a port of the
        same host. By default the host and port of `address`.
    auth : str, mapping or GatewayAuth, optional
        How to sign in: ``"basic"`` (the default, without a password),
        ``"jupyterhub"``, ``"kerberos"``, a mapping of ``type`` and its arguments,
        or an object of dask-gateway's.
    options : Mapping, optional
        Cluster options, such as ``{"worker_cores": 2}``; the gateway's defaults
        fill the rest.
    minimum : int, optional
        Workers kept while nothing runs.
    maximum : int
        Workers at most. Required: without a bound, adaptive scaling has been seen
        to ask for thousands. Equal to `minimum`, the number is fixed.
    public_address : str, optional
        The gateway as a browser reaches it. By default `address`.
    start_timeout : float or str, optional
        Seconds, or text such as ``"10 minutes"``, that a cluster may take to
        start. By default the session's ``start_timeout``.
    allow_insecure_auth : bool, optional
        Send a password or token over plain HTTP to another machine.
    ca_file : str, optional
        PEM file of one more certificate authority to trust for the gateway's API.
        Schedulers have certificates of the gateway's own.
    http_proxy : str or bool, optional
        HTTP proxy on the way to the API. By default that of the environment
        (``HTTPS_PROXY``, ``NO_PROXY``); False for none.

    Raises
    ------
    ConfigurationError
        If a value makes no sense, or a secret would be sent unencrypted.

    Examples
    --------
    >>> GatewayEndpoint(
    ...     "https://hub.example.org/services/dask-gateway",
    ...     proxy_address="gateway://hub.example.org:8786",
    ...     auth={"type": "basic", "username": "ada", "password": "secret"},
    ...     maximum=40,
    ... )
    GatewayEndpoint('https://hub.example.org/services/dask-gateway', \
proxy_address='gateway://hub.example.org:8786', auth='basic', minimum=0, maximum=40)
    """

    #: The gateway's API, without a trailing slash.
    address: str
    #: Where schedulers are reached, as ``gateway://host:port``.
    proxy_address: str
    #: How to sign in.
    auth: Auth
    #: Cluster options that differ from the gateway's defaults.
    options: Mapping[str, Any] = field(hash=False)
    #: Workers kept while nothing runs.
    minimum: int
    #: Workers at most.
    maximum: int
    #: The gateway as a browser reaches it.
    public_address: str
    #: Seconds that a cluster may take to start; None leaves it to the session.
    start_timeout: float | None
    #: Whether secrets may be sent unencrypted to another machine.
    allow_insecure_auth: bool
    #: File of one more certificate authority to trust for the API.
    ca_file: str | None
    #: HTTP proxy; None for the environment's. It may hold a password.
    http_proxy: str | bool | None

    def __init__(
        self,
        address: str,
        *,
        proxy_address: str | int | None = None,
        auth: str | Mapping[str, Any] | GatewayAuth | Auth | None = None,
        options: Mapping[str, Any] | None = None,
        minimum: int = 0,
        maximum: int,
        public_address: str | None = None,
        start_timeout: float | str | None = None,
        allow_insecure_auth: bool = False,
        ca_file: str | PathLike[str] | None = None,
        http_proxy: str | bool | None = None,
    ) -> None:
        address = _web_address(address, name="address")
        parsed_auth = auth if isinstance(auth, Auth) else parse_auth(auth)
        _check_workers(minimum, maximum, address=address)
        _check_secrecy(address, parsed_auth, allowed=allow_insecure_auth)
        values = {
            "address": address,
            "proxy_address": _proxy_address(proxy_address, gateway=address),
            "auth": parsed_auth,
            "options": _options(options),
            "minimum": minimum,
            "maximum": maximum,
            "public_address": (
                address
                if public_address is None
                else _web_address(public_address, name="public_address")
            ),
            "start_timeout": _seconds(start_timeout),
            "allow_insecure_auth": allow_insecure_auth,
            "ca_file": None if ca_file is None else fspath(ca_file),
            "http_proxy": _http_proxy(http_proxy),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def adopted(self) -> bool:
        """False: the cluster is started for a run and stopped after it."""
        return False

    def describe(self) -> str:
        """Name the gateway by its address."""
        return f"gateway {self.address!r}"

    def __repr__(self) -> str:
        # Of the options only the names: environment variables may be among them.
        options = f"options=<{', '.join(self.options)}>, " if self.options else ""
        return (
            f"GatewayEndpoint({self.address!r}, proxy_address={self.proxy_address!r}, "
            f"auth={self.auth.type!r}, {options}minimum={self.minimum}, maximum={self.maximum})"
        )

    async def preflight(self, *, region: Region, deadline_seconds: float | None = None) -> None:
        """Check that server and proxy answer, and accept credentials and options."""
        seconds = self.preflight_seconds(deadline_seconds)
        server = self.server(region)
        try:
            async with asyncio.timeout(seconds):
                await server.options(self.options)
                await server.probe_proxy()
        except TimeoutError:
            raise self.failure(
                region,
                f"did not answer within {seconds:g} seconds",
                advice="See whether it still runs, and whether this machine may reach it.",
                reached=False,
            ) from None
        finally:
            await server.close()

    async def inspect(
        self, *, region: Region, deadline_seconds: float | None = None
    ) -> EndpointFacts:
        """Request the server's version and clusters; see ``Endpoint.inspect``."""
        await self.preflight(region=region, deadline_seconds=deadline_seconds)
        server = self.server(region)
        try:
            return EndpointFacts(versions=await server.versions(), clusters=await server.clusters())
        finally:
            await server.close()

    async def open(self, *, region: Region, deadline_seconds: float) -> Connection:
        """Start a cluster and connect to its scheduler; see :meth:`Endpoint.open`."""
        seconds = deadline_seconds if self.start_timeout is None else self.start_timeout
        connection = ClusterConnection(
            region=region,
            endpoint=self,
            server=self.server(region),
            options=self.options,
            minimum=self.minimum,
            maximum=self.maximum,
        )
        return await connection.open(deadline_seconds=seconds)

    def server(self, region: Region) -> GatewayClient:
        """Make a client of the gateway server's own API, to be closed by the caller.

        Parameters
        ----------
        region : Region
            The region that the endpoint serves, for messages.
        """
        return GatewayClient(
            region=region,
            endpoint=self,
            address=self.address,
            proxy_address=self.proxy_address,
            public_address=self.public_address,
            auth=self.auth.build(),
            ca_file=self.ca_file,
            http_proxy=self.http_proxy,
        )


def _web_address(value: object, *, name: str) -> str:
    """Check the URL of a gateway's API and bring it to one form."""
    parts = _split(value, name=name)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"GatewayEndpoint: {name} is {_shown(value)}, which is no http:// or https:// URL. "
            "Give the address of the gateway's API.",
            key=name,
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"GatewayEndpoint: {name} has a query or fragment, which the gateway's API has not. "
            "Leave out everything from '?' or '#' on.",
            key=name,
        )
    return parts.geturl().rstrip("/")


def _proxy_address(value: str | int | None, *, gateway: str) -> str:
    """Return the address of the schedulers' proxy, as ``gateway://host:port``."""
    if isinstance(value, str):
        url = value if "://" in value else f"gateway://{value}"
        split = _split(url, name="proxy_address")
        host, port = (None, None) if split is None else (split.hostname, _port(split))
    else:
        own = urlsplit(gateway)
        host, port = own.hostname, _port(own) if value is None else value
    if not host or not isinstance(port, int) or not 0 < port <= _LAST_PORT:
        raise ConfigurationError(
            f"GatewayEndpoint: proxy_address is {_shown(value)}. Give 'host:port', "
            "'gateway://host:port', or a port of the gateway's own host.",
            key="proxy_address",
        )
    return f"gateway://[{host}]:{port}" if ":" in host else f"gateway://{host}:{port}"


def _http_proxy(value: object) -> str | bool | None:
    if value is None or value is True:
        return None
    if value is False:
        return False
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        # Not the value: it may hold a password.
        raise ConfigurationError(
            f"GatewayEndpoint: http_proxy is a {type(value).__name__!r} that is no URL. "
            "Give 'http://host:port', False for none, or leave it out for the environment's.",
            key="http_proxy",
        )
    return str(value)


def _port(parts: SplitResult) -> int | None:
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _split(value: object, *, name: str) -> SplitResult | None:
    """Split a URL; None if it is none. One that holds a password is refused."""
    if not isinstance(value, str) or value != value.strip():
        return None
    try:
        parts = urlsplit(value)
        # Both raise for what cannot be one.
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"GatewayEndpoint: {name} for host {host!r} holds a user name or password. "
            "Take it out of the URL and give auth={'type': 'basic', …}.",
            key=name,
        )
    return parts


def _check_workers(minimum: int, maximum: int, *, address: str) -> None:
    for name, value in (("minimum", minimum), ("maximum", maximum)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigurationError(
                f"Gateway {address!r}: {name} is {_shown(value)}, not a number of workers. "
                "Give a whole number.",
                key=name,
            )
    if maximum < 1 or not 0 <= minimum <= maximum:
        raise ConfigurationError(
            f"Gateway {address!r}: minimum={minimum} and maximum={maximum} workers. "
            "Give 0 ≤ minimum ≤ maximum, and a maximum of at least 1.",
            key="maximum" if maximum < 1 else "minimum",
        )


def _check_secrecy(address: str, auth: Auth, *, allowed: bool) -> None:
    parts = urlsplit(address)
    if allowed or not auth.sends_secret or parts.scheme == "https":
        return
    if not is_loopback(parts.hostname or ""):
        raise ConfigurationError(
            f"Gateway {address!r}: auth {auth.type!r} would send a password or token over plain "
            "HTTP, which can be read on the way. Use https://, or insist with "
            "allow_insecure_auth=True.",
            key="allow_insecure_auth",
        )


def _options(value: object) -> Mapping[str, Any]:
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(
            f"GatewayEndpoint: options are of type {type(value).__name__!r}. "
            "Give a mapping of option names to values, such as {'worker_cores': 2}.",
            key="options",
        )
    return MappingProxyType(dict(value))


def _seconds(value: float | str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(parse_timedelta(value))
    except (TypeError, ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigurationError(
            f"GatewayEndpoint: start_timeout is {_shown(value)}, not a length of time. "
            "Give seconds, or text such as '10 minutes'.",
            key="start_timeout",
        )
    return seconds


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
