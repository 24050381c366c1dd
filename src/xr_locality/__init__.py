"""Compute xarray graphs beside their data, across regions, with one call.

Importing this registers the ``.locality`` accessor and starts nothing.
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from xr_locality import errors
from xr_locality.accessor import register as _register
from xr_locality.api import compute, persist, plan, sources, tag, where
from xr_locality.display.plans import Plan
from xr_locality.regions.region import Region
from xr_locality.routing import routed
from xr_locality.session import Session

if TYPE_CHECKING:
    from xr_locality.display.reports import Report
    from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint

__all__ = [
    "GatewayEndpoint",
    "Plan",
    "Region",
    "Report",
    "Session",
    "__version__",
    "compute",
    "errors",
    "persist",
    "plan",
    "routed",
    "sources",
    "tag",
    "where",
]

__version__ = _version("xr-locality")

_register()

# What needs distributed is imported on first use, so that importing stays cheap.
_LAZY = {
    "GatewayEndpoint": "xr_locality.endpoints.gateway.gateway_endpoint",
    "Report": "xr_locality.display.reports",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "catalog":
        return import_module("xr_locality.catalog")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
