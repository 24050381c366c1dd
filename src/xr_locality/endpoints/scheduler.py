"""Requests to a running scheduler: its route, a client, its identity and versions.

Only functions import distributed, so that importing this module does not.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from xr_locality.compat.distributed_internals import forget_listener
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

__all__ = [
    "CONNECT_ERRORS",
    "Route",
    "ask_versions",
    "close_client",
    "identify",
    "make_client",
    "refuse_to_pickle",
]

logger = logging.getLogger(__name__)

_ASKED: Final = ("python", "dask", "distributed")

#: What distributed raises where it cannot connect: OSError, with CommClosedError
#: and TimeoutError below it; ImportError where versions are too far apart;
#: TypeError for TLS without certificates and for servers that are no scheduler;
#: ValueError for addresses.
CONNECT_ERRORS: Final = (OSError, ImportError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Route to a running scheduler."""

    #: Where to connect: ``tcp://…``, ``tls://…``, ``gateway://…``, ``inproc://…``.
    address: str
    #: Certificates and keys; None leaves it to dask's own configuration.
    security: Security | None = field(default=None, repr=False)
    #: Name of the cluster at its gateway, if a gateway started it.
    cluster_name: str | None = None

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle(self)

    def connection_args(self) -> dict[str, Any]:
        """Make the keyword arguments with which distributed connects."""
        from distributed.security import Security

        security = Security() if self.security is None else self.security
        arguments: dict[str, Any] = security.get_connection_args("client")
        return arguments


def make_client(route: Route) -> Client:
    """Make a client, to be awaited; it does not become dask's default client.

    Parameters
    ----------
    route : Route
        The scheduler to connect to.
    """
    from distributed import Client

    return Client(
        route.address,
        security=route.security,
        asynchronous=True,
        set_as_default=False,
        name="xr-locality",
        timeout=timeouts().connect,
    )


async def close_client(client: Client) -> None:
    """Close a client, whose scheduler may have gone.

    Parameters
    ----------
    client : Client
        Made by :func:`make_client`.
    """
    try:
        await client.close(timeout=timeouts().client_close)
    except OSError as err:
        # Only the farewell failed: the scheduler forgets a client that is silent.
        logger.info("Closing %s without an answer: %r", client.id, err)
    except ValueError as err:
        # Connecting again to a gateway's proxy, whose scheduler is gone, may end what
        # listens to the scheduler with this, and then closing too: again without it.
        logger.info("Closing %s, which had given up: %r", client.id, err)
        forget_listener(client)
        await client.close(timeout=timeouts().client_close)


async def identify(route: Route, *, deadline_seconds: float) -> dict[str, Any]:
    """Request a scheduler's identity over a new connection.

    Parameters
    ----------
    route : Route
        The scheduler to ask.
    deadline_seconds : float
        Seconds to wait for the answer.

    Returns
    -------
    dict
        Its ``identity``, without its workers.
    """
    from distributed.core import rpc

    arguments = route.connection_args()
    async with (
        asyncio.timeout(deadline_seconds),
        rpc(route.address, timeout=deadline_seconds, connection_args=arguments) as remote,
    ):
        answer: dict[str, Any] = await remote.identity(n_workers=0)
    return answer


async def ask_versions(route: Route, *, deadline_seconds: float) -> dict[str, str]:
    """Request a scheduler's versions over a new connection.

    Parameters
    ----------
    route : Route
        The scheduler to ask.
    deadline_seconds : float
        Seconds to wait for the answer.

    Returns
    -------
    dict of str to str
        Versions of Python, dask and distributed, as far as they are reported.
    """
    from distributed.core import rpc

    arguments = route.connection_args()
    async with (
        asyncio.timeout(deadline_seconds),
        rpc(route.address, timeout=deadline_seconds, connection_args=arguments) as remote,
    ):
        answer: dict[str, Any] = await remote.versions()
    known = {**answer.get("host", {}), **answer.get("packages", {})}
    return {name: str(known[name]) for name in _ASKED if known.get(name)}


def refuse_to_pickle(thing: object) -> NoReturn:
    """Raise the error that pickle's callers expect of an object that does not pickle.

    Parameters
    ----------
    thing : object
        The object; its ``repr`` shows no secret.
    """
    raise TypeError(
        f"{thing!r} does not pickle: it holds credentials or open connections. "
        "Make a new one where it is needed."
    )
