"""Policy of a call: the settings that a user may pass by keyword, with their types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike
from typing import Any, TypedDict

from xr_locality.config.values import (
    MissingEndpoint,
    Objective,
    Probing,
    RemoteRead,
    Severity,
    Transfer,
    TrialFunctions,
    UnknownRegion,
)

__all__ = ["CallPolicy", "Policy"]


class Policy(TypedDict, total=False):
    """Settings by name, as :class:`Settings` describes them; None means "from config".

    A region is text or a ``Region``.
    """

    client_region: object
    rules: Mapping[str, object] | None
    probe: Probing | None
    probe_timeout: float | str | None
    cache_directory: str | PathLike[str] | None
    allowed_regions: Collection[object] | None
    objective: Objective | None
    max_egress: str | None
    missing_endpoint: MissingEndpoint | None
    unknown_region: UnknownRegion | None
    remote_read: RemoteRead | None
    trial_functions: TrialFunctions | None
    transfer: Transfer | None
    retries: int | None
    progress: bool | None
    start_timeout: float | str | None
    version_check: Severity | None
    source_check: Severity | None
    audit_log: str | PathLike[str] | None
    audit_required: bool | None
    lease: float | str | None
    state_directory: str | PathLike[str] | None
    prices: Mapping[str, float] | None
    links: Mapping[str, Mapping[str, float | str]] | None
    staging: Mapping[Any, str | Mapping[str, Any]] | None


class CallPolicy(Policy, total=False):
    """The policy of one call, which may have endpoints of its own."""

    #: Region to endpoint, as :class:`xr_locality.Session` takes them.
    endpoints: Mapping[Any, Any] | None
