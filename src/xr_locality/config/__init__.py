"""Settings: their names and types, and reading them from dask's configuration."""

from xr_locality.config.policy import CallPolicy, Policy
from xr_locality.config.settings import Settings, read, read_gateway
from xr_locality.config.values import (
    Budget,
    LinkSetting,
    MissingEndpoint,
    Objective,
    Probing,
    RemoteRead,
    Severity,
    Transfer,
    TrialFunctions,
    UnknownRegion,
    parse_budget,
)

__all__ = [
    "Budget",
    "CallPolicy",
    "LinkSetting",
    "MissingEndpoint",
    "Objective",
    "Policy",
    "Probing",
    "RemoteRead",
    "Settings",
    "Severity",
    "Transfer",
    "TrialFunctions",
    "UnknownRegion",
    "parse_budget",
    "read",
    "read_gateway",
]
