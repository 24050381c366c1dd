"""Credentials of one Dask Gateway.

dask-gateway fills every missing argument from one global configuration, so a second
gateway would receive the first one's token. Here each endpoint has its own credentials,
and a missing argument has dask-gateway's built-in default.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from xr_locality.errors import ConfigurationError

if TYPE_CHECKING:
    from dask_gateway.auth import GatewayAuth

__all__ = ["Auth", "parse_auth"]

_FORMS: Final = (
    "Give 'basic', 'jupyterhub' or 'kerberos', a mapping such as "
    "{'type': 'basic', 'username': …, 'password': …}, or a dask_gateway.GatewayAuth."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _AuthKind:
    """One of dask-gateway's own authentication methods."""

    class_name: str
    keys: tuple[str, ...]
    # The key of `keys` that must not be shown, nor sent unencrypted.
    secret: str | None


_KINDS: Final[Mapping[str, _AuthKind]] = MappingProxyType(
    {
        "basic": _AuthKind(
            class_name="BasicAuth", keys=("username", "password"), secret="password"
        ),
        "jupyterhub": _AuthKind(
            class_name="JupyterHubAuth", keys=("api_token",), secret="api_token"
        ),
        "kerberos": _AuthKind(class_name="KerberosAuth", keys=(), secret=None),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Credentials for one gateway; made by :func:`parse_auth`."""

    #: ``basic``, ``jupyterhub``, ``kerberos``, or the name of a class.
    type: str
    #: Whether the requests hold a secret, which must be sent encrypted.
    sends_secret: bool
    #: Arguments of the authentication class, secrets among them.
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    #: The object that the user made, if it was one.
    given: GatewayAuth | None = field(default=None, repr=False)

    def build(self) -> GatewayAuth:
        """Make dask-gateway's authentication object from these arguments alone.

        Raises
        ------
        ConfigurationError
            If a token is missing, or a class cannot be imported or called.
        """
        if self.given is not None:
            return self.given
        import dask_gateway.auth

        kind = _KINDS.get(self.type)
        name = self.type if kind is None else kind.class_name
        try:
            if kind is None:
                module, _, name = self.type.rpartition(".")
                made = getattr(importlib.import_module(module), name)(**self.kwargs)
            else:
                made = getattr(dask_gateway.auth, kind.class_name)(**self.kwargs)
        except (ImportError, AttributeError, TypeError, ValueError) as err:
            # The cause may quote the arguments, and they are secrets.
            reason = str(err) if kind is not None or not self.kwargs else type(err).__name__
            raise ConfigurationError(
                f"Cannot sign in with auth {self.type!r}: {reason}. {_FORMS}", auth=self.type
            ) from None
        if not isinstance(made, dask_gateway.auth.GatewayAuth):
            raise ConfigurationError(
                f"auth {self.type!r} makes a {type(made).__name__!r}, "
                f"not a dask_gateway.GatewayAuth. {_FORMS}",
                auth=self.type,
            )
        return made


def parse_auth(value: object) -> Auth:
    """Parse the value of ``auth``; nothing is taken from dask's configuration.

    Parameters
    ----------
    value : GatewayAuth, str, mapping or None
        A ``GatewayAuth``; ``"basic"``, ``"jupyterhub"``,
        ``"kerberos"`` or the dotted name of a class; a mapping of ``type`` and
        that class's arguments. None is ``"basic"`` without a password. A
        ``"jupyterhub"`` without ``api_token`` reads ``JUPYTERHUB_API_TOKEN``.

    Returns
    -------
    Auth

    Raises
    ------
    ConfigurationError
        If it is none of these; the message never shows a value.
    """
    if value is None:
        return _from_mapping({"type": "basic"})
    if isinstance(value, str):
        return _from_mapping({"type": value})
    if isinstance(value, Mapping):
        return _from_mapping(value)
    return _from_object(value)


def _from_object(value: object) -> Auth:
    from dask_gateway.auth import BasicAuth, GatewayAuth, KerberosAuth

    if not isinstance(value, GatewayAuth):
        raise ConfigurationError(
            f"auth is of type {type(value).__name__!r}, which is no way to sign in. {_FORMS}"
        )
    if isinstance(value, BasicAuth):
        sends_secret = bool(value.password)
    else:
        # An unknown class is assumed to send a secret.
        sends_secret = not isinstance(value, KerberosAuth)
    return Auth(type=type(value).__name__, sends_secret=sends_secret, given=value)


def _from_mapping(value: Mapping[Any, Any]) -> Auth:
    settings = {str(key).replace("-", "_"): item for key, item in value.items()}
    name = settings.pop("type", None)
    if not isinstance(name, str) or not (name in _KINDS or "." in name.strip(".")):
        shown = repr(name) if isinstance(name, str) else f"a {type(name).__name__!r}"
        raise ConfigurationError(f"Unknown auth type {shown}. {_FORMS}", auth=name)
    kind = _KINDS.get(name)
    if kind is None:
        return Auth(type=name, sends_secret=True, kwargs=MappingProxyType(settings))
    for key, item in settings.items():
        _check_argument(key, item, name=name, kind=kind)
    # A hub's token is sent in any case: without api_token the environment's.
    sends_secret = name == "jupyterhub" or bool(kind.secret and settings.get(kind.secret))
    return Auth(type=name, sends_secret=sends_secret, kwargs=MappingProxyType(settings))


def _check_argument(key: str, item: object, *, name: str, kind: _AuthKind) -> None:
    if key not in kind.keys:
        close = difflib.get_close_matches(key, kind.keys, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        takes = ", ".join(map(repr, kind.keys)) or "no arguments"
        raise ConfigurationError(
            f"auth {name!r} has no argument {key!r}.{hint} It takes {takes}.", key=key
        )
    if not isinstance(item, str):
        raise ConfigurationError(
            f"auth {name!r}: {key!r} must be text, not a {type(item).__name__!r}. "
            "In YAML, put it in quotes.",
            key=key,
        )
    try:
        item.encode("latin1")
    except UnicodeEncodeError:
        # The cause would carry the secret itself, and so would the context.
        encodable = False
    else:
        encodable = True
    if not encodable:
        raise ConfigurationError(
            f"auth {name!r}: {key!r} holds characters that HTTP authentication cannot send. "
            "Use those of Latin-1.",
            key=key,
        )
