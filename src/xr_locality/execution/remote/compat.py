"""Private and undocumented names of dask and distributed that shipped code uses.

No other module of :mod:`xr_locality.execution.remote` uses any. Last verified with dask and
distributed 2025.12.0 to 2026.8.0. If a name is gone, no run starts: importing this module
raises a :class:`~xr_locality.errors.MissingDependencyError` in the user's process, before
anything is sent. :func:`byte_stream` degrades: without it, large values travel in messages.

- dask defines the tasks of a graph in ``dask._task_spec``; no public name exists, and an
  optimiser has to read and make tasks.
- The barrier of a peer-to-peer shuffle must keep its key, and only its class shows it.
- ``distributed.secede`` waits for an answer of the event loop, and a coroutine task runs on
  that loop; so a fetch task sends the worker's state machine the event itself.
- No public API tells a coroutine task that it was released; its state on the worker does.
"""

from __future__ import annotations

import time
from typing import Any

from dask.typing import Key

try:
    from dask._task_spec import (
        DependenciesMapping,
        Task,
        TaskRef,
        convert_legacy_graph,
        fuse_linear_task_spec,
        resolve_aliases,
    )
    from distributed.shuffle._core import P2PBarrierTask
    from distributed.worker_state_machine import SecedeEvent
except ImportError as error:
    # Only the user's process imports this module; functions are shipped without it.
    from importlib.metadata import version

    from xr_locality.errors import MissingDependencyError

    raise MissingDependencyError(
        f"dask {version('dask')} lacks a private name that xr-locality needs to run a plan "
        f"({error}), last verified with dask and distributed 2026.8.0. Install those versions, "
        "or a newer xr-locality.",
        package="dask",
        installed=version("dask"),
    ) from error

__all__ = [
    "DependenciesMapping",
    "P2PBarrierTask",
    "Task",
    "TaskRef",
    "byte_stream",
    "convert_legacy_graph",
    "fuse_linear_task_spec",
    "is_held",
    "resolve_aliases",
    "secede_coroutine",
]


def secede_coroutine(worker: Any, key: Key) -> None:
    """Free the thread that a coroutine task occupies on its worker.

    Parameters
    ----------
    worker : Worker
        Where the task runs.
    key : key
        The key of the task.
    """
    stimulus = f"locality-fetch-{time.time()}"
    worker.handle_stimulus(SecedeEvent(key=key, compute_duration=0.0, stimulus_id=stimulus))


def is_held(worker: Any, key: Key) -> bool:
    """Whether a worker still holds a task: it cannot interrupt a coroutine, only drop it."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state != "cancelled"


def byte_stream(comm: Any) -> Any:
    """Get the byte stream of an open connection over TCP or TLS; None of any other."""
    return getattr(comm, "stream", None)
