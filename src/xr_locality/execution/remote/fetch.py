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

from xr_locality.execution.remote.dialer import Dialer
from xr_locality.execution.remote.inbox import Inbox
from xr_locality.execution.remote.packing import unpack
from xr_locality.execution.remote.sealing import seal
from xr_locality.execution.remote.staging import is_receipt

__all__ = ["TOPIC", "Link", "fetch"]

#: Log topic on which workers tell what they have moved.
TOPIC = "xr-locality"


class Link(WorkerPlugin):
    """Lets the workers of one cluster take values from another's scheduler.

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
        self.inbox: Inbox | None = None
        self.mailbox: Inbox | None = None

    def open(self, key: bytes, worker: Any) -> Inbox:
        """Get the way to the other cluster, made on first use with the key of a fetch."""
        if self.inbox is None:
            route = pickle.loads(seal(self.sealed, key))
            if route is None:
                return self.open_mailbox(worker)
            address, security = route
            arguments = security.get_connection_args("client")
            self.inbox = Inbox(Dialer(address, arguments, self.patience_seconds))
        return self.inbox

    def open_mailbox(self, worker: Any) -> Inbox:
        """Get the way to what the client has relayed, to the worker's own scheduler."""
        if self.mailbox is None:
            arguments = worker.security.get_connection_args("worker")
            self.mailbox = Inbox(Dialer(worker.scheduler.address, arguments, self.patience_seconds))
        return self.mailbox

    async def teardown(self, worker: Any) -> None:
        """Close the connections when the plugin or the worker goes."""
        for inbox in (self.inbox, self.mailbox):
            if inbox is not None:
                await inbox.close()


async def fetch(  # noqa: PLR0917 - the arguments of a task
    link: str,
    share: bytes,
    wanted: Key,
    mailed: Key | None,
    own: Key,
    facts: Mapping[str, Any],
    retries: int,
    store: tuple[str, bytes] | None = None,
) -> Any:
    """Run as a task: wait for a value of another cluster, without holding a slot.

    Parameters
    ----------
    link : str
        Name of the plugin that knows the other cluster.
    share : bytes
        Opens what the plugin holds.
    wanted : key
        The value's key on the scheduler that the link leads to.
    mailed : key or None
        Its key on this cluster's own scheduler once the client has relayed it: for
        that it is asked where the other scheduler is out of reach; None to fail then.
    own : key
        This task's own key.
    facts : mapping
        What to tell the client, besides the bytes moved.
    retries : int
        How often to try again when a scheduler that has answered before no longer does.
    store : (str, bytes), optional
        The plugin that knows the store where large values are staged, and the key that
        opens it.
    """
    worker = get_worker()
    worker.handle_stimulus(
        SecedeEvent(key=own, compute_duration=0.0, stimulus_id=f"locality-fetch-{time.time()}")
    )

    def is_wanted() -> bool:
        # A worker cannot interrupt a coroutine: it only forgets the task.
        task = worker.state.tasks.get(own)
        return task is not None and task.state != "cancelled"

    plugin: Any = worker.plugins[link]
    inbox: Inbox = plugin.open(share, worker)
    relayed = facts["relayed"]
    left = retries
    while True:
        try:
            received = await inbox.get(wanted, is_wanted)
            break
        except ConnectionError as error:
            if not getattr(error, "xr_locality_link", False):
                # The value itself raised it, when it was unpickled.
                raise
            if isinstance(error, ConnectionRefusedError) and mailed is not None and not relayed:
                ask = {**facts, "key": own, "unreachable": str(error)}
                worker.log_event(TOPIC, ask)
                inbox, wanted, relayed = plugin.open_mailbox(worker), mailed, True
            elif left and inbox.dialer.met:
                left -= 1
            else:
                raise
    if received is None:
        return None
    value, nbytes, moved_seconds = received.value, received.nbytes, received.moved_seconds
    if store is not None and is_receipt(value):
        started = time.monotonic()
        name, opens = store
        reader: Any = worker.plugins[name]
        value, nbytes = await reader.read(value, facts["target"], opens)
        moved_seconds += time.monotonic() - started
        relayed = False
    worker.log_event(
        TOPIC,
        {
            **facts,
            "relayed": relayed,
            "nbytes": nbytes,
            "waited_seconds": received.waited_seconds,
            "moved_seconds": moved_seconds,
        },
    )
    return unpack(value)
