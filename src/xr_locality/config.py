"""Settings: the one reader of dask's configuration.

Importing this module registers the defaults of ``locality.yaml`` with dask, so
that ``dask.config``, its YAML files and ``DASK_LOCALITY__…`` variables all work
as they do for dask itself. :func:`read` makes a checked, frozen :class:`Settings`
of them.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, Literal, TypeAlias, get_args

import dask.config
import yaml
from dask.utils import parse_bytes, parse_timedelta

from xr_locality.errors import ConfigurationError, raise_together

__all__ = [
    "Budget",
    "LinkSetting",
    "MissingEndpoint",
    "Objective",
    "Probing",
    "RemoteRead",
    "Settings",
    "Severity",
    "Transfer",
    "UnknownRegion",
    "parse_budget",
    "read",
    "read_gateway",
]

Objective: TypeAlias = Literal["usd", "bytes", "seconds"]
MissingEndpoint: TypeAlias = Literal["error", "nearest", "local"]
UnknownRegion: TypeAlias = Literal["error", "local"]
Probing: TypeAlias = Literal["auto", "always", "never"]
RemoteRead: TypeAlias = Literal["allowed", "never"]
# Not "off", which YAML takes for false.
Severity: TypeAlias = Literal["error", "warn", "ignore"]
Transfer: TypeAlias = Literal["direct", "relay", "stage", "auto"]

_NAMESPACE: Final = "locality"
_UNLIMITED: Final = "unlimited"
_NEVER: Final = "never"

_DEFAULTS: Final[Mapping[str, Any]] = yaml.safe_load(
    resources.files("xr_locality").joinpath("locality.yaml").read_text("utf-8")
)
dask.config.update_defaults(_DEFAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that a plan may move: bytes or money, never both.

    Parameters
    ----------
    nbytes : int, optional
        Bytes that may cross between regions.
    usd : float, optional
        What they may cost, in US dollars.
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
    """What the user says of the network between two regions.

    Parameters
    ----------
    bytes_per_second : float, optional
        What one worker in each region can move.
    rtt_seconds : float, optional
        Round-trip time in seconds.
    """

    bytes_per_second: float | None = None
    rtt_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a run can be told, checked; made by :func:`read`.

    Names of regions are still text here: ``regions`` parses them.
    """

    #: The region that results go to.
    client_region: str
    #: Region to endpoint, as given. May hold secrets, so no repr shows it.
    endpoints: Mapping[str, Any] = field(repr=False)
    #: URL prefix to region.
    rules: Mapping[str, str]
    #: Whether to ask clouds where a bucket is.
    probe: Probing
    #: How long one bucket may take to be asked for, in seconds.
    probe_timeout: float
    #: Where to keep what can be found out again; None for the user's directory for caches.
    cache_directory: str | None
    #: The only regions that tasks may run in; None for all.
    allowed_regions: tuple[str, ...] | None
    #: What a plan keeps least.
    objective: Objective
    #: The budget as the user wrote it; None for no limit.
    max_egress: str | None
    #: What to do with data in a region that has no endpoint.
    missing_endpoint: MissingEndpoint
    #: What to do with data whose region nobody knows.
    unknown_region: UnknownRegion
    #: Whether another region may read a source's stored bytes.
    remote_read: RemoteRead
    #: How values cross between regions.
    transfer: Transfer
    #: How often a fetch of a boundary value is tried again when a link breaks.
    retries: int
    #: Whether to show progress; None means where a person is watching.
    progress: bool | None
    #: How long a region's cluster may take to start, in seconds.
    start_timeout: float
    #: What to make of packages on clusters that differ from those here.
    version_check: Severity
    #: What to make of sources that the workers beside them cannot read.
    source_check: Severity
    #: Where to keep a record of each run: a file, or a URL to put objects under; None for nowhere.
    audit_log: str | None
    #: Whether nothing is started where no record can be kept.
    audit_required: bool
    #: How long a cluster of ours outlives the last sign of this process, in seconds;
    #: None for ever.
    lease: float | None
    #: Where clusters of ours are noted; None for the user's directory for programs' state.
    state_directory: str | None
    #: The user's own prices, ``"source -> target"`` to USD per GB.
    prices: Mapping[str, float]
    #: The user's own figures of the network, ``"source -> target"``.
    links: Mapping[str, LinkSetting]
    #: Region to the object store there that values are staged in: ``url`` and
    #: ``storage_options``. May hold secrets, so no repr shows it.
    staging: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def budget(self) -> Budget | None:
        """``max_egress`` understood; None for no limit."""
        return None if self.max_egress is None else parse_budget(self.max_egress)


