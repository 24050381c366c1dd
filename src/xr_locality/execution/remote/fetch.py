"""Fetch task of a boundary value, and the worker plugin that knows the other cluster."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Mapping
from typing import Any

from dask.typing import Key
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.worker import get_worker

from xr_locality.execution.remote.compat import is_held, secede_coroutine
from xr_locality.execution.remote.conceal import conceal
from xr_locality.execution.remote.packing import unpack
from xr_locality.execution.remote.partition_keys import rename
from xr_locality.execution.remote.rpc_client import LinkError, RpcClient
from xr_locality.execution.remote.staged_values import is_receipt
from xr_locality.execution.remote.value_client import ValueClient

__all__ = ["TOPIC", "LinkPlugin", "fetch"]

#: Log topic on which workers report the bytes that they have moved.
TOPIC = "xr-locality"

#: Seconds before a fetch retries a link that gave no answer.
_AGAIN_SECONDS = 0.2


class LinkPlugin(WorkerPlugin):
    """Link of the workers of one cluster to the scheduler of another.

    Parameters
    ----------
    name : str
        Name of the plugin; it cannot be guessed.
    concealed : bytes
        The pickle of the scheduler's address and security, concealed; of None where the
        client relays values to the scheduler of this cluster.
    salt : bytes
        Makes the key stream unlike others under the same key.
    patience_seconds : float
        Seconds for which the scheduler may be unreachable.
    attempts : mapping of str to int
        How often the partition of a run was sent to the scheduler again, by run; 0 is left
        out.
    """

    def __init__(
        self,
        name: str,
        concealed: bytes,
        salt: bytes,
        patience_seconds: float,
        attempts: Mapping[str, int],
    ) -> None:
        self.name = name
        self.concealed = concealed
        self.salt = salt
        self.patience_seconds = patience_seconds
        self.attempts = attempts
        self.value_client: ValueClient | None = None
        self.relayed_client: ValueClient | None = None

    def open(self, key: bytes, worker: Any) -> ValueClient:
        """Get the client of the other cluster, made on first use with the key of a fetch."""
        if self.value_client is None:
            route = pickle.loads(conceal(self.concealed, key + self.salt))
            if route is None:
                return self.open_relayed(worker)
            address, security = route
            arguments = security.get_connection_args("client")
            self.value_client = ValueClient(RpcClient(address, arguments, self.patience_seconds))
        return self.value_client

    def open_relayed(self, worker: Any) -> ValueClient:
        """Get the client of this cluster's own scheduler, for values that were relayed to it."""
        if self.relayed_client is None:
            arguments = worker.security.get_connection_args("worker")
            self.relayed_client = ValueClient(
                RpcClient(worker.scheduler.address, arguments, self.patience_seconds)
            )
        return self.relayed_client

    def name_of(self, wanted: Key, run: str) -> Key:
        """Return the present key of a run's value on the scheduler that has it."""
        attempt = self.attempts.get(run, 0)
        return rename(wanted, str(attempt)) if attempt else wanted

    async def teardown(self, worker: Any) -> None:
        """Close the connections when the plugin is removed or the worker ends."""
        for value_client in (self.value_client, self.relayed_client):
            if value_client is not None:
                await value_client.close()


async def fetch(  # noqa: PLR0917 - the arguments of a task
    link: str,
    share: bytes,
    wanted: Key,
    relayed_key: Key | None,
    own: Key,
    facts: Mapping[str, Any],
    store: tuple[str, bytes] | None = None,
) -> Any:
    """Run as a task: wait for a value of another cluster, without holding a thread.

    The task retries a link without an answer for as long as the value is wanted, and
    reports it to the client, which decides. Where the other cluster has been opened
    again, the client replaces the plugin by one that leads to the new cluster.

    Parameters
    ----------
    link : str
        Name of the plugin that knows the other cluster.
    share : bytes
        Reveals the address in the plugin.
    wanted : key
        The value's key on the scheduler that the link leads to.
    relayed_key : key or None
        Its key on the scheduler of this cluster once the client has relayed it: the task
        asks there where the other scheduler is unreachable; None to fail then.
    own : key
        This task's own key.
    facts : mapping
        Facts of the message to the client, besides the bytes moved.
    store : (str, bytes), optional
        The plugin that knows the store where large values are staged, and its key.
    """
    worker = get_worker()
    secede_coroutine(worker, own)

    def is_wanted() -> bool:
        return is_held(worker, own)

    # Any: a class sent by value is no class of this module where it runs.
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
                value_client, key = plugin.open_relayed(worker), relayed_key
            else:
                value_client, key = plugin.open(share, worker), plugin.name_of(wanted, facts["run"])
            received = await value_client.get(key, is_wanted)
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
                relayed = relayed or (relayed_key is not None and not met)
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
