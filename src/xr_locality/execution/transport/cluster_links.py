"""Links between clusters: how workers of one region reach the values of another."""

from __future__ import annotations

import asyncio
import logging
import pickle
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from distributed.security import Security

from xr_locality.endpoints.connection import Connection, ConnectionState
from xr_locality.execution import remote
from xr_locality.execution.ship import Shipped, ShippedPlugin
from xr_locality.execution.worker_messages import WorkerMessage, parse_message
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["ClusterLinks", "OpenLink", "can_dial", "route_to"]

logger = logging.getLogger(__name__)

#: Receives the messages of workers about one run.
Listener: TypeAlias = Callable[[WorkerMessage], None]

#: Bytes of relayed values that this process holds, and at most one reply more for each
#: in transfer.
RELAY_WINDOW = 64 * 2**20

#: Bytes of the key that conceals a route, and of the salt that makes each key
#: stream another.
_KEY_NBYTES, _SALT_NBYTES = 32, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLink:
    """Link that the workers of a cluster have opened.

    Attributes
    ----------
    name : str
        The plugin's name.
    share : bytes
        The key that reveals the route in the plugin; travels with the fetch tasks.
    relayed : bool
        Whether values come by way of the client.
    """

    name: str
    share: bytes = field(repr=False)
    relayed: bool


def route_to(source: Connection) -> tuple[str, Security]:
    """Get the address and security with which a worker reaches a cluster's scheduler."""
    return source.scheduler_address, source.security


def can_dial(source: Connection) -> bool:
    """Whether workers of other clusters may reach a cluster: never one within this process."""
    return not source.scheduler_address.startswith("inproc://")


@dataclass(slots=True, eq=False, kw_only=True)
class _Link:
    """Link of the workers of one cluster to the scheduler of another."""

    consumer: Connection
    #: None where the client relays values to the consumer's own scheduler.
    source: Connection | None
    opening: asyncio.Task[OpenLink] | None = None
    #: Registers the plugin once at a time: the last one counts.
    registering: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def opened(self) -> OpenLink | None:
        """The opened link, for fetch tasks; None until it is open."""
        task = self.opening
        return None if task is None or not task.done() or _has_failed(task) else task.result()


