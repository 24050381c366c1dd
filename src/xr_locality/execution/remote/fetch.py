"""Tasks that fetch boundary values, and the plugin by which workers reach them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from typing import Any

from dask.typing import Key
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.worker import get_worker
from distributed.worker_state_machine import SecedeEvent

from xr_locality.execution.remote.puller import Puller
from xr_locality.execution.remote.sealing import seal

__all__ = ["TOPIC", "Link", "fetch"]

#: Log topic on which workers tell what they have moved.
TOPIC = "xr-locality"

#: Seconds between two looks at whether a fetch that waits is still wanted.
_STILL_WANTED_SECONDS = 1.0


class Link(WorkerPlugin):
    """Lets the workers of one cluster pull values from another's scheduler.

    Parameters
    ----------
    name : str
        The plugin's name; unguessable.
    sealed : bytes
        The sealed pickle of the scheduler's address and security; of None where the
        client relays values to the worker's own scheduler.
    patience_seconds : float
        How long the scheduler may be out of reach.
    """

    def __init__(self, name: str, sealed: bytes, patience_seconds: float) -> None:
        self.name = name
        self.sealed = sealed
        self.patience_seconds = patience_seconds
        self.puller: Puller | None = None

    def open(self, key: bytes, worker: Any) -> Puller:
        """Get the connection, made on first use with the key that a fetch brings."""
        if self.puller is None:
            route = pickle.loads(seal(self.sealed, key))
            if route is None:
                # The client relays values to this worker's own scheduler.
                address = worker.scheduler.address
                arguments = worker.security.get_connection_args("worker")
            else:
                address, security = route
                arguments = security.get_connection_args("client")
            self.puller = Puller(address, arguments, self.patience_seconds)
        return self.puller

    async def teardown(self, worker: Any) -> None:
        """Close the connections when the plugin or the worker goes."""
        if self.puller is not None:
            await self.puller.close()


async def fetch(  # noqa: PLR0917 - the arguments of a task
    link: str, share: bytes, wanted: Key, own: Key, facts: Mapping[str, Any], retries: int
) -> Any:
    """Run as a task: wait for a value of another cluster, without holding a slot.

    Parameters
    ----------
    link : str
        Name of the plugin that knows the other cluster.
    share : bytes
        Opens what the plugin holds.
    wanted : key
        The value's key on the other cluster.
    own : key
        This task's own key.
    facts : mapping
        What to tell the client, besides the bytes moved.
    retries : int
        How often to try again when a scheduler that has answered before no longer does.
    """
    worker = get_worker()
    worker.handle_stimulus(
        SecedeEvent(key=own, compute_duration=0.0, stimulus_id=f"locality-fetch-{time.time()}")
    )
    plugin: Any = worker.plugins[link]
    puller: Puller = plugin.open(share, worker)
    for tried in range(retries + 1):
        started = time.monotonic()
        try:
            while not await puller.ready(wanted, seconds=_STILL_WANTED_SECONDS):
                # A worker cannot interrupt a coroutine: it only forgets the task.
                task = worker.state.tasks.get(own)
                if task is None or task.state == "cancelled":
                    puller.forget(wanted)
                    return None
            waited = time.monotonic()
            values, moved = await puller.pull([wanted])
            break
        except ConnectionError:
            if tried == retries or not puller.met:
                raise
    worker.log_event(
        TOPIC,
        {
            **facts,
            "nbytes": moved[wanted],
            "waited_seconds": waited - started,
            "moved_seconds": time.monotonic() - waited,
        },
    )
    return values[wanted]
