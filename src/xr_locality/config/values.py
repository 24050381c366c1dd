"""Values of settings: their types, parsers and checks."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import dask.config
from dask.utils import parse_bytes, parse_timedelta

from xr_locality.errors import ConfigurationError

__all__ = [
    "CHECKS",
    "Budget",
    "LinkSetting",
    "MissingEndpoint",
    "Objective",
    "Probing",
    "RawSetting",
    "RemoteRead",
    "Severity",
    "Transfer",
    "TrialFunctions",
    "UnknownRegion",
    "parse_budget",
]

Objective: TypeAlias = Literal["usd", "bytes", "seconds"]
MissingEndpoint: TypeAlias = Literal["error", "nearest", "local"]
UnknownRegion: TypeAlias = Literal["error", "local"]
Probing: TypeAlias = Literal["auto", "always", "never"]
RemoteRead: TypeAlias = Literal["allowed", "never"]
TrialFunctions: TypeAlias = Literal["known", "all", "never"]
# Not "off", which YAML takes for false.
Severity: TypeAlias = Literal["error", "warn", "ignore"]
Transfer: TypeAlias = Literal["direct", "relay", "stage", "auto"]

_UNLIMITED: Final = "unlimited"
_NEVER: Final = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Budget of a plan: the most bytes or money that may be moved, never both.

    Parameters
    ----------
    nbytes : int, optional
        Bytes that may cross between regions.
    usd : float, optional
        Their price in US dollars.
    """

    nbytes: int | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        if (self.nbytes is None) == (self.usd is None):
            raise ConfigurationError(
                f"A budget is in bytes or in USD, not nbytes={self.nbytes!r} and usd={self.usd!r}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSetting:
    """Figures of the network between two regions, as the user states them.

    Parameters
    ----------
    bytes_per_second : float, optional
        Bytes per second between one worker in each region.
    rtt_seconds : float, optional
        Round-trip time in seconds.
    """

    bytes_per_second: float | None = None
    rtt_seconds: float | None = None


def parse_budget(text: str) -> Budget:
    """Parse a budget such as ``"10 GB"`` or ``"5 USD"``.

    Parameters
    ----------
    text : str
        A number with a unit of bytes (``B``, ``kB``, ``MB``, ``GB``, ``TB``,
        ``PB``, powers of 1000; ``KiB``, ``MiB`` … powers of 1024), or a number of
        US dollars (``"5 USD"``, ``"$5"``). Case does not matter.

    Returns
    -------
    Budget

    Raises
    ------
    ConfigurationError
        If the text is neither.

    Examples
    --------
    >>> parse_budget("1.5 GiB")
    Budget(nbytes=1610612736, usd=None)
    >>> parse_budget("$5")
    Budget(nbytes=None, usd=5.0)
    """
    return _budget(RawSetting(name="max_egress", where="max_egress", value=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSetting:
    """Raw value of a setting, and its name as the user wrote it."""

    name: str
    where: str
    value: Any


def _refused(given: RawSetting, must: str, *, show: bool = True) -> ConfigurationError:
    shown = repr(given.value) if show else f"a {type(given.value).__name__}"
    return ConfigurationError(f"{given.where} is {shown}: {must}.", key=given.where)


def _choice(allowed: tuple[str, ...]) -> Callable[[RawSetting], str]:
    def check(given: RawSetting) -> str:
        if isinstance(given.value, str) and given.value in allowed:
            return given.value
        close = difflib.get_close_matches(str(given.value).lower(), allowed, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise _refused(given, f"it must be one of {', '.join(map(repr, allowed))}{hint}")

    return check


_AMOUNT: Final = re.compile(
    r"(?P<dollar>\$)?\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[A-Za-z]*)"
)
_BYTES: Final = re.compile(r"(?:[KMGTP]i?)?B", re.IGNORECASE)


def _budget(given: RawSetting) -> Budget:
    match = _AMOUNT.fullmatch(given.value.strip()) if isinstance(given.value, str) else None
    if match is not None:
        number, unit = match["number"], match["unit"]
        if match["dollar"] and unit.upper() in ("", "USD"):
            return Budget(usd=float(number))
        if not match["dollar"] and unit.upper() == "USD":
            return Budget(usd=float(number))
        if not match["dollar"] and _BYTES.fullmatch(unit):
            return Budget(nbytes=parse_bytes(f"{number} {unit}"))
    raise _refused(
        given, "it must be a number with a unit of bytes or USD, such as '10 GB' or '5 USD'"
    )


def _max_egress(given: RawSetting) -> str | None:
    if given.value is None or given.value == _UNLIMITED:
        return None
    _budget(given)
    return str(given.value).strip()


def _retries(given: RawSetting) -> int:
    if isinstance(given.value, int) and not isinstance(given.value, bool) and given.value >= 0:
        return given.value
    raise _refused(given, "it must be a whole number, 0 or more")


def _progress(given: RawSetting) -> bool | None:
    if given.value is None or isinstance(given.value, bool):
        return given.value
    raise _refused(given, "it must be true, false or null")


def _duration(given: RawSetting) -> float:
    must = "it must be a time above zero, in seconds or such as '5 minutes'"
    if isinstance(given.value, bool) or not isinstance(given.value, int | float | str):
        raise _refused(given, must)
    try:
        seconds = float(parse_timedelta(given.value))
    except (IndexError, KeyError, ValueError) as error:
        raise _refused(given, must) from error
    if not (math.isfinite(seconds) and seconds > 0):
        raise _refused(given, must)
    return seconds


def _lease(given: RawSetting) -> float | None:
    return None if given.value is None or given.value == _NEVER else _duration(given)


def _directory(given: RawSetting) -> str | None:
    if given.value is None:
        return None
    if isinstance(given.value, str | os.PathLike) and os.fspath(given.value):
        return str(os.fspath(given.value))
    raise _refused(given, "it must be a directory's path, or null")


def _audit_log(given: RawSetting) -> str | None:
    if given.value is None:
        return None
    if isinstance(given.value, str | os.PathLike) and os.fspath(given.value):
        return str(os.fspath(given.value))
    raise _refused(given, "it must be a file's path, a URL that fsspec can write to, or null")


def _yes_or_no(given: RawSetting) -> bool:
    if isinstance(given.value, bool):
        return given.value
    raise _refused(given, "it must be true or false")


def _region(given: RawSetting) -> str:
    # A value that is no text should be a Region, which this module may not import.
    if given.value is None or isinstance(given.value, bool | int | float | Mapping | list | tuple):
        raise _refused(given, "it must be a region such as 'aws:us-west-2', or 'local'")
    return str(given.value)


def _allowed_regions(given: RawSetting) -> tuple[str, ...] | None:
    if given.value is None:
        return None
    must = "it must list regions, such as ['aws:us-west-2', 'gcp:*'], or be null"
    if not isinstance(given.value, list | tuple | set | frozenset):
        raise _refused(given, must)
    for name in given.value:
        _region(RawSetting(name=given.name, where=given.where, value=name))
    return tuple(map(str, given.value))


def _endpoints(given: RawSetting) -> dict[str, Any]:
    if not isinstance(given.value, Mapping):
        raise _refused(given, "it must map each region to an endpoint", show=False)
    # A password need not stand in a file: its value may name a variable.
    endpoints = dask.config.expand_environment_variables(given.value)
    named = {str(region): endpoint for region, endpoint in endpoints.items()}
    if len(named) < len(endpoints):
        raise _refused(given, "it names a region twice", show=False)
    return named


def _rules(given: RawSetting) -> dict[str, str]:
    must = "it must map URL prefixes to regions, such as {'s3://my-bucket': 'aws:us-west-2'}"
    if not isinstance(given.value, Mapping):
        raise _refused(given, must)
    for prefix, region in given.value.items():
        if not isinstance(prefix, str) or not prefix or region is None:
            raise _refused(given, f"{must}, not {prefix!r} to {region!r}")
    return {prefix: str(region) for prefix, region in given.value.items()}


def _prices(given: RawSetting) -> dict[str, float]:
    must = "it must map pairs of regions to USD per GB, such as {'aws:us-west-2 -> local': 0.02}"
    if not isinstance(given.value, Mapping):
        raise _refused(given, must)
    for pair, usd in given.value.items():
        number = isinstance(usd, int | float) and not isinstance(usd, bool)
        if not isinstance(pair, str) or not number or not (math.isfinite(usd) and usd >= 0):
            raise _refused(given, f"{must}, not {pair!r} to {usd!r}")
    return {pair: float(usd) for pair, usd in given.value.items()}


_THROUGHPUT: Final = re.compile(
    r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<prefix>[kMGT]i?)?(?P<unit>bit|B)/s"
)
_PREFIXES: Final = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}


def _links(given: RawSetting) -> dict[str, LinkSetting]:
    must = (
        "it must map pairs of regions to throughputs and round trips, such as "
        "{'aws:us-west-2 -> local': {'throughput': '200 Mbit/s', 'rtt': '60 ms'}}"
    )
    if not isinstance(given.value, Mapping):
        raise _refused(given, must)
    links: dict[str, LinkSetting] = {}
    for pair, figures in given.value.items():
        known = isinstance(figures, Mapping) and bool(figures) and {*figures} <= {*_LINK_FIGURES}
        if not isinstance(pair, str) or not known:
            raise _refused(given, f"{must}, not {pair!r} to {figures!r}")
        links[pair] = LinkSetting(
            **dict(
                _link_figure(
                    RawSetting(name=key, where=f"{given.where}[{pair!r}].{key}", value=value)
                )
                for key, value in figures.items()
            )
        )
    return links


def _link_figure(given: RawSetting) -> tuple[str, float]:
    field_name, check = _LINK_FIGURES[given.name]
    return field_name, check(given)


def _throughput(given: RawSetting) -> float:
    match = _THROUGHPUT.fullmatch(given.value.strip()) if isinstance(given.value, str) else None
    if match is None or not float(match["number"]):
        raise _refused(given, "it must be above zero, such as '200 Mbit/s' or '25 MB/s'")
    prefix = match["prefix"] or ""
    base = 1024.0 if prefix.endswith("i") else 1000.0
    bits = 1 if match["unit"] == "bit" else 8
    scale: float = base ** _PREFIXES[prefix.rstrip("i")] * bits / 8
    return float(match["number"]) * scale


def _staging(given: RawSetting) -> dict[str, dict[str, Any]]:
    must = (
        "it must map regions to URLs of object stores there, such as "
        "{'aws:us-west-2': 's3://my-bucket/staging'}, or to mappings with 'url' and "
        "'storage_options'"
    )
    if not isinstance(given.value, Mapping):
        raise _refused(given, must, show=False)
    stores: dict[str, dict[str, Any]] = {}
    # A password need not stand in a file: its value may name a variable.
    for region, store in dask.config.expand_environment_variables(given.value).items():
        named = {"url": store} if isinstance(store, str) else store
        if not isinstance(named, Mapping) or not {"url"} <= {*named} <= {"url", "storage_options"}:
            raise _refused(given, f"{must}; that of {str(region)!r} is neither", show=False)
        options = named.get("storage_options") or {}
        if not (isinstance(named["url"], str) and named["url"] and isinstance(options, Mapping)):
            raise _refused(given, f"{must}; that of {str(region)!r} is neither", show=False)
        stores[str(region)] = {"url": named["url"], "storage_options": dict(options)}
    return stores


#: Figures of a link by name: the field that each fills, and its check.
_LINK_FIGURES: Final[Mapping[str, tuple[str, Callable[[RawSetting], float]]]] = {
    "throughput": ("bytes_per_second", _throughput),
    "rtt": ("rtt_seconds", _duration),
}


#: The check of each setting, by its field's name.
CHECKS: Final[Mapping[str, Callable[[RawSetting], Any]]] = {
    "client_region": _region,
    "endpoints": _endpoints,
    "rules": _rules,
    "allowed_regions": _allowed_regions,
    "probe": _choice(get_args(Probing)),
    "probe_timeout": _duration,
    "cache_directory": _directory,
    "objective": _choice(get_args(Objective)),
    "max_egress": _max_egress,
    "missing_endpoint": _choice(get_args(MissingEndpoint)),
    "unknown_region": _choice(get_args(UnknownRegion)),
    "remote_read": _choice(get_args(RemoteRead)),
    "trial_functions": _choice(get_args(TrialFunctions)),
    "transfer": _choice(get_args(Transfer)),
    "retries": _retries,
    "progress": _progress,
    "start_timeout": _duration,
    "version_check": _choice(get_args(Severity)),
    "source_check": _choice(get_args(Severity)),
    "audit_log": _audit_log,
    "audit_required": _yes_or_no,
    "lease": _lease,
    "state_directory": _directory,
    "prices": _prices,
    "links": _links,
    "staging": _staging,
}
