"""What a gateway's endpoint accepts, and what it shows."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import dask
import pytest
from dask_gateway.auth import BasicAuth

from xr_locality.endpoints import GatewayEndpoint
from xr_locality.errors import ConfigurationError

HUB = "https://hub.example.org/services/dask-gateway"
PASSWORD = {"type": "basic", "username": "ada", "password": "hunter2"}


def test_maximum_is_required() -> None:
    """Leaving out the maximum is an error, for unbounded scaling costs a fortune."""
    with pytest.raises(TypeError, match="maximum"):
        GatewayEndpoint(HUB)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"maximum": 0}, "maximum of at least 1"),
        ({"maximum": None}, "maximum is None"),
        ({"maximum": True}, "maximum is True"),
        ({"maximum": 2.5}, "maximum is 2.5"),
        ({"maximum": 2, "minimum": 3}, "0 ≤ minimum ≤ maximum"),
        ({"maximum": 2, "minimum": -1}, "0 ≤ minimum ≤ maximum"),
        ({"maximum": 2, "address": "hub.example.org"}, "no http:// or https:// URL"),
        ({"maximum": 2, "address": "gateway://hub:80"}, "no http:// or https:// URL"),
        ({"maximum": 2, "address": ""}, "no http:// or https:// URL"),
        ({"maximum": 2, "address": "https://[bad"}, "no http:// or https:// URL"),
        ({"maximum": 2, "address": None}, "no http:// or https:// URL"),
        ({"maximum": 2, "address": HUB + "?token=hunter2"}, "query or fragment"),
        ({"maximum": 2, "address": "https://ada:hunter2@hub"}, "user name or password"),
        ({"maximum": 2, "proxy_address": "hub.example.org"}, "proxy_address is 'hub"),
        ({"maximum": 2, "proxy_address": 0}, "proxy_address is 0"),
        ({"maximum": 2, "proxy_address": 70000}, "proxy_address is 70000"),
        ({"maximum": 2, "proxy_address": "gateway://hub:port"}, "proxy_address is"),
        ({"maximum": 2, "public_address": "hub"}, "public_address is 'hub'"),
        ({"maximum": 2, "options": [1]}, "options are of type 'list'"),
        ({"maximum": 2, "start_timeout": "a while"}, "start_timeout is 'a while'"),
        ({"maximum": 2, "start_timeout": 0}, "start_timeout is 0"),
        ({"maximum": 2, "auth": "basik"}, "Unknown auth type"),
    ],
)
def test_refuses_what_makes_no_sense(given: dict[str, Any], message: str) -> None:
    """Each wrong value is a ConfigurationError that names it, and no secret."""
    arguments = {"address": HUB, **given}
    with pytest.raises(ConfigurationError, match=message) as caught:
        GatewayEndpoint(arguments.pop("address"), **arguments)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "given", "expected"),
    [
        ("https://hub.example.org/x", None, "gateway://hub.example.org:443"),
        ("http://hub.example.org", None, "gateway://hub.example.org:80"),
        ("http://127.0.0.1:8000", None, "gateway://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", 8786, "gateway://127.0.0.1:8786"),
        ("http://[::1]:8000", 8786, "gateway://[::1]:8786"),
        (HUB, "other:8786", "gateway://other:8786"),
        (HUB, "gateway://other:8786", "gateway://other:8786"),
        (HUB, "tls://other:8786/", "gateway://other:8786"),
        (HUB, "https://other", "gateway://other:443"),
    ],
)
def test_proxy_address_is_known_whatever_was_given(
    address: str, given: str | int | None, expected: str
) -> None:
    """The proxy's address comes from the endpoint alone, never from dask's configuration."""
    with dask.config.set({"gateway.proxy-address": "gateway://wrong:1"}):
        endpoint = GatewayEndpoint(address, proxy_address=given, maximum=1)
    assert endpoint.proxy_address == expected


@pytest.mark.parametrize("auth", [PASSWORD, BasicAuth("ada", "hunter2"), "jupyterhub"])
@pytest.mark.parametrize("host", ["hub.example.org", "10.0.0.7", "localhost.example.org"])
def test_secrets_do_not_go_over_plain_http(host: str, auth: Any) -> None:
    """A password or token for another machine needs HTTPS, or the user's insistence."""
    with pytest.raises(ConfigurationError, match="allow_insecure_auth=True"):
        GatewayEndpoint(f"http://{host}", auth=auth, maximum=1)
    GatewayEndpoint(f"http://{host}", auth=auth, maximum=1, allow_insecure_auth=True)
    GatewayEndpoint(f"https://{host}", auth=auth, maximum=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "[::1]"])
def test_this_machine_is_close_enough(host: str) -> None:
    """Over the loopback interface plain HTTP will do."""
    GatewayEndpoint(f"http://{host}:8000", auth=PASSWORD, maximum=1)


def test_without_a_secret_http_will_do() -> None:
    """A gateway that wants only a name may be reached over plain HTTP."""
    GatewayEndpoint("http://hub.example.org", auth={"type": "basic", "username": "ada"}, maximum=1)


def test_start_timeout_may_be_text() -> None:
    """A length of time is written as elsewhere in dask's configuration."""
    assert GatewayEndpoint(HUB, maximum=1, start_timeout="10 minutes").start_timeout == 600
    assert GatewayEndpoint(HUB, maximum=1).start_timeout is None


def test_is_a_value() -> None:
    """Endpoints that say the same are equal, and cannot be changed."""
    first, second = (
        GatewayEndpoint(HUB + "/", auth=PASSWORD, options={"cores": 2}, maximum=4) for _ in range(2)
    )
    assert first == second
    assert hash(first) == hash(second)
    assert first != GatewayEndpoint(HUB, auth=PASSWORD, options={"cores": 2}, maximum=5)
    with pytest.raises(AttributeError):
        first.maximum = 10_000  # type: ignore[misc]
    with pytest.raises(TypeError):
        first.options["cores"] = 64  # type: ignore[index]
    assert dataclasses.replace(first, maximum=5).maximum == 5
    assert dataclasses.replace(first, maximum=5).auth == first.auth
    assert not first.adopted
    assert first.scheduler_address is None


def test_shows_no_secret() -> None:
    """Neither repr, str nor description shows a password or an option's value."""
    endpoint = GatewayEndpoint(
        HUB,
        auth=PASSWORD,
        options={"environment": {"AWS_SECRET_ACCESS_KEY": "hunter3"}},
        maximum=4,
    )
    for shown in (repr(endpoint), str(endpoint), endpoint.describe(), f"{endpoint}"):
        assert "hunter" not in shown
        assert HUB in shown
    assert "<environment>" in repr(endpoint)


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_does_not_pickle(copier: Any) -> None:
    """Pickling fails with a reason that shows no secret."""
    with pytest.raises(TypeError, match="does not pickle") as caught:
        copier(GatewayEndpoint(HUB, auth=PASSWORD, maximum=4))
    assert "hunter2" not in str(caught.value)
