"""Settings of a run, read from dask's configuration.

Importing this module registers the defaults of ``locality.yaml`` with dask, so
that ``dask.config``, its YAML files and ``DASK_LOCALITY__…`` variables all work
as they do for dask itself. :func:`read` makes a checked, frozen :class:`Settings`
of them.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

import dask.config
import yaml

from xr_locality.config.values import (
    CHECKS,
    Budget,
    LinkSetting,
    MissingEndpoint,
    Objective,
    Probing,
    RawSetting,
    RemoteRead,
    Severity,
    Transfer,
    TrialFunctions,
    UnknownRegion,
    parse_budget,
)
from xr_locality.errors import ConfigurationError, raise_together

__all__ = ["Settings", "read", "read_gateway"]

_NAMESPACE: Final = "locality"

_DEFAULTS: Final[Mapping[str, Any]] = yaml.safe_load(
    resources.files("xr_locality").joinpath("locality.yaml").read_text("utf-8")
)
dask.config.update_defaults(_DEFAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a run, checked; made by :func:`read`.

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
    #: Folder of cached answers; None for the user's cache directory.
    cache_directory: str | None
    #: The only regions that tasks may run in; None for all.
    allowed_regions: tuple[str, ...] | None
    #: The quantity that a plan minimises.
    objective: Objective
    #: The budget as the user wrote it; None for no limit.
    max_egress: str | None
    #: What to do with data in a region that has no endpoint.
    missing_endpoint: MissingEndpoint
    #: What to do with data whose region is not known.
    unknown_region: UnknownRegion
    #: Whether another region may read a source's stored bytes.
    remote_read: RemoteRead
    #: Whose functions planning may try on small arrays, to learn the sizes of their results.
    trial_functions: TrialFunctions
    #: How values cross between regions.
    transfer: Transfer
    #: How often a fetch of a boundary value is tried again when a link breaks.
    retries: int
    #: Whether to show progress; None means where a person is watching.
    progress: bool | None
    #: How long a region's cluster may take to start, in seconds.
    start_timeout: float
    #: How to treat packages on clusters that differ from the local ones.
    version_check: Severity
    #: How to treat sources that the workers in their region cannot read.
    source_check: Severity
    #: Where to keep a record of each run: a file, or a URL to put objects under; None for nowhere.
    audit_log: str | None
    #: Whether nothing is started where no record can be kept.
    audit_required: bool
    #: Seconds that a started cluster outlives the last sign of this process; None for ever.
    lease: float | None
    #: Folder of the ledger of started clusters; None for the user's state directory.
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
    problems = [_unknown(setting) for setting in settings if setting.name not in CHECKS]
    given = {setting.name: setting for setting in _named(_DEFAULTS[_NAMESPACE])}
    given |= {setting.name: setting for setting in settings if setting.value is not None}
    values: dict[str, Any] = {}
    for name, check in CHECKS.items():
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
        Its content, with underscores in its keys, and with environment variables in braces
        filled in, as dask-gateway does.

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


def _given_by_config() -> list[RawSetting]:
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


def _named(settings: Mapping[Any, Any]) -> list[RawSetting]:
    named: dict[str, RawSetting] = {}
    for key, value in settings.items():
        name = str(key).replace("-", "_")
        setting = RawSetting(name=name, where=f"{_NAMESPACE}.{key}", value=value)
        if name in named:
            raise ConfigurationError(
                f"{named[name].where!r} and {setting.where!r} in dask's configuration are the "
                "same setting. Remove one.",
                key=setting.where,
            )
        named[name] = setting
    return list(named.values())


def _given_by_keyword(overrides: Mapping[str, Any]) -> list[RawSetting]:
    return [RawSetting(name=name, where=name, value=value) for name, value in overrides.items()]


def _unknown(given: RawSetting) -> ConfigurationError:
    close = difflib.get_close_matches(given.name, CHECKS, n=1)
    hint = f"Did you mean {_like(close[0], given)!r}? " if close else ""
    known = ", ".join(_like(name, given) for name in CHECKS)
    return ConfigurationError(
        f"Unknown setting {given.where!r}. {hint}There are: {known}.",
        key=given.where,
        suggestions=tuple(close),
    )


def _like(name: str, given: RawSetting) -> str:
    """Write a setting's name in the spelling that `given` used."""
    if given.where == given.name:
        return name
    return f"{_NAMESPACE}.{name.replace('_', '-')}"
