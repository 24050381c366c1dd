"""Tasks that fetch boundary values, and the plugin by which workers reach them."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Mapping
from typing import Any

from dask.typing import Key
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.worker import get_worker
from distributed.worker_state_machine import SecedeEvent

from xr_locality.execution.remote.conceal import seal
from xr_locality.execution.remote.packing import unpack
from xr_locality.execution.remote.partition_keys import rename
from xr_locality.execution.remote.rpc_client import Dialer, LinkError
from xr_locality.execution.remote.staged_values import is_receipt
from xr_locality.execution.remote.value_client import Inbox

__all__ = ["TOPIC", "Link", "fetch"]

#: Log topic on which workers tell what they have moved.
TOPIC = "xr-locality"

#: Seconds before a link is tried again that has given no answer with patience.
_AGAIN_SECONDS = 0.2


class Link(WorkerPlugin):
    """Lets the workers of one cluster take values from another's scheduler.

    Parameters
    ----------
    name : str
        The plugin's name; unguessable.
    sealed : bytes
        The sealed pickle of the scheduler's address and security; of None where the
        client relays values to the worker's own scheduler.
    salt : bytes
        Makes this seal unlike others under the same key.
    patience_seconds : float
        How long the scheduler may be out of reach.
    attempts : mapping of str to int
        How often the scheduler was sent a run's partition anew, by run; 0 is left out.
    """

    def __init__(
        self,
        name: str,
        sealed: bytes,
        salt: bytes,
        patience_seconds: float,
        attempts: Mapping[str, int],
    ) -> None:
        self.name = name
        self.sealed = sealed
        self.salt = salt
        self.patience_seconds = patience_seconds
        self.attempts = attempts
        self.inbox: Inbox | None = None
        self.mailbox: Inbox | None = None

    def open(self, key: bytes, worker: Any) -> Inbox:
        """Get the way to the other cluster, made on first use with the key of a fetch."""
        if self.inbox is None:
            route = pickle.loads(seal(self.sealed, key + self.salt))
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

    def name_of(self, wanted: Key, run: str) -> Key:
        """Name a run's value as the scheduler that has it knows it now."""
        attempt = self.attempts.get(run, 0)
        return rename(wanted, str(attempt)) if attempt else wanted

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
    store: tuple[str, bytes] | None = None,
) -> Any:
    """Run as a task: wait for a value of another cluster, without holding a slot.

    A link without an answer is tried again for as long as the value is wanted; the
    client is told of it, and decides. Where the other cluster has been opened again,
    the plugin is replaced by one that leads there.

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

    # Any: what was sent by value is no class of this module where it runs.
    plugin: Any = object()
    relayed = facts["relayed"]
    tried = 0
    while True:
        way: Any = worker.plugins.get(link)
        if way is not plugin:
            plugin, tried = way, 0
        try:
            if plugin is None:
                raise LinkError("the link is being replaced", met=True)
            if relayed and not facts["relayed"]:
                inbox, key = plugin.open_mailbox(worker), mailed
            else:
                inbox, key = plugin.open(share, worker), plugin.name_of(wanted, facts["run"])
            received = await inbox.get(key, is_wanted)
            break
        except ConnectionError as error:
            if not getattr(error, "xr_locality_link", False):
                # The value itself raised it, when it was unpickled.
                raise
            if not is_wanted():
                return None
            now: Any = worker.plugins.get(link)
            if now is not None and now is plugin:
                tried += 1
                met = not isinstance(error, ConnectionRefusedError)
                attempt = plugin.attempts.get(facts["run"], 0)
                trouble = {"unreachable": str(error), "met": met, "tried": tried}
                worker.log_event(TOPIC, {**facts, "key": own, "attempt": attempt, **trouble})
                relayed = relayed or (mailed is not None and not met)
            await asyncio.sleep(_AGAIN_SECONDS)
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
