"""Settings: what may be set, and reading it from dask's configuration."""

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
    UnknownRegion,
    parse_budget,
)

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
