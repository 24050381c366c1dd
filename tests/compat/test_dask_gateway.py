"""The private names of dask-gateway: present, in use, and refused when they change."""

from __future__ import annotations

import asyncio
from typing import Any

import dask.config
import pytest
from dask_gateway import Gateway
from dask_gateway.auth import BasicAuth

from xr_locality.compat.dask_gateway import make_gateway
from xr_locality.endpoints import GatewayEndpoint
from xr_locality.errors import EndpointError
from xr_locality.regions import Region

ADDRESS = "http://127.0.0.1:1"
PROXY = {"proxy": "http://proxy.example.org:3128"}


def made(**arguments: Any) -> Gateway:
    """Make a client whose requests have some arguments."""

    async def make() -> Gateway:
        return make_gateway(
            address=ADDRESS,
            proxy_address="gateway://127.0.0.1:1",
            public_address=ADDRESS,
            auth=BasicAuth("ada", "secret"),
            request_arguments=arguments,
        )

    return asyncio.run(make())


def test_the_arguments_of_the_endpoint_are_used() -> None:
    """Requests have the endpoint's proxy, not the one of dask's configuration."""
    with dask.config.set({"gateway.http-client.proxy": "http://other.example.org:1"}):
        gateway = made(**PROXY)
    assert gateway._request_kwargs == PROXY
    assert isinstance(gateway.auth, BasicAuth)
    assert gateway._session is None


async def _other_request(self: Gateway, method: str, url: str, json: Any = None) -> Any:
    return await self._session.request(method, url, json=json, proxy="http://other.example.org:1")


async def _first_request_only(self: Gateway, method: str, url: str, json: Any = None) -> Any:
    await self._session.request(method, url, json=json, **self._request_kwargs)
    return await self._session.request(method, url, json=json)


async def _no_session(self: Gateway, method: str, url: str, json: Any = None) -> Any:
    raise AttributeError("'Gateway' object has no attribute 'session'")


@pytest.mark.parametrize("request_", [_other_request, _first_request_only, _no_session])
def test_a_client_that_sends_otherwise_is_refused(
    request_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed ``Gateway._request`` is found before anything is sent."""
    monkeypatch.setattr(Gateway, "_request", request_)
    with pytest.raises(EndpointError, match=r"Nothing was sent\. Install dask-gateway"):
        made(**PROXY)


@pytest.mark.parametrize("name", ["_request_kwargs", "_session"])
def test_a_renamed_attribute_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without a private attribute is refused by the endpoint too."""
    begin = Gateway.__init__

    def renamed(self: Gateway, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        setattr(self, f"{name}_renamed", self.__dict__.pop(name))

    monkeypatch.setattr(Gateway, "__init__", renamed)

    async def make() -> None:
        GatewayEndpoint(ADDRESS, maximum=1).server(Region.parse("aws:us-west-2"))

    with pytest.raises(EndpointError, match="a newer xr-locality"):
        asyncio.run(make())
