"""Signing in at a gateway."""

from __future__ import annotations

import traceback
from typing import Any

import dask
import pytest
from dask_gateway.auth import BasicAuth, GatewayAuth, JupyterHubAuth, KerberosAuth

from xr_locality.endpoints.gateway.auth import parse_auth
from xr_locality.errors import ConfigurationError


class OwnAuth(GatewayAuth):
    """A way to sign in that only its author knows."""

    def __init__(self, ticket: str = "none") -> None:
        if ticket == "wrong":
            raise ValueError(f"bad ticket {ticket!r}")
        self.ticket = ticket


OWN = f"{__name__}.OwnAuth"


@pytest.mark.parametrize(
    ("given", "type_", "class_", "secret"),
    [
        (None, "basic", BasicAuth, False),
        ("basic", "basic", BasicAuth, False),
        ("kerberos", "kerberos", KerberosAuth, False),
        ({"type": "basic", "username": "ada"}, "basic", BasicAuth, False),
        ({"type": "basic", "password": "hunter2"}, "basic", BasicAuth, True),
        ({"type": "jupyterhub", "api-token": "t0ken"}, "jupyterhub", JupyterHubAuth, True),
        ({"type": OWN, "ticket": "t0ken"}, OWN, OwnAuth, True),
        (BasicAuth("ada", "hunter2"), "BasicAuth", BasicAuth, True),
        (BasicAuth("ada"), "BasicAuth", BasicAuth, False),
        (KerberosAuth(), "KerberosAuth", KerberosAuth, False),
        (OwnAuth(), "OwnAuth", OwnAuth, True),
    ],
)
def test_accepts_every_form(given: Any, type_: str, class_: type, secret: bool) -> None:
    """Names, mappings and objects all become dask-gateway's own classes."""
    auth = parse_auth(given)
    assert auth.type == type_
    assert auth.sends_secret is secret
    assert isinstance(auth.build(), class_)


def test_arguments_arrive() -> None:
    """What is given reaches the object that signs in."""
    made = parse_auth({"type": "basic", "username": "ada", "password": "hunter2"}).build()
    assert (made.username, made.password) == ("ada", "hunter2")


def test_an_object_is_handed_on() -> None:
    """An object of the user's is used as it is."""
    mine = BasicAuth("ada", "hunter2")
    assert parse_auth(mine).build() is mine


def test_global_configuration_does_not_leak_in() -> None:
    """Type and arguments of dask's global configuration are not for this gateway."""
    other = {"type": "jupyterhub", "kwargs": {"username": "eve", "password": "hunter2"}}
    with dask.config.set({"gateway.auth": other}):
        made = parse_auth(None).build()
    assert isinstance(made, BasicAuth)
    assert made.username != "eve"
    assert made.password == ""


def test_jupyterhub_takes_its_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a hub, 'jupyterhub' alone is enough, and counts as a secret."""
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t0ken")
    auth = parse_auth("jupyterhub")
    assert auth.sends_secret
    assert auth.build().api_token == "t0ken"


def test_a_missing_token_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token anywhere, the error says where to put one."""
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="JUPYTERHUB_API_TOKEN"):
        parse_auth("jupyterhub").build()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("basik", "Unknown auth type 'basik'"),
        ({"username": "ada"}, "Unknown auth type a 'NoneType'"),
        ({"type": 7}, "Unknown auth type a 'int'"),
        (42, "type 'int', which is no way to sign in"),
        ({"type": "basic", "pasword": "hunter2"}, "Did you mean 'password'"),
        ({"type": "kerberos", "token": "hunter2"}, "takes no arguments"),
        ({"type": "basic", "password": 1234}, "put it in quotes"),
        ({"type": "basic", "password": "hunter2€"}, "Latin-1"),
    ],
)
def test_refuses_with_a_reason_and_without_the_secret(given: Any, message: str) -> None:
    """Each wrong form is a ConfigurationError that does not quote what was given."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_auth(given)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in str(caught.value)
    assert "1234" not in str(caught.value)
    assert "hunter2€" not in shown.replace(repr(given), "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "nowhere.at.all.Auth"}, "nowhere"),
        ({"type": "dask_gateway.auth.Missing"}, "Missing"),
        ({"type": "builtins.dict"}, "makes a 'dict'"),
        ({"type": OWN, "ticket": "wrong"}, "ValueError"),
    ],
)
def test_a_class_that_cannot_be_made_is_an_error_of_ours(given: Any, message: str) -> None:
    """A custom class that is missing, wrong or refuses is named, its arguments are not."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_auth(given).build()
    assert "bad ticket" not in str(caught.value)


def test_shows_no_secret() -> None:
    """The repr of credentials shows their kind alone."""
    assert "hunter2" not in repr(parse_auth({"type": "basic", "password": "hunter2"}))
    assert "hunter2" not in repr(parse_auth(BasicAuth("ada", "hunter2")))