@dataclass(slots=True)
class ClusterLinks:
    """Links that a session has opened, each once for a pair of clusters.

    Parameters
    ----------
    patience_seconds : float
        Seconds for which a producer's scheduler may be unreachable.
    """

    patience_seconds: float = field(default_factory=lambda: timeouts().producer_return)
    #: Why the client relays the values of a pair of regions, source first: workers of the
    #: second did not reach the scheduler of the first.
    unreachable: dict[tuple[Region, Region], str] = field(default_factory=dict)
    #: By id of the connection; the connection is kept too, so that no id is used twice.
    _links: list[_Link] = field(default_factory=list)
    #: How often the partition of a run was sent to a cluster again, by connection and run.
    _attempts: dict[int, dict[str, int]] = field(default_factory=dict)
    _value_servers: dict[int, tuple[Connection, asyncio.Task[None]]] = field(default_factory=dict)
    _result_clients: dict[int, tuple[Connection, remote.ResultClient]] = field(default_factory=dict)
    _value_clients: dict[int, tuple[Connection, remote.ValueClient]] = field(default_factory=dict)
    _listeners: dict[int, tuple[Connection, dict[str, Listener]]] = field(default_factory=dict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(
        self, consumer: Connection, source: Connection | None, *, anew: bool = False
    ) -> OpenLink:
        """Open a link to `source` for the workers of `consumer`, later ones included.

        Parameters
        ----------
        consumer : Connection
            The cluster that fetches.
        source : Connection or None
            The cluster that has the values; None where the client relays them
            to the consumer's own scheduler.
        anew : bool, optional
            Whether the consumer may have lost a link that was opened before.
        """
        link = next(
            (each for each in self._links if each.consumer is consumer and each.source is source),
            None,
        )
        if link is None:
            link = _Link(consumer=consumer, source=source)
            self._links.append(link)
        if link.opening is None or _has_failed(link.opening):
            link.opening = asyncio.create_task(self._open(link))
        elif anew:
            await asyncio.shield(link.opening)
            await self._register(link)
        # Concurrent runs share it: a run that is cancelled leaves it to the others.
        return await asyncio.shield(link.opening)

    async def redirect(
        self, source: Connection, *, instead_of: Connection, run: str, attempt: int
    ) -> None:
        """Redirect fetch tasks to the cluster opened in place of another, or to a new attempt.

        Parameters
        ----------
        source : Connection
            The cluster that computes a run's values now.
        instead_of : Connection
            The one that computed them before; the same where it was found again.
        run : str
            The run.
        attempt : int
            How often its partition was sent there again.
        """
        self._attempts.setdefault(id(source), {})[run] = attempt
        registering = []
        for link in self._links:
            if link.source in (source, instead_of) and link.opened is not None:
                link.source = source
                registering.append(self._register(link))
        for answer in await asyncio.gather(*registering, return_exceptions=True):
            if isinstance(answer, Exception):
                # A consumer that is gone gets it when it is opened again.
                logger.info("A link of a cluster could not be replaced: %r", answer)

    def forget(self, run: str) -> None:
        """Forget a run that has ended, and clusters that are gone."""
        for identity, attempts in list(self._attempts.items()):
            attempts.pop(run, None)
            if not attempts:
                del self._attempts[identity]
        self._links = [
            link
            for link in self._links
            if not _is_gone(link.consumer) and not (link.source and _is_gone(link.source))
        ]
        for each in (self._value_servers, self._listeners):
            for identity in [name for name, (held, *_) in each.items() if _is_gone(held)]:
                del each[identity]
        for clients in (self._result_clients, self._value_clients):
            for identity in [name for name, (held, _) in clients.items() if _is_gone(held)]:
                _, client = clients.pop(identity)
                closing = asyncio.create_task(client.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def _open(self, link: _Link) -> OpenLink:
        opened = OpenLink(
            name=f"xr-locality-{secrets.token_hex(8)}",
            share=secrets.token_bytes(_KEY_NBYTES),
            relayed=link.source is None,
        )
        await self._register(link, opened)
        return opened

    async def _register(self, link: _Link, opened: OpenLink | None = None) -> None:
        """Register the plugin on a consumer's workers, in place of one of the same name."""
        opened = opened or link.opened
        assert opened is not None
        async with link.registering, asyncio.timeout(timeouts().plugin_request):
            source = link.source
            route = None if source is None else route_to(source)
            salt = secrets.token_bytes(_SALT_NBYTES)
            plugin = remote.LinkPlugin(
                opened.name,
                remote.conceal(pickle.dumps(route), opened.share + salt),
                salt,
                self.patience_seconds,
                dict(self._attempts.get(id(source), {})),
            )
            await link.consumer.client.register_plugin(ShippedPlugin(plugin))

    async def serve(self, source: Connection, *, anew: bool = False) -> None:
        """Start the value server of a cluster's scheduler.

        Parameters
        ----------
        source : Connection
            The cluster.
        anew : bool, optional
            Whether the scheduler may have lost it.
        """
        if (
            anew
            or id(source) not in self._value_servers
            or _has_failed(self._value_servers[id(source)][1])
        ):
            opening = asyncio.create_task(_open_value_server(source))
            self._value_servers[id(source)] = (source, opening)
        await asyncio.shield(self._value_servers[id(source)][1])

    def result_client(self, source: Connection) -> remote.ResultClient:
        """Get this process's client for a cluster's results, kept from run to run."""
        if id(source) not in self._result_clients:
            self._result_clients[id(source)] = (
                source,
                remote.ResultClient(self._rpc_client(source)),
            )
        return self._result_clients[id(source)][1]

    def value_client(self, source: Connection) -> remote.ValueClient:
        """Get this process's client for a cluster's boundary values, for relays."""
        if id(source) not in self._value_clients:
            value_client = remote.ValueClient(self._rpc_client(source), window=RELAY_WINDOW)
            self._value_clients[id(source)] = (source, value_client)
        return self._value_clients[id(source)][1]

    def _rpc_client(self, source: Connection) -> remote.RpcClient:
        return remote.RpcClient(
            source.scheduler_address, source.connection_args, self.patience_seconds
        )

    def listen(self, connection: Connection, run: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the messages of workers about a run.

        A client has one handler for a topic, so concurrent runs share it.

        Returns
        -------
        callable
            Ends the subscription.
        """
        if id(connection) not in self._listeners:
            listeners: dict[str, Listener] = {}
            self._listeners[id(connection)] = connection, listeners

            def dispatch(stamped: tuple[float, Mapping[str, Any]]) -> None:
                _, message = stamped
                if (receive := listeners.get(message.get("run", ""))) is not None:
                    receive(parse_message(message))

            connection.client.subscribe_topic(remote.TOPIC, dispatch)
        _, by_run = self._listeners[id(connection)]
        by_run[run] = listener

        def end() -> None:
            by_run.pop(run, None)

        return end

    async def close(self) -> None:
        """Close this process's clients, and remove the links from clusters that live on."""
        for clients in (self._result_clients, self._value_clients):
            for _, client in clients.values():
                await client.close()
            clients.clear()
        await asyncio.gather(*self._closing, return_exceptions=True)
        opened, self._links = self._links, []
        for link in opened:
            if link.opening is not None:
                await asyncio.wait({link.opening})
            consumer = link.consumer
            if consumer.endpoint.adopted and consumer.alive and link.opened is not None:
                await _leave(consumer.client.unregister_worker_plugin(link.opened.name))
        outboxes, self._value_servers = self._value_servers, {}
        for source, serving in outboxes.values():
            await asyncio.wait({serving})
            if source.endpoint.adopted and source.alive and not _has_failed(serving):
                forgotten = Shipped(remote.close_value_server)
                await _leave(source.run_on_scheduler(forgotten, source.client.id))


async def _open_value_server(source: Connection) -> None:
    streamer = pickle.dumps(ShippedPlugin(remote.ValueStreamer(remote.STREAMER)))
    async with asyncio.timeout(timeouts().plugin_request):
        await source.run_on_scheduler(
            Shipped(remote.open_value_server), source.client.id, remote.WINDOW, streamer
        )


async def _leave(removal: Awaitable[Any]) -> None:
    """Remove a plugin from a cluster, if it still lives."""
    try:
        async with asyncio.timeout(timeouts().client_close):
            await removal
    except (OSError, TimeoutError, ValueError) as error:
        logger.info("Something of ours may be left on a cluster: %r", error)


def _is_gone(connection: Connection) -> bool:
    return connection.state in (ConnectionState.CLOSING, ConnectionState.CLOSED)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