def read(**overrides: Any) -> Settings:
    """Read the settings from dask's configuration, check them, and freeze them.

    Parameters
    ----------
    **overrides : Any
        Settings by their field names in :class:`Settings`. They win over the
        configuration and replace mappings as a whole; None means "from config".

    Returns
    -------
    Settings

    Raises
    ------
    ConfigurationError
        If a setting's name or value is wrong.
    LocalityErrorGroup
        If several are.

    Examples
    --------
    >>> read(objective="bytes", max_egress="10 GB").budget
    Budget(nbytes=10000000000, usd=None)
    """
    settings = [*_given_by_config(), *_given_by_keyword(overrides)]
    problems = [_unknown(setting) for setting in settings if setting.name not in _CHECKS]
    given = {setting.name: setting for setting in _named(_DEFAULTS[_NAMESPACE])}
    given |= {setting.name: setting for setting in settings if setting.value is not None}
    values: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        try:
            values[name] = check(given[name])
        except ConfigurationError as error:
            problems.append(error)
    raise_together(problems, message="The settings of xr-locality cannot be used:")
    return Settings(**values)


def read_gateway() -> dict[str, Any]:
    """Read the section ``gateway`` of dask's configuration: that of a hub's own gateway.

    Returns
    -------
    dict of str to object
        What it says, with underscores in its keys, and with environment variables filled in
        where it has them in braces, as dask-gateway does.

    Raises
    ------
    ConfigurationError
        If it is malformed, or names a variable that is not set.
    """
    section = dask.config.get("gateway", default=None)
    if section is not None and not isinstance(section, Mapping):
        raise ConfigurationError(
            f"'gateway' in dask's configuration must be a mapping, not a {type(section).__name__}.",
            key="gateway",
        )
    filled: dict[str, Any] = _fill(section or {}, where="gateway")
    return filled


def _fill(value: Any, *, where: str) -> Any:
    if isinstance(value, Mapping):
        # Of options the names are the server's.
        keep = where.endswith(".options")
        return {
            str(key) if keep else str(key).replace("-", "_"): _fill(item, where=f"{where}.{key}")
            for key, item in value.items()
        }
    if not isinstance(value, str):
        return value
    try:
        return value.format(**os.environ)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigurationError(
            f"{where} in dask's configuration is a template that cannot be filled in "
            f"({type(error).__name__}: {error}). Set the environment variable that it names.",
            key=where,
        ) from None


def parse_budget(text: str) -> Budget:
    """Understand a budget such as ``"10 GB"`` or ``"5 USD"``.

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
    return _budget(_Given(name="max_egress", where="max_egress", value=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """A raw value and the name that its giver knows it by."""

    name: str
    where: str
    value: Any


def _given_by_config() -> list[_Given]:
    # The whole namespace at once: a dotted path would be split at the dots of
    # host names in the keys of `rules`.
    configured = dask.config.get(_NAMESPACE, default=None)
    if configured is None:
        return []
    if not isinstance(configured, Mapping):
        raise ConfigurationError(
            f"{_NAMESPACE!r} in dask's configuration must be a mapping of settings, "
            f"not a {type(configured).__name__}.",
            key=_NAMESPACE,
        )
    return _named(configured)


def _named(settings: Mapping[Any, Any]) -> list[_Given]:
    named: dict[str, _Given] = {}
    for key, value in settings.items():
        name = str(key).replace("-", "_")
        setting = _Given(name=name, where=f"{_NAMESPACE}.{key}", value=value)
        if name in named:
            raise ConfigurationError(
                f"{named[name].where!r} and {setting.where!r} in dask's configuration are the "
                "same setting. Remove one.",
                key=setting.where,
            )
        named[name] = setting
    return list(named.values())


def _given_by_keyword(overrides: Mapping[str, Any]) -> list[_Given]:
    return [_Given(name=name, where=name, value=value) for name, value in overrides.items()]


def _unknown(given: _Given) -> ConfigurationError:
    close = difflib.get_close_matches(given.name, _CHECKS, n=1)
    hint = f"Did you mean {_like(close[0], given)!r}? " if close else ""
    known = ", ".join(_like(name, given) for name in _CHECKS)
    return ConfigurationError(
        f"Unknown setting {given.where!r}. {hint}There are: {known}.",
        key=given.where,
        suggestions=tuple(close),
    )


def _like(name: str, given: _Given) -> str:
    """Write a setting's name in the spelling that `given` used."""
    if given.where == given.name:
        return name
    return f"{_NAMESPACE}.{name.replace('_', '-')}"


def _refused(given: _Given, must: str, *, show: bool = True) -> ConfigurationError:
    shown = repr(given.value) if show else f"a {type(given.value).__name__}"
    return ConfigurationError(f"{given.where} is {shown}: {must}.", key=given.where)


