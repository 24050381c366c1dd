"""Private names of distributed that run in the user's own process.

Code that is sent to clusters has its own adapter, ``xr_locality.execution.remote.compat``.
Last verified with distributed 2026.8.0.

- A task that computes makes its worker open a client, which becomes dask's default client
  of the process; only ``Worker._client`` prevents that. If it is gone, a nested compute in
  the embedded cluster leaves a default client behind, and a warning is logged.
- A client whose listener has failed cannot be closed publicly; only
  ``Client._handle_report_task`` holds the failed listener. If it is gone, nothing is done,
  and closing raises as it does without xr-locality.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client, Worker

__all__ = ["forget_listener", "set_worker_client"]

logger = logging.getLogger(__name__)


def set_worker_client(worker: Worker, client: Client) -> None:
    """Give a worker the client that its tasks compute with.

    Parameters
    ----------
    worker : Worker
        A worker of this process.
    client : Client
        A client of its cluster, which is not dask's default client.
    """
    if hasattr(worker, "_client"):
        worker._client = client
    else:
        logger.warning(
            "This version of distributed has no Worker._client: a task that computes may "
            "change the default client of this process."
        )


def forget_listener(client: Client) -> None:
    """Make a client whose listener has failed closable.

    Parameters
    ----------
    client : Client
        Its ``close`` has raised what the listener raised.
    """
    client._handle_report_task = None
    client.status = "connecting"
