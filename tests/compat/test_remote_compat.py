"""Private names that shipped code uses: signature, behaviour, and what happens without them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.worker_state_machine import SecedeEvent

from support.polling import patience
from xr_locality.execution.remote import compat

#: Runs in a process of its own: imports with one name taken away, then computes.
RENAMED = """
import importlib, sys
module, _, name = sys.argv[1].rpartition(".")
delattr(importlib.import_module(module), name)
import xr_locality as xl
import dask.array as da
try:
    xl.compute(da.ones(3, chunks=1).sum())
except xl.errors.LocalityError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    "name",
    [
        "dask._task_spec.resolve_aliases",
        "distributed.shuffle._core.P2PBarrierTask",
        "distributed.worker_state_machine.SecedeEvent",
    ],
)
def test_run_without_a_private_name_is_refused(name: str) -> None:
    """The package can be imported, and a run ends in a sentence before anything is sent."""
    done = subprocess.run(
        [sys.executable, "-c", RENAMED, name],
        capture_output=True,
        text=True,
        timeout=patience(120),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MissingDependencyError dask ")
    assert name.rpartition(".")[2] in done.stdout
    assert "Install" in done.stdout


def test_coroutine_secedes_by_an_event_of_the_state_machine() -> None:
    """The event names the task, so that the worker frees its thread."""
    events: list[Any] = []
    compat.secede_coroutine(SimpleNamespace(handle_stimulus=events.append), "x-1")
    (event,) = events
    assert isinstance(event, SecedeEvent)
    assert event.key == "x-1"


@pytest.mark.parametrize(
    ("state", "held"), [("long-running", True), ("cancelled", False), (None, False)]
)
def test_dropped_task_is_not_held(state: str | None, held: bool) -> None:
    """A task that the worker has cancelled or does not know is wanted no more."""
    tasks = {} if state is None else {"x": SimpleNamespace(state=state)}
    worker = SimpleNamespace(state=SimpleNamespace(tasks=tasks))
    assert compat.is_held(worker, "x") is held


def test_connection_without_a_stream_has_none() -> None:
    """Connections within a process have no byte stream: values go in messages."""
    assert compat.byte_stream(object()) is None
    assert compat.byte_stream(SimpleNamespace(stream="bytes")) == "bytes"
