"""Connection to an open endpoint: its client, its state, and its resources.

A :class:`Connection` owns what it opened and nothing else. It is asynchronous and
belongs to one event loop, the session's.

Importing this module does not import distributed.
"""

from __future__ import annotations

import asyncio
import enum
import time
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self

from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.lease import Lease, take_lease
from xr_locality.endpoints.open_options import OPEN_OPTIONS, OpenOptions
from xr_locality.endpoints.scheduler import (
    CONNECT_ERRORS,
    Route,
    close_client,
    make_client,
    refuse_to_pickle,
)
from xr_locality.errors import EndpointError
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

    from xr_locality.regions import Region

__all__ = ["Connection", "ConnectionState"]


class ConnectionState(enum.Enum):
    """State of a connection; it only ever goes forward."""

    UNOPENED = "unopened"
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


_MOVES: Final = {
    ConnectionState.UNOPENED: {ConnectionState.OPENING, ConnectionState.CLOSED},
    ConnectionState.OPENING: {ConnectionState.OPEN, ConnectionState.CLOSING},
    ConnectionState.OPEN: {ConnectionState.CLOSING},
    ConnectionState.CLOSING: {ConnectionState.CLOSED},
    ConnectionState.CLOSED: set(),
}


class Connection(ABC):
    """Connection to an open endpoint: a client of its scheduler, and its resources.

    Made by :meth:`Endpoint.open`. Its client is asynchronous, and never dask's default
    client. A connection is an asynchronous context manager.

    Parameters
    ----------
    region : Region
        The region whose scheduler this is.
    endpoint : Endpoint
        The specification that it was opened from.
    """

    #: Advice for an opening that took too long, as a sentence.
    late_advice: ClassVar[str] = "See whether its scheduler still runs."

    def __init__(self, *, region: Region, endpoint: Endpoint) -> None:
        self._region = region
        self._endpoint = endpoint
        self._state = ConnectionState.UNOPENED
        self._alive = True
        self._open_options = OPEN_OPTIONS.get() or OpenOptions()
        self._doing = "doing nothing yet"
        self._lease: Lease | None = None
        self._resources = AsyncExitStack()
        self._closing: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._route: Route | None = None

    @property
    def region(self) -> Region:
        """The region whose scheduler this is."""
        return self._region

    @property
    def endpoint(self) -> Endpoint:
        """The specification that this was opened from."""
        return self._endpoint

    @property
    def state(self) -> ConnectionState:
        """The state of this connection."""
        return self._state

    @property
    def doing(self) -> str:
        """The step that the opening waits for, or waited for last."""
        return self._doing

    @property
    def _doing(self) -> str:
        return self._open_options.doing

    @_doing.setter
    def _doing(self, what: str) -> None:
        self._open_options.doing = what

    @property
    def alive(self) -> bool:
        """Whether this is open and the last :meth:`check` found a scheduler."""
        return self._state is ConnectionState.OPEN and self._alive

    @property
    def client(self) -> Client:
        """An asynchronous client, which is never dask's default client."""
        if self._state is not ConnectionState.OPEN or self._client is None:
            raise self._not_open()
        return self._client

    @property
    def scheduler(self) -> Any:
        """The scheduler's remote handlers.

        Raises
        ------
        ConnectionError
            If the connection is closed, or the client has given the scheduler up.
        """
        return self._reached().scheduler

    async def run_on_scheduler(self, function: Any, *args: Any) -> Any:
        """Run a function on the scheduler.

        Raises
        ------
        ConnectionError
            As for :attr:`scheduler`, or if the scheduler does not answer.
        Exception
            What the function raises.
        """
        return await self._reached().run_on_scheduler(function, *args)

    async def run_on_workers(self, function: Any, *args: Any) -> dict[str, Any]:
        """Run a function on each worker; leave out workers that are lost meanwhile.

        Raises
        ------
        ConnectionError
            As for :attr:`scheduler`, or if the scheduler does not answer.
        """
        answers: dict[str, Any] = await self._reached().run(function, *args, on_error="ignore")
        return answers

    def _reached(self) -> Client:
        """Return the client; raise if it has given up to reconnect to its scheduler."""
        client = self._client
        if self._state is not ConnectionState.OPEN or client is None or client.scheduler is None:
            raise ConnectionError(f"{self!r} has lost its scheduler")
        return client

    @property
    def route(self) -> Route:
        """The route to the scheduler; known once open, and kept when closed."""
        if self._route is None:
            raise self._not_open()
        return self._route

    @property
    def scheduler_address(self) -> str:
        """Address at which the scheduler was reached."""
        return self.route.address

    @property
    def cluster_name(self) -> str | None:
        """Name of the cluster at its gateway, if a gateway started it."""
        return self.route.cluster_name

    @property
    def security(self) -> Security:
        """Certificates and keys for further connections to the scheduler."""
        security: Security = self.client.security
        return security

    @property
    def connection_args(self) -> dict[str, Any]:
        """Keyword arguments with which ``distributed.core.rpc`` connects."""
        return dict(self.client.connection_args)

    async def open(self, *, deadline_seconds: float) -> Self:
        """Reach the scheduler and connect to it.

        After a failure or a cancellation everything that was opened is closed again.

        Parameters
        ----------
        deadline_seconds : float
            Seconds after which to give up.

        Raises
        ------
        EndpointError
            If it fails or is late, or was opened before.
        """
        self._move(ConnectionState.OPENING)
        deadline = asyncio.timeout(deadline_seconds)
        try:
            async with deadline:
                self._route = await self._reach(self._resources)
                self._client = await self._connect(self._route)
                await self._keep_alive(self._client)
        except BaseException as problem:
            await self._shut()
            if isinstance(problem, TimeoutError) and deadline.expired():
                raise self.failure(
                    f"was not open after {deadline_seconds:g} seconds, while {self._doing}",
                    advice=f"Nothing of ours is left there. {self.late_advice}",
                    reached=False,
                ) from None
            raise
        self._move(ConnectionState.OPEN)
        self._answered = time.monotonic()
        return self

    async def check(self, *, deadline_seconds: float | None = None) -> None:
        """Raise if the scheduler has gone; :attr:`alive` keeps the answer.

        Parameters
        ----------
        deadline_seconds : float, optional
            Seconds to wait for an answer. By default ``Timeouts.scheduler_answer``.

        Raises
        ------
        EndpointError
            If the cluster was stopped or cannot be reached.
        """
        if deadline_seconds is None:
            deadline_seconds = timeouts().scheduler_answer
        client = self.client
        try:
            await self._check(deadline_seconds)
            if client.status == "closed":
                raise self.failure(
                    "lost our client, which gave up connecting again",
                    advice="Run again: a new connection will be opened.",
                )
        except EndpointError:
            self._alive = False
            raise
        self._alive = True
        self._answered = time.monotonic()

    @property
    def seconds_since_answer(self) -> float:
        """Seconds since the scheduler last answered."""
        return time.monotonic() - self._answered

    @property
    def threads_per_worker(self) -> int:
        """Number of tasks that one worker runs at once, if known; else 1."""
        return 1

    async def ensure_workers(self, n: int) -> None:
        """Request at least `n` workers, until :meth:`restore`.

        Until then the cluster counts as in use too: an idle timeout does not end it.

        Claims of runs that overlap do not add up: the largest counts, capped by
        the endpoint's maximum. Adopted and embedded clusters are not scaled: there the
        number has no effect.

        Parameters
        ----------
        n : int
            Number of workers that a run can use.
        """
        await self._claim(1)

    async def restore(self, n: int) -> None:
        """Give back one claim of :meth:`ensure_workers`.

        Parameters
        ----------
        n : int
            The number claimed.
        """
        await self._claim(-1)

    async def close(self) -> None:
        """Close what :meth:`open` has opened; may be called twice.

        An adopted cluster stays open.

        Cancelling this does not stop the closing, only the waiting for it.
        """
        if self._state is ConnectionState.UNOPENED:
            self._move(ConnectionState.CLOSED)
        elif self._state is ConnectionState.OPENING:
            raise self.failure(
                "is being opened and cannot be closed",
                advice="Cancel the task that opens it; that leaves nothing running.",
            )
        else:
            await self._shut()

    def failure(self, what: str, *, advice: str, reached: bool = True) -> EndpointError:
        """Make the error for a problem; see :meth:`Endpoint.failure`."""
        return self._endpoint.failure(self._region, what, advice=advice, reached=reached)

    @abstractmethod
    async def _reach(self, resources: AsyncExitStack) -> Route:
        """Find or start the scheduler; register in `resources` what must be closed."""

    async def _keep_alive(self, client: Client) -> None:
        """Keep the cluster from being ended as idle; give it a lease unless it is adopted."""
        seconds = None if self._endpoint.adopted else self._open_options.lease_seconds
        self._lease = await take_lease(client, seconds)
        if self._endpoint.adopted:
            self._resources.push_async_callback(self._lease.end)

    async def _claim(self, change: int) -> None:
        if self._lease is not None:
            await self._lease.claim(change)

    async def _check(self, deadline_seconds: float) -> None:
        await self._endpoint.ask_scheduler(
            self.route, region=self._region, deadline_seconds=deadline_seconds
        )

    async def _connect(self, route: Route) -> Client:
        self._doing = f"connecting to the scheduler at {route.address!r}"
        try:
            client = make_client(route)
            self._resources.push_async_callback(close_client, client)
            await client
        except CONNECT_ERRORS as err:
            raise self._endpoint.failure(
                self._region,
                f"has a scheduler at {route.address!r} that we cannot connect to "
                f"({type(err).__name__}: {err})",
                advice="Check that this machine may reach that address, and its TLS settings.",
                reached=False,
            ) from err
        return client

    async def _shut(self) -> None:
        if self._closing is None:
            self._move(ConnectionState.CLOSING)
            self._closing = asyncio.create_task(
                self._release(), name=f"xr-locality: close {self._region}"
            )
        # Shielded: a second Ctrl-C must not leave a cluster running.
        await asyncio.shield(self._closing)

    async def _release(self) -> None:
        try:
            await self._resources.aclose()
        finally:
            self._move(ConnectionState.CLOSED)

    def _move(self, state: ConnectionState) -> None:
        if state not in _MOVES[self._state]:
            raise self.failure(
                f"is {self._state.value} and cannot become {state.value}",
                advice="Each connection is opened once; open the endpoint again for another.",
            )
        self._state = state

    def _not_open(self) -> EndpointError:
        return self.failure(
            f"has no open connection: it is {self._state.value}",
            advice="Open the endpoint again.",
            reached=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        where = self._endpoint.describe()
        return f"<Connection {str(self._region)!r}: {where}, {self._state.value}>"

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle(self)
