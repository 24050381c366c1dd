"""Links between clusters: how workers of one region reach the values of another."""

from __future__ import annotations

import asyncio
import pickle
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from distributed.diagnostics.plugin import WorkerPlugin
from distributed.security import Security

from xr_locality.endpoints.base import Connection
from xr_locality.execution import remote
from xr_locality.execution.ship import Shipped, ship
from xr_locality.regions.model import Region

__all__ = ["Links", "Opened", "can_dial"]

#: Takes what a worker says.
Tell: TypeAlias = Callable[[Mapping[str, Any]], None]

#: Seconds that a producer's scheduler may be out of reach of those who fetch from it.
PATIENCE_SECONDS = 20.0

#: Bytes that this process holds of what it carries from one region to another, one
#: reply more at most for each that is on its way.
RELAY_WINDOW = 64 * 2**20

#: Bytes of the key under which a route travels.
_KEY_NBYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A link that the workers of a cluster have.

    Attributes
    ----------
    name : str
        The plugin's name.
    share : bytes
        The key that opens what the plugin holds; travels with the fetches.
    relayed : bool
        Whether values come by way of the client.
    """

    name: str
    share: bytes = field(repr=False)
    relayed: bool


class _LinkPlugin(WorkerPlugin):
    """Becomes a :class:`remote.Link` where it is unpickled."""

    def __init__(self, name: str, pickled: bytes) -> None:
        self.name = name
        self._pickled = pickled

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)


def way_to(source: Connection) -> tuple[str, Security]:
    """Get what a worker needs to reach a cluster's scheduler."""
    return source.scheduler_address, source.security


def can_dial(source: Connection) -> bool:
    """Whether workers elsewhere may reach a cluster: an in-process one, nobody can."""
    return not source.scheduler_address.startswith("inproc://")


@dataclass(slots=True)
class Links:
    """The links that a session has opened, each once for a pair of clusters.

    Parameters
    ----------
    patience_seconds : float
        How long a producer's scheduler may be out of reach.
    """

    patience_seconds: float = PATIENCE_SECONDS
    #: Why the client carries the values of a pair of regions, source first: workers of
    #: the second were found not to reach the first's scheduler.
    unreachable: dict[tuple[Region, Region], str] = field(default_factory=dict)
    #: Connections are kept beside the links, so that no identity is given twice.
    _opened: dict[tuple[int, int], tuple[Connection, Connection | None, asyncio.Task[Opened]]] = (
        field(default_factory=dict)
    )
    _outboxes: dict[int, tuple[Connection, asyncio.Task[None]]] = field(default_factory=dict)
    _pullers: dict[int, tuple[Connection, remote.Puller]] = field(default_factory=dict)
    _inboxes: dict[int, tuple[Connection, remote.Inbox]] = field(default_factory=dict)
    _tellers: dict[int, tuple[Connection, dict[str, Tell]]] = field(default_factory=dict)

    async def open(self, consumer: Connection, source: Connection | None) -> Opened:
        """Give the workers of `consumer`, and those that join later, a way to `source`.

        Parameters
        ----------
        consumer : Connection
            The cluster that fetches.
        source : Connection or None
            The cluster that has the values; None where the client relays them
            to the consumer's own scheduler.
        """
        pair = (id(consumer), id(source))
        if pair not in self._opened or _has_failed(self._opened[pair][2]):
            opening = asyncio.create_task(self._open(consumer, source))
            self._opened[pair] = (consumer, source, opening)
        # Runs at the same time share it: one that is cancelled leaves it to the others.
        return await asyncio.shield(self._opened[pair][2])

    async def _open(self, consumer: Connection, source: Connection | None) -> Opened:
        route = None if source is None else way_to(source)
        share = secrets.token_bytes(_KEY_NBYTES)
        sealed = remote.seal(pickle.dumps(route), share)
        name = f"xr-locality-{secrets.token_hex(8)}"
        link = remote.Link(name, sealed, self.patience_seconds)
        await consumer.client.register_plugin(_LinkPlugin(name, ship(link)))
        return Opened(name=name, share=share, relayed=source is None)

    async def serve(self, source: Connection) -> None:
        """Let a cluster's scheduler give its values to those who reach it."""
        if id(source) not in self._outboxes or _has_failed(self._outboxes[id(source)][1]):
            opening = asyncio.create_task(_open_outbox(source))
            self._outboxes[id(source)] = (source, opening)
        await asyncio.shield(self._outboxes[id(source)][1])

    def puller(self, source: Connection) -> remote.Puller:
        """Get this process's own way to a cluster's results, kept from run to run."""
        if id(source) not in self._pullers:
            self._pullers[id(source)] = (source, remote.Puller(self._dialer(source)))
        return self._pullers[id(source)][1]

    def inbox(self, source: Connection) -> remote.Inbox:
        """Get this process's own way to a cluster's boundary values, for relays."""
        if id(source) not in self._inboxes:
            inbox = remote.Inbox(self._dialer(source), window=RELAY_WINDOW)
            self._inboxes[id(source)] = (source, inbox)
        return self._inboxes[id(source)][1]

    def _dialer(self, source: Connection) -> remote.Dialer:
        return remote.Dialer(
            source.scheduler_address, source.connection_args, self.patience_seconds
        )

    def listen(self, connection: Connection, run: str, tell: Tell) -> Callable[[], None]:
        """Call `tell` with what workers say they have moved for a run.

        A client has one handler for a topic, so runs at the same time share it.

        Returns
        -------
        callable
            Ends the listening.
        """
        tellers = self._tellers.get(id(connection))
        if tellers is None:
            listening: dict[str, Tell] = {}
            tellers = self._tellers[id(connection)] = connection, listening

            def dispatch(stamped: tuple[float, Mapping[str, Any]]) -> None:
                _, told = stamped
                if (listener := listening.get(told.get("run", ""))) is not None:
                    listener(told)

            connection.client.subscribe_topic(remote.TOPIC, dispatch)
        tellers[1][run] = tell

        def end() -> None:
            del tellers[1][run]

        return end

    async def close(self) -> None:
        """Close this process's ways, and take the links back from clusters that live on."""
        for ways in (self._pullers, self._inboxes):
            for _, way in ways.values():
                await way.close()
            ways.clear()
        opened, self._opened = self._opened, {}
        for consumer, _, opening in opened.values():
            await asyncio.wait({opening})
            if consumer.endpoint.adopted and consumer.alive and not _has_failed(opening):
                await consumer.client.unregister_worker_plugin(opening.result().name)
        outboxes, self._outboxes = self._outboxes, {}
        for source, serving in outboxes.values():
            await asyncio.wait({serving})
            if source.endpoint.adopted and source.alive and not _has_failed(serving):
                client = source.client
                await client.run_on_scheduler(Shipped(remote.close_outbox), client.id)


async def _open_outbox(source: Connection) -> None:
    client = source.client
    await client.run_on_scheduler(Shipped(remote.open_outbox), client.id, remote.WINDOW)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
