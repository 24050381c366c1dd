"""Emulated regions on one machine, for tests and for trying things out."""

from xr_locality.testing.gateway import REGION_VARIABLE, GatewayServer
from xr_locality.testing.network import EmulatedLink, EmulatedNetwork, LinkCounts
from xr_locality.testing.objects import AccessRecord, FileObjectServer, ObjectServer
from xr_locality.testing.testbed import EmulatedRegion, Testbed

__all__ = [
    "REGION_VARIABLE",
    "AccessRecord",
    "EmulatedLink",
    "EmulatedNetwork",
    "EmulatedRegion",
    "FileObjectServer",
    "GatewayServer",
    "LinkCounts",
    "ObjectServer",
    "Testbed",
]
