"""Fixtures for all tests: the shipped testbed, and no state left between tests."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

import dask
import pytest
import xarray as xr

from support.set_timeouts import SetTimeouts
from xr_locality.regions.tag_registry import REGISTRY
from xr_locality.runtime.timeouts import replaced_timeouts

# Shells start what runs in the background with interrupts ignored, and children
# inherit that: tests of Ctrl-C need it to be as in a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test asks a real cloud, nor does a process that it starts. Those that probe
# servers of their own say so.
os.environ["DASK_LOCALITY__PROBE"] = "never"
dask.config.set({"locality.probe": "never"})

# Nor does it note clusters among the user's own.
_state = tempfile.mkdtemp(prefix="xr-locality-state-")
atexit.register(shutil.rmtree, _state, ignore_errors=True)
os.environ["DASK_LOCALITY__STATE_DIRECTORY"] = _state
dask.config.set({"locality.state-directory": _state})

pytest_plugins = ["xr_locality.testing.fixtures"]


#: What takes longest comes first, so that no process is left alone with it at the end.
LONG = ("integration", "test_properties.py", "test_every_store.py", "demo", "test_comparison.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts gateways or clusters, and order tests for several processes."""
    for item in items:
        if "testbed" in getattr(item, "fixturenames", ()):
            item.add_marker("gateway")
        if "integration" in item.path.parts:
            item.add_marker("slow")
    items.sort(key=lambda item: not set(LONG).intersection(item.path.parts))


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """Forget tags, and check that no test leaves dask's scheduler setting behind."""
    yield
    REGISTRY.clear()
    assert dask.config.get("scheduler", None) is None


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Write the two sources of programs, once."""
    from support.programs import write_sources

    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def sources(stores: tuple[str, str]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open the two sources of programs, each in its region."""
    from support.programs import open_sources

    return open_sources(stores)


@pytest.fixture
def set_timeouts() -> Iterator[SetTimeouts]:
    """Replace timeouts until the test ends."""
    with ExitStack() as stack:

        def replace(**changes: float) -> None:
            stack.enter_context(replaced_timeouts(**changes))

        yield replace
