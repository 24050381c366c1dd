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
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["Links", "Opened", "can_dial"]

logger = logging.getLogger(__name__)

#: Takes what a worker says.
Tell: TypeAlias = Callable[[Mapping[str, Any]], None]

#: Seconds that a producer's scheduler may be out of reach before those who fetch from it
#: say so; they then try again, ``retries`` times.
PATIENCE_SECONDS = 10.0

#: Seconds that a scheduler may take to do something about its plugins. One that is
#: taking in a graph of a million tasks does not answer for some 20.
_CALL_SECONDS = 60.0

#: Bytes that this process holds of what it carries from one region to another, one
#: reply more at most for each that is on its way.
RELAY_WINDOW = 64 * 2**20

#: Bytes of the key under which a route travels, and of what makes each conceal under it
#: another.
_KEY_NBYTES, _SALT_NBYTES = 32, 16


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


def way_to(source: Connection) -> tuple[str, Security]:
    """Get what a worker needs to reach a cluster's scheduler."""
    return source.scheduler_address, source.security


def can_dial(source: Connection) -> bool:
    """Whether workers elsewhere may reach a cluster: an in-process one, nobody can."""
    return not source.scheduler_address.startswith("inproc://")


@dataclass(slots=True, eq=False, kw_only=True)
class _Way:
    """How the workers of one cluster reach another's scheduler."""

    consumer: Connection
    #: None where the client relays values to the consumer's own scheduler.
    source: Connection | None
    opening: asyncio.Task[Opened] | None = None
    #: What is told the consumer's scheduler last, counts.
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def opened(self) -> Opened | None:
        """What those who fetch need to know; None until it is open."""
        task = self.opening
        return None if task is None or not task.done() or _has_failed(task) else task.result()


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
    _ways: list[_Way] = field(default_factory=list)
    #: How often runs have sent a cluster their partition anew, by connection and run.
    _attempts: dict[int, dict[str, int]] = field(default_factory=dict)
    _value_servers: dict[int, tuple[Connection, asyncio.Task[None]]] = field(default_factory=dict)
    _result_clients: dict[int, tuple[Connection, remote.ResultClient]] = field(default_factory=dict)
    _value_clients: dict[int, tuple[Connection, remote.ValueClient]] = field(default_factory=dict)
    _tellers: dict[int, tuple[Connection, dict[str, Tell]]] = field(default_factory=dict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(
        self, consumer: Connection, source: Connection | None, *, anew: bool = False
    ) -> Opened:
        """Give the workers of `consumer`, and those that join later, a way to `source`.

        Parameters
        ----------
        consumer : Connection
            The cluster that fetches.
        source : Connection or None
            The cluster that has the values; None where the client relays them
            to the consumer's own scheduler.
        anew : bool, optional
            Whether the consumer may have forgotten a way that was opened before.
        """
        way = next(
            (each for each in self._ways if each.consumer is consumer and each.source is source),
            None,
        )
        if way is None:
            way = _Way(consumer=consumer, source=source)
            self._ways.append(way)
        if way.opening is None or _has_failed(way.opening):
            way.opening = asyncio.create_task(self._open(way))
        elif anew:
            await asyncio.shield(way.opening)
            await self._tell(way)
        # Runs at the same time share it: one that is cancelled leaves it to the others.
        return await asyncio.shield(way.opening)

    async def lead(
        self, source: Connection, *, instead_of: Connection, run: str, attempt: int
    ) -> None:
        """Lead those who fetch from a cluster to the one opened instead, or to what is new there.

        Parameters
        ----------
        source : Connection
            The cluster that makes a run's values now.
        instead_of : Connection
            The one that made them before; the same where it was found again.
        run : str
            The run.
        attempt : int
            How often its partition was sent there anew.
        """
        self._attempts.setdefault(id(source), {})[run] = attempt
        told = []
        for way in self._ways:
            if way.source in (source, instead_of) and way.opened is not None:
                way.source = source
                told.append(self._tell(way))
        for answer in await asyncio.gather(*told, return_exceptions=True):
            if isinstance(answer, Exception):
                # A consumer that is gone is told when it is opened again.
                logger.info("A cluster could not be told of a new way: %r", answer)

    def forget(self, run: str) -> None:
        """Forget what a run needed that has ended, and the clusters that are gone."""
        for identity, attempts in list(self._attempts.items()):
            attempts.pop(run, None)
            if not attempts:
                del self._attempts[identity]
        self._ways = [
            way
            for way in self._ways
            if not _is_gone(way.consumer) and not (way.source and _is_gone(way.source))
        ]
        for each in (self._value_servers, self._tellers):
            for identity in [name for name, (held, *_) in each.items() if _is_gone(held)]:
                del each[identity]
        for ways in (self._result_clients, self._value_clients):
            for identity in [name for name, (held, _) in ways.items() if _is_gone(held)]:
                _, pulling = ways.pop(identity)
                closing = asyncio.create_task(pulling.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def _open(self, way: _Way) -> Opened:
        opened = Opened(
            name=f"xr-locality-{secrets.token_hex(8)}",
            share=secrets.token_bytes(_KEY_NBYTES),
            relayed=way.source is None,
        )
        await self._tell(way, opened)
        return opened

    async def _tell(self, way: _Way, opened: Opened | None = None) -> None:
        """Give a consumer's workers the way, or another under the same name."""
        opened = opened or way.opened
        assert opened is not None
        async with way.telling, asyncio.timeout(_CALL_SECONDS):
            source = way.source
            route = None if source is None else way_to(source)
            salt = secrets.token_bytes(_SALT_NBYTES)
            link = remote.LinkPlugin(
                opened.name,
                remote.conceal(pickle.dumps(route), opened.share + salt),
                salt,
                self.patience_seconds,
                dict(self._attempts.get(id(source), {})),
            )
            await way.consumer.client.register_plugin(ShippedPlugin(link))

    async def serve(self, source: Connection, *, anew: bool = False) -> None:
        """Let a cluster's scheduler give its values to those who reach it.

        Parameters
        ----------
        source : Connection
            The cluster.
        anew : bool, optional
            Whether it may have forgotten that it does.
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
        """Get this process's own way to a cluster's results, kept from run to run."""
        if id(source) not in self._result_clients:
            self._result_clients[id(source)] = (
                source,
                remote.ResultClient(self._rpc_client(source)),
            )
        return self._result_clients[id(source)][1]

    def value_client(self, source: Connection) -> remote.ValueClient:
        """Get this process's own way to a cluster's boundary values, for relays."""
        if id(source) not in self._value_clients:
            value_client = remote.ValueClient(self._rpc_client(source), window=RELAY_WINDOW)
            self._value_clients[id(source)] = (source, value_client)
        return self._value_clients[id(source)][1]

    def _rpc_client(self, source: Connection) -> remote.RpcClient:
        return remote.RpcClient(
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
            tellers[1].pop(run, None)

        return end

    async def close(self) -> None:
        """Close this process's ways, and take the links back from clusters that live on."""
        for ways in (self._result_clients, self._value_clients):
            for _, way in ways.values():
                await way.close()
            ways.clear()
        await asyncio.gather(*self._closing, return_exceptions=True)
        opened, self._ways = self._ways, []
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
    async with asyncio.timeout(_CALL_SECONDS):
        await source.run_on_scheduler(
            Shipped(remote.open_value_server), source.client.id, remote.WINDOW, streamer
        )


async def _leave(farewell: Awaitable[Any]) -> None:
    """Take leave of a cluster that lives on, if it still does."""
    try:
        async with asyncio.timeout(timeouts().client_close):
            await farewell
    except (OSError, TimeoutError, ValueError) as error:
        logger.info("Something of ours may be left on a cluster: %r", error)


def _is_gone(connection: Connection) -> bool:
    return connection.state in (ConnectionState.CLOSING, ConnectionState.CLOSED)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
