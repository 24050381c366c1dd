"""Conversion of addresses, settings, clients and clusters to endpoints."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from xr_locality.config import read_gateway
from xr_locality.endpoints.address import AddressEndpoint
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint
from xr_locality.errors import ConfigurationError, LocalityError, raise_together
from xr_locality.regions.allowed import Allowed
from xr_locality.regions.region import Region

__all__ = ["to_endpoint", "to_endpoints"]

_GATEWAY_KEYS: Final = (
    "gateway",
    "proxy_address",
    "public_address",
    "auth",
    "options",
    "minimum",
    "maximum",
    "start_timeout",
    "allow_insecure_auth",
    "ca_file",
    "http_proxy",
)
#: Stands for the gateway that dask-gateway's own section of the configuration names.
_HUBS_OWN: Final = "default"
_ADDRESS_KEYS: Final = ("address", "tls")
_TLS_KEYS: Final = ("ca_file", "cert", "key")


def to_endpoint(value: object, *, region: Region | None = None) -> Endpoint | None:
    """Convert a value that a user may give as an endpoint.

    Parameters
    ----------
    value : object
        An :class:`Endpoint`; the address of a scheduler; a
        ``distributed.Client``; a cluster object with ``scheduler_address``; a
        mapping with ``gateway`` or ``address``, as in the configuration; or None
        for an endpoint that is only named, to plan with.
    region : Region, optional
        The region that it is for, for messages.

    Returns
    -------
    Endpoint or None

    Raises
    ------
    ConfigurationError
        If it is none of these, or a mapping has unknown keys or values.

    Examples
    --------
    >>> to_endpoint("tls://10.0.0.7:8786")
    AddressEndpoint('tls://10.0.0.7:8786')
    >>> to_endpoint({"gateway": "https://hub.example.org", "maximum": 40}).maximum
    40
    """
    if value is None or isinstance(value, Endpoint):
        return value
    try:
        return _convert(value)
    except ConfigurationError as err:
        if region is None:
            raise
        raise ConfigurationError(
            f"Endpoint of region {str(region)!r}: {err}", **{**err.facts, "region": str(region)}
        ) from err


def _convert(value: object) -> Endpoint:
    if isinstance(value, str):
        return AddressEndpoint(value)
    if isinstance(value, Mapping):
        return _from_mapping(value)
    adopted = AddressEndpoint.from_object(value)
    if adopted is not None:
        return adopted
    raise ConfigurationError(
        f"A {type(value).__name__!r} is no endpoint. Give a GatewayEndpoint, a scheduler's "
        "address such as 'tls://10.0.0.7:8786', a distributed.Client, a cluster object, "
        "a mapping with 'gateway' or 'address', or None to plan with a name only."
    )


def _from_mapping(value: Mapping[Any, Any]) -> Endpoint:
    settings = _settings(value)
    kinds = [key for key in _BUILDERS if key in settings]
    if len(kinds) != 1:
        found = " and ".join(map(repr, kinds)) or "neither"
        raise ConfigurationError(
            f"An endpoint needs either 'gateway' or 'address', and this has {found}. Its keys "
            f"are {', '.join(map(repr, settings)) or 'none'}."
        )
    keys, build = _BUILDERS[kinds[0]]
    _check_keys(settings, keys, of=f"an endpoint with {kinds[0]!r}")
    return build(settings)


def _gateway(settings: dict[str, Any]) -> Endpoint:
    if settings.get("maximum") is None:
        raise ConfigurationError(
            f"Gateway {settings['gateway']!r}: 'maximum' is missing. Say how many workers it may "
            "start at most: without a bound, adaptive scaling has been seen to ask for thousands.",
            key="maximum",
        )
    if settings["gateway"] == _HUBS_OWN:
        settings = _hubs_own(settings)
    return GatewayEndpoint(settings.pop("gateway"), **settings)


def _hubs_own(settings: dict[str, Any]) -> dict[str, Any]:
    """Fill missing settings from dask-gateway's own section of the configuration."""
    section = read_gateway()
    if not section.get("address"):
        raise ConfigurationError(
            f"'gateway' is {_HUBS_OWN!r}, and dask's configuration names no gateway. Set "
            "gateway.address there, or DASK_GATEWAY__ADDRESS; or give the gateway's URL.",
            key="gateway",
        )
    found: dict[str, Any] = {"gateway": section["address"]}
    if section.get("proxy_address") is not None:
        found["proxy_address"] = section["proxy_address"]
    # Hubs give the path alone, for browsers that are there already.
    if "://" in str(section.get("public_address")):
        found["public_address"] = section["public_address"]
    if auth := section.get("auth"):
        found["auth"] = {"type": auth.get("type") or "basic", **(auth.get("kwargs") or {})}
    proxy = (section.get("http_client") or {}).get("proxy")
    if proxy is not None:
        found["http_proxy"] = proxy
    given = {key: item for key, item in settings.items() if key != "gateway"}
    options = (section.get("cluster") or {}).get("options") or {}
    if options or given.get("options"):
        found["options"] = {**options, **(given.pop("options", None) or {})}
    return {**found, **given}


