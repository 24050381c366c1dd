"""The processes that a testbed's gateways have started."""

from __future__ import annotations

import psutil

from xr_locality.regions.region import Region
from xr_locality.testing import REGION_VARIABLE, Testbed
from xr_locality.testing.watchdog import marked_processes


def processes_of(testbed: Testbed, region: Region | str, kind: str) -> list[psutil.Process]:
    """Find the schedulers or workers of an emulated region's clusters: not another test's."""
    found = []
    for process in marked_processes(testbed.marker):
        try:
            there = process.environ().get(REGION_VARIABLE) == str(region)
            if there and kind in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
