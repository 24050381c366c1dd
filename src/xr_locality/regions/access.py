"""How a store is opened: what a probe may need, kept out of sight.

A store is compared, shown, pickled and kept; credentials must be none of these.
So they are held apart, by an object that shows nothing, equals nothing else and
leaves everything secret behind when it is pickled or copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["Access", "Credentials"]

_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

_KEY: Final = ("key", "username", "aws_access_key_id")
_SECRET: Final = ("secret", "password", "aws_secret_access_key")
_TOKEN: Final = ("token", "aws_session_token")
# Google's begin so; names of ways to log in, and of files, do not.
_RAW_TOKEN: Final = re.compile(r"ya29\.[A-Za-z0-9._~+/=-]+")
#: What botocore calls the region that it is told to talk to, and it may be any.
_REGION: Final = ("region_name",)
#: What clients call it that cannot read a bucket of another region.
_STATED: Final = ("region", "aws_region")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """A key and its secret, or a token alone, and where they may be used."""

    key: str
    secret: str
    token: str | None
    #: ``host`` or ``host:port`` that they were given for.
    host: str

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("Credentials are not pickled.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Access:
    """What the options say that a filesystem is opened with.

    Parameters
    ----------
    region_name : str, optional
        The region that the client was told to talk to: a hint of where data are.
    stated_region : str, optional
        The region that the store's own configuration states.
    host : str, optional
        Host of the endpoint that was given, also where it is the provider's own.
    anonymous : bool, default False
        Whether requests are to go unsigned.
    requester_pays : bool, optional
        True if requests say that their sender pays; None if nothing is said.
    credentials : Credentials, optional
        Those written out in the options, and no others.
    """

    region_name: str | None = None
    stated_region: str | None = None
    host: str | None = None
    anonymous: bool = False
    requester_pays: bool | None = None
    credentials: Credentials | None = None

    @classmethod
    def read(
        cls,
        protocol: str,
        options: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any],
        own_host: str,
    ) -> Access | None:
        """Read what a filesystem's options say.

        Parameters
        ----------
        protocol : str
            Canonical.
        options : Mapping
            As fsspec takes them.
        defaults : Mapping
            What fsspec's own configuration adds to them.
        own_host : str
            Host of the provider, for credentials that are given without an endpoint.

        Returns
        -------
        Access or None
            None if they say nothing of use.
        """
        configured, given = _flat(defaults), _flat(options)
        known = configured | given
        credentials = None
        read = _CREDENTIALS.get(protocol)
        if read is not None and not known.get("anon"):
            credentials = read(given, configured, own_host)
        access = cls(
            region_name=_first(known, _REGION),
            stated_region=_first(known, _STATED),
            host=_host(known.get("endpoint_url")),
            anonymous=bool(known.get("anon")),
            requester_pays=True if known.get("requester_pays") else None,
            credentials=credentials,
        )
        return access if access.credentials or any(access.public) else None

    @property
    def public(self) -> tuple[str | None, str | None, str | None, bool, bool | None]:
        """Everything but the credentials, in the order of the fields."""
        return (
            self.region_name,
            self.stated_region,
            self.host,
            self.anonymous,
            self.requester_pays,
        )

    def __repr__(self) -> str:
        return "<Access>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self.public


def _rebuild(
    region_name: str | None,
    stated_region: str | None,
    host: str | None,
    anonymous: bool,
    requester_pays: bool | None,
) -> Access:
    return Access(
        region_name=region_name,
        stated_region=stated_region,
        host=host,
        anonymous=anonymous,
        requester_pays=requester_pays,
    )


def _credentials(
    given: Mapping[str, Any], configured: Mapping[str, Any], own_host: str
) -> Credentials | None:
    """Read the credentials that are written out, and find out whom they were given for."""
    key = _first(given, _KEY)
    # A filesystem's options hold what was configured for all of them: those credentials
    # were not given for the endpoint that this one names.
    source = configured if key in (None, _first(configured, _KEY)) else given
    key, secret = _first(source, _KEY), _first(source, _SECRET)
    if key is None or secret is None:
        return None
    host = _host(source.get("endpoint_url")) or _host(configured.get("endpoint_url"))
    if host is None and any(os.environ.get(name) for name in _ENDPOINT_VARIABLES):
        # Whether they were meant for the environment's service nobody can tell.
        return None
    return Credentials(key=key, secret=secret, token=_first(source, _TOKEN), host=host or own_host)


def _bearer(
    given: Mapping[str, Any], configured: Mapping[str, Any], own_host: str
) -> Credentials | None:
    """Read a token of Google's that is written out, or that is valid as it stands.

    Keys of accounts are left alone: to make a token of one, somebody must be asked whom
    the key itself names.
    """
    held = given.get("token")
    source = configured if held in (None, configured.get("token")) else given
    held = source.get("token")
    if isinstance(held, str):
        token = held if _RAW_TOKEN.fullmatch(held) else None
    else:
        token = getattr(held, "token", None) if getattr(held, "valid", False) is True else None
    if not isinstance(token, str) or not _RAW_TOKEN.fullmatch(token):
        return None
    host = _host(source.get("endpoint_url")) or _host(configured.get("endpoint_url"))
    if host is None and os.environ.get("STORAGE_EMULATOR_HOST"):
        return None
    return Credentials(key="", secret="", token=token, host=host or own_host)


#: How credentials are read of each protocol's options.
_CREDENTIALS: Final[Mapping[str, Callable[..., Credentials | None]]] = {
    "gs": _bearer,
    "s3": _credentials,
}


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    client = options.get("client_kwargs")
    return {**(client if isinstance(client, Mapping) else {}), **options}


def _first(known: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        if isinstance(value := known.get(name), str) and value:
            return value
    return None


def _host(url: Any) -> str | None:
    if not isinstance(url, str) or not url:
        return None
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower() or None
    except ValueError:
        return None
