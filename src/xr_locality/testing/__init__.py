"""Emulated regions on one machine, for tests and for trying things out.

Beside them, each imported by its own name:

- :mod:`~xr_locality.testing.fixtures`: a testbed as a fixture of pytest's;
- :mod:`~xr_locality.testing.finders`: tests that a finder of sources inherits;
- :mod:`~support.strategies`: Hypothesis strategies;
- :mod:`~benchmarks.harness.simulation`: synthetic graphs over many regions;
- :mod:`~support.inprocess`: a plan run in this process, without clusters.
"""

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
