"""Scheduler at a known address: adopted, and never closed by the session."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint, EndpointFacts
from xr_locality.endpoints.scheduler import Route, ask_versions
from xr_locality.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed.security import Security

    from xr_locality.regions import Region

__all__ = ["AddressEndpoint", "normalise_address"]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class AddressEndpoint(Endpoint):
    """Scheduler at a known address, of a cluster that the user has started.

    The session opens its own client and closes only that.

    Parameters
    ----------
    address : str
        ``"tcp://…"``, ``"tls://…"`` or any other address of dask's; a bare
        ``"host:port"`` means TCP.
    security : distributed.Security, optional
        Certificates and keys. By default those of dask's configuration, under
        ``distributed.comm.tls``.
    owner : object, optional
        The cluster or client that the address was read from, kept so that it
        stays alive as long as the endpoint.

    Raises
    ------
    ConfigurationError
        If the text is no scheduler's address.

    Examples
    --------
    >>> AddressEndpoint("tcp://10.0.0.7:8786")
    AddressEndpoint('tcp://10.0.0.7:8786')
    """

    #: Where the scheduler is.
    address: str
    #: Certificates and keys; None leaves it to dask's configuration.
    security: Security | None = field(hash=False)
    #: The cluster or client that the address was read from.
    owner: object = field(compare=False)

    def __init__(
        self, address: str, *, security: Security | None = None, owner: object = None
    ) -> None:
        object.__setattr__(self, "address", _checked(address))
        object.__setattr__(self, "security", security)
        object.__setattr__(self, "owner", owner)

    @classmethod
    def from_tls(cls, address: str, tls: Mapping[str, Any]) -> AddressEndpoint:
        """Make an endpoint from an address and TLS files.

        Parameters
        ----------
        address : str
            The scheduler's address.
        tls : Mapping
            ``ca-file``, ``cert`` and ``key``: paths, or PEM text.
        """
        from distributed.security import Security

        security = Security(
            tls_ca_file=tls.get("ca_file"),
            tls_client_cert=tls.get("cert"),
            tls_client_key=tls.get("key"),
            require_encryption=True,
        )
        return cls(address, security=security)

    @classmethod
    def from_object(cls, value: object) -> AddressEndpoint | None:
        """Adopt a ``distributed.Client`` or a cluster object; None if it is neither.

        Parameters
        ----------
        value : object
            A connected client, or anything with ``scheduler_address`` and
            perhaps ``security``.

        Raises
        ------
        ConfigurationError
            If it is closed, or not yet connected.
        """
        # A Client exists only if distributed is imported.
        distributed = sys.modules.get("distributed")
        if distributed is not None and isinstance(value, distributed.Client):
            scheduler = value.scheduler
            address = None if scheduler is None else scheduler.address
        elif hasattr(value, "scheduler_address"):
            address = value.scheduler_address
        else:
            return None
        # distributed has states of its own type, dask-gateway has text.
        status = getattr(value, "status", None)
        closed = getattr(status, "name", status) in ("closing", "closed", "failed")
        if closed or not isinstance(address, str) or "://" not in address:
            raise ConfigurationError(
                f"A {type(value).__name__!r} was given as an endpoint, but it is not connected "
                "to a scheduler. Start or await it first, and close it only after the session."
            )
        return cls(address, security=getattr(value, "security", None), owner=value)

    @property
    def adopted(self) -> bool:
        """True: the user started the cluster."""
        return True

    @property
    def scheduler_address(self) -> str:
        """Address of the scheduler."""
        return self.address

    def describe(self) -> str:
        """Name the scheduler by its address."""
        return f"scheduler {self.address!r}"

    def __repr__(self) -> str:
        return f"AddressEndpoint({self.address!r})"

    async def preflight(self, *, region: Region, deadline_seconds: float | None = None) -> None:
        """Check that a scheduler answers at the address."""
        seconds = self.preflight_seconds(deadline_seconds)
        await self.ask_scheduler(self.route(), region=region, deadline_seconds=seconds)

    async def inspect(
        self, *, region: Region, deadline_seconds: float | None = None
    ) -> EndpointFacts:
        """Ask the scheduler for its versions; see ``Endpoint.inspect``."""
        seconds = self.preflight_seconds(deadline_seconds)
        await self.preflight(region=region, deadline_seconds=seconds)
        found = await ask_versions(self.route(), deadline_seconds=seconds)
        return EndpointFacts(versions=found)

    async def open(self, *, region: Region, deadline_seconds: float) -> Connection:
        """Connect a client; see :meth:`Endpoint.open`."""
        connection = _AdoptedConnection(region=region, endpoint=self, route=self.route())
        return await connection.open(deadline_seconds=deadline_seconds)

    def route(self) -> Route:
        """Return the route to the scheduler."""
        if self.address.startswith("gateway://"):
            # Importing it teaches distributed that kind of address.
            import dask_gateway  # noqa: F401

        return Route(address=self.address, security=self.security)


class _AdoptedConnection(Connection):
    """Connection to a cluster that the user has started."""

    def __init__(self, *, region: Region, endpoint: Endpoint, route: Route) -> None:
        super().__init__(region=region, endpoint=endpoint)
        self._given = route

    async def _reach(self, resources: AsyncExitStack) -> Route:
        return self._given


def normalise_address(address: str) -> str:
    """Bring a scheduler's address to the one form in which two can be compared.

    Parameters
    ----------
    address : str
        Such as ``"localhost:8786"``.

    Returns
    -------
    str
        Such as ``"tcp://127.0.0.1:8786"``.
    """
    text = address if "://" in address else f"tcp://{address}"
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.rstrip("/").partition("/")
    host = host.lower()
    if host == "localhost" or host.startswith("localhost:"):
        host = "127.0.0.1" + host.removeprefix("localhost")
    return f"{scheme.lower()}://{host}{slash}{path}"


def _checked(address: str) -> str:
    text = address.strip()
    if text.lower().startswith(("http://", "https://")):
        raise ConfigurationError(
            f"{text!r} is a web address, not a scheduler's. For a Dask Gateway, give "
            "GatewayEndpoint(address, maximum=…), or {'gateway': address, 'maximum': …}."
        )
    full = text if "://" in text else f"tcp://{text}"
    try:
        parts = urlsplit(full)
        # `port` raises ValueError for a malformed port.
        reachable = bool(parts.netloc) and (
            parts.scheme not in ("tcp", "tls") or bool(parts.hostname and parts.port)
        )
    except ValueError:
        reachable = False
    if not reachable or "@" in full or not full.isprintable():
        raise ConfigurationError(
            f"{text.rpartition('@')[2][:80]!r} is not a scheduler's address. Give one such as "
            "'tcp://10.0.0.7:8786' or 'tls://10.0.0.7:8786'."
        )
    return full
