"""Private names of dask-gateway's client, which decide through which proxy a token travels.

``Gateway`` takes the HTTP proxy and the TLS settings of its requests from dask's global
configuration only, into ``Gateway._request_kwargs``; no argument sets them, and no public
attribute does. With two gateways, the token of one would be sent through the proxy of the
other.

Last verified with dask-gateway 2026.3.0. :func:`make_gateway` sends the client a dry request
through ``Gateway._request`` and ``Gateway._session``, before any real one. Where the client
does not use the arguments of this endpoint, an :class:`~xr_locality.errors.EndpointError`
refuses it, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from xr_locality.errors import EndpointError

if TYPE_CHECKING:
    from dask_gateway import Gateway
    from dask_gateway.auth import GatewayAuth

__all__ = ["make_gateway"]

_VERIFIED = "2026.3.0"


def make_gateway(
    *,
    address: str,
    proxy_address: str,
    public_address: str,
    auth: GatewayAuth,
    request_arguments: Mapping[str, Any],
) -> Gateway:
    """Make dask-gateway's client of one server, with nothing from dask's configuration.

    Parameters
    ----------
    address, proxy_address, public_address : str
        The server's API; the proxy of its schedulers; its pages in a browser.
    auth : GatewayAuth
        The credentials.
    request_arguments : mapping of str to object
        Keyword arguments of each ``aiohttp`` request: ``proxy`` and ``ssl``.

    Returns
    -------
    Gateway
        Asynchronous.

    Raises
    ------
    EndpointError
        If this version of dask-gateway would not use `request_arguments`.
    """
    from dask_gateway import Gateway

    gateway = Gateway(
        address=address,
        proxy_address=proxy_address,
        public_address=public_address,
        auth=auth,
        asynchronous=True,
    )
    if not (hasattr(gateway, "_request_kwargs") and getattr(gateway, "_session", ...) is None):
        raise _changed()
    gateway._request_kwargs = dict(request_arguments)
    _refuse_other_arguments(gateway, request_arguments)
    return gateway


class _DryRunError(Exception):
    """Ends a dry request where a real one would be sent the second time."""


class _DrySession:
    """Stand-in for the client's HTTP session and credentials, which sends nothing."""

    status = 401

    def __init__(self) -> None:
        self.arguments: list[dict[str, Any]] = []

    async def request(
        self, method: str, url: str, *, json: object = None, headers: object = None, **kwargs: Any
    ) -> _DrySession:
        """Record the arguments; answer the first request with "unauthorised"."""
        self.arguments.append(kwargs)
        if len(self.arguments) > 1:
            raise _DryRunError
        return self

    def pre_request(self, response: object) -> tuple[dict[str, str], None]:
        """Return headers without a secret."""
        return {}, None

    def post_response(self, response: object, context: object) -> NoReturn:
        """Fail: the dry request has ended before."""
        raise _changed()


def _refuse_other_arguments(gateway: Gateway, expected: Mapping[str, Any]) -> None:
    """Raise unless both requests of a sign-in have the expected arguments."""
    auth, dry = gateway.auth, _DrySession()
    gateway.auth, gateway._session = dry, dry
    request = gateway._request("GET", gateway.address)
    try:
        # Driven by hand: a real request would stop at its first wait, with nothing sent.
        request.send(None)
    except _DryRunError:
        pass
    except Exception as error:  # Whatever a changed client raises, it is not used.
        raise _changed() from error
    finally:
        request.close()
        gateway.auth, gateway._session = auth, None
    if dry.arguments != [dict(expected)] * 2:
        raise _changed()


def _changed() -> EndpointError:
    installed = version("dask-gateway")
    return EndpointError(
        f"dask-gateway {installed} does not send its requests as version {_VERIFIED} does, and a "
        "token might go through the proxy of another gateway. Nothing was sent. Install "
        f"dask-gateway {_VERIFIED}, or a newer xr-locality.",
        reached=False,
    )
