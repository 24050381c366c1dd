"""Fixtures for all tests: the shipped testbed, and no state left between tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import dask
import pytest

from xr_locality.regions.registry import REGISTRY

# Shells start what runs in the background with interrupts ignored, and children
# inherit that: tests of Ctrl-C need it to be as in a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test asks a real cloud, nor does a process that it starts. Those that probe
# servers of their own say so.
os.environ["DASK_LOCALITY__PROBE"] = "never"
dask.config.set({"locality.probe": "never"})

pytest_plugins = ["xr_locality.testing.fixtures"]


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """Forget tags, and check that no test leaves dask's scheduler setting behind."""
    yield
    REGISTRY.clear()
    assert dask.config.get("scheduler", None) is None