def _choice(allowed: tuple[str, ...]) -> Callable[[_Given], str]:
    def check(given: _Given) -> str:
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


def _budget(given: _Given) -> Budget:
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


def _max_egress(given: _Given) -> str | None:
    if given.value is None or given.value == _UNLIMITED:
        return None
    _budget(given)
    return str(given.value).strip()


def _retries(given: _Given) -> int:
    if isinstance(given.value, int) and not isinstance(given.value, bool) and given.value >= 0:
        return given.value
    raise _refused(given, "it must be a whole number, 0 or more")


def _progress(given: _Given) -> bool | None:
    if given.value is None or isinstance(given.value, bool):
        return given.value
    raise _refused(given, "it must be true, false or null")


def _duration(given: _Given) -> float:
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


def _lease(given: _Given) -> float | None:
    return None if given.value is None or given.value == _NEVER else _duration(given)


def _directory(given: _Given) -> str | None:
    if given.value is None:
        return None
    if isinstance(given.value, str | os.PathLike) and os.fspath(given.value):
        return str(os.fspath(given.value))
    raise _refused(given, "it must be a directory's path, or null")


def _audit_log(given: _Given) -> str | None:
    if given.value is None:
        return None
    if isinstance(given.value, str | os.PathLike) and os.fspath(given.value):
        return str(os.fspath(given.value))
    raise _refused(given, "it must be a file's path, a URL that fsspec can write to, or null")


def _yes_or_no(given: _Given) -> bool:
    if isinstance(given.value, bool):
        return given.value
    raise _refused(given, "it must be true or false")


def _region(given: _Given) -> str:
    # What is not text should be a Region, which this module may not import.
    if given.value is None or isinstance(given.value, bool | int | float | Mapping | list | tuple):
        raise _refused(given, "it must be a region such as 'aws:us-west-2', or 'local'")
    return str(given.value)


def _allowed_regions(given: _Given) -> tuple[str, ...] | None:
    if given.value is None:
        return None
    must = "it must list regions, such as ['aws:us-west-2', 'gcp:*'], or be null"
    if not isinstance(given.value, list | tuple | set | frozenset):
        raise _refused(given, must)
    for name in given.value:
        _region(_Given(name=given.name, where=given.where, value=name))
    return tuple(map(str, given.value))


def _endpoints(given: _Given) -> dict[str, Any]:
    if not isinstance(given.value, Mapping):
        raise _refused(given, "it must map each region to an endpoint", show=False)
    # A password need not stand in a file: its value may name a variable.
    endpoints = dask.config.expand_environment_variables(given.value)
    named = {str(region): endpoint for region, endpoint in endpoints.items()}
    if len(named) < len(endpoints):
        raise _refused(given, "it names a region twice", show=False)
    return named


def _rules(given: _Given) -> dict[str, str]:
    must = "it must map URL prefixes to regions, such as {'s3://my-bucket': 'aws:us-west-2'}"
    if not isinstance(given.value, Mapping):
        raise _refused(given, must)
    for prefix, region in given.value.items():
        if not isinstance(prefix, str) or not prefix or region is None:
            raise _refused(given, f"{must}, not {prefix!r} to {region!r}")
    return {prefix: str(region) for prefix, region in given.value.items()}


def _prices(given: _Given) -> dict[str, float]:
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


def _links(given: _Given) -> dict[str, LinkSetting]:
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
                _link_figure(_Given(name=key, where=f"{given.where}[{pair!r}].{key}", value=value))
                for key, value in figures.items()
            )
        )
    return links


def _link_figure(given: _Given) -> tuple[str, float]:
    field_name, check = _LINK_FIGURES[given.name]
    return field_name, check(given)


def _throughput(given: _Given) -> float:
    match = _THROUGHPUT.fullmatch(given.value.strip()) if isinstance(given.value, str) else None
    if match is None or not float(match["number"]):
        raise _refused(given, "it must be above zero, such as '200 Mbit/s' or '25 MB/s'")
    prefix = match["prefix"] or ""
    base = 1024.0 if prefix.endswith("i") else 1000.0
    bits = 1 if match["unit"] == "bit" else 8
    scale: float = base ** _PREFIXES[prefix.rstrip("i")] * bits / 8
    return float(match["number"]) * scale


def _staging(given: _Given) -> dict[str, dict[str, Any]]:
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


#: What may be said of a link: the field that it fills, and its check.
_LINK_FIGURES: Final[Mapping[str, tuple[str, Callable[[_Given], float]]]] = {
    "throughput": ("bytes_per_second", _throughput),
    "rtt": ("rtt_seconds", _duration),
}


_CHECKS: Final[Mapping[str, Callable[[_Given], Any]]] = {
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