def _address(settings: dict[str, Any]) -> Endpoint:
    address, tls = settings["address"], settings.get("tls")
    if not isinstance(address, str):
        raise ConfigurationError(
            f"'address' must be text, not a {type(address).__name__!r}. "
            "Give one such as 'tls://10.0.0.7:8786'.",
            key="address",
        )
    if tls is None:
        return AddressEndpoint(address)
    files = _settings(tls) if isinstance(tls, Mapping) else {}
    _check_keys(files, _TLS_KEYS, of="'tls'")
    if not files or not all(isinstance(item, str) for item in files.values()):
        raise ConfigurationError(
            "'tls' must be a mapping with 'ca-file', 'cert' and 'key', each the path of a file.",
            key="tls",
        )
    return AddressEndpoint.from_tls(address, files)


_Builder = Callable[[dict[str, Any]], Endpoint]

# Each kind of mapping by its distinctive key: the keys that it may have, and the
# function that makes its endpoint.
_BUILDERS: Final[Mapping[str, tuple[tuple[str, ...], _Builder]]] = {
    "gateway": (_GATEWAY_KEYS, _gateway),
    "address": (_ADDRESS_KEYS, _address),
}


def _settings(value: Mapping[Any, Any]) -> dict[str, Any]:
    # dask's configuration holds '-' and '_' in keys to be the same.
    return {str(key).replace("-", "_"): item for key, item in value.items()}


def _check_keys(settings: Mapping[str, Any], keys: tuple[str, ...], *, of: str) -> None:
    for key in settings:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0].replace('_', '-')!r}?" if close else ""
            listed = ", ".join(repr(known.replace("_", "-")) for known in keys)
            raise ConfigurationError(
                f"Unknown key {key!r} of {of}.{hint} It may have {listed}.", key=key
            )


def to_endpoints(
    given: Mapping[str, Any], *, allowed: Allowed | None = None
) -> dict[Region, Endpoint | None]:
    """Convert the endpoints of all regions; report all problems together.

    Parameters
    ----------
    given : mapping of str to object
        By region's name; None for an endpoint that is only named.
    allowed : Allowed, optional
        The regions that may have one. By default all.

    Raises
    ------
    ConfigurationError
        If one is wrong.
    LocalityErrorGroup
        If several are.
    """
    endpoints: dict[Region, Endpoint | None] = {}
    problems: list[Exception] = []
    for name, value in given.items():
        try:
            region = Region.parse(name)
            if allowed is not None and not allowed.permits(region):
                raise allowed.problem(region)
            endpoints[region] = to_endpoint(value, region=region)
        except LocalityError as error:
            problems.append(error)
    raise_together(problems, message="The endpoints cannot be used:")
    return endpoints
