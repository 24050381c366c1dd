"""Resources of one session: its share of the clusters, and the runs on them."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from xr_locality.config import Settings
from xr_locality.errors import EndpointError, ExecutionError, LocalityError
from xr_locality.regions.region import LOCAL, Region

if TYPE_CHECKING:
    from distributed import Future

    from xr_locality.endpoints import Connection, Endpoint, EndpointPool
    from xr_locality.execution.checks.preflight import Preflight
    from xr_locality.execution.process_resources import ProcessResources
    from xr_locality.execution.transport.cluster_links import ClusterLinks
    from xr_locality.runtime.event_loop import BackgroundLoop

__all__ = ["SessionResources"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class SessionResources:
    """The clusters, the event loop and the links of a session, from first use to its end.

    Parameters
    ----------
    endpoints : mapping of Region to Endpoint or None
        Where each region's scheduler is; None where it is only named.
    settings : Settings
        How long to wait for clusters, and where to note them.
    """

    def __init__(self, endpoints: Mapping[Region, Endpoint | None], settings: Settings) -> None:
        self.endpoints = endpoints
        self._settings = settings
        #: Held while something is opened or closed.
        self.lock = threading.RLock()
        self._shared: ProcessResources | None = None
        self._preflight: Preflight | None = None
        #: What runs on the loop.
        self.running: set[asyncio.Task[Any]] = set()
        #: Whether nothing is to be opened any more.
        self.closed = False
        #: Whether what was open is that of the process that this one was forked from.
        self.of_parent = False
        _all.add(self)

    @property
    def pool(self) -> EndpointPool | None:
        """The endpoints, if any was ever needed."""
        return None if self._shared is None else self._shared.pool

    @property
    def loop(self) -> BackgroundLoop | None:
        """What runs coroutines, if any was ever needed."""
        return None if self._shared is None else self._shared.loop

    @property
    def links(self) -> ClusterLinks | None:
        """The ways between clusters, if any was ever needed."""
        return None if self._shared is None else self._shared.links

    def open(self) -> tuple[EndpointPool, BackgroundLoop]:
        """Get the pool and its loop, made on first use.

        Raises
        ------
        EndpointError
            If this is closed.
        ExecutionError
            If it is another process's.
        """
        with self.lock:
            shared, _ = self._open()
            return shared.pool, shared.loop

    def open_all(self) -> tuple[EndpointPool, BackgroundLoop, ClusterLinks, Preflight]:
        """Get all that a run needs; see :meth:`open`."""
        with self.lock:
            shared, preflight = self._open()
            return shared.pool, shared.loop, shared.links, preflight

    def anticipate(self, regions: Collection[Region]) -> None:
        """Begin to check regions where a plan may run tasks, unless this is closed.

        What starts a cluster waits until the plan, and so every error of it, is known.
        """
        with self.lock:
            if not self.closed and not self.of_parent:
                shared, _ = self._open()
                shared.loop.call_soon(shared.pool.anticipate, regions)

    def pull(self, connection: Connection, future: Future[Any]) -> Any:
        """Bring here one value that a region holds."""
        with self.lock:
            self.refuse_fork()
            if self.closed or self._shared is None:
                raise ExecutionError(
                    f"Persisted data in region {str(connection.region)!r} are gone: the session "
                    "that held them is closed.",
                    region=str(connection.region),
                )
            loop, links = self._shared.loop, self._shared.links
        values, _ = loop.run(links.result_client(connection).pull([future.key]))
        return values[future.key]

    async def until_closed(self, run: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run what :meth:`close` cancels, and waits for."""
        task = asyncio.ensure_future(run())
        self.running.add(task)
        try:
            return await task
        finally:
            self.running.discard(task)

    def close(self) -> None:
        """Cancel what runs and close what was opened; may be called twice."""
        with self.lock:
            self.closed = True
            _open.discard(self)
            shared, self._shared = self._shared, None
        if shared is None:
            return

        async def cancel() -> None:
            for task in self.running:
                task.cancel()
            await asyncio.gather(*self.running, return_exceptions=True)

        try:
            shared.loop.run(cancel())
        finally:
            shared.leave()

    def refuse_fork(self) -> None:
        """Raise if what was opened is another process's."""
        if self.of_parent:
            raise ExecutionError(
                "This session was opened by the process that this one was forked from, and its "
                "connections are that process's. Make a new Session here, or start processes by "
                "'spawn'."
            )

    def forget_parents(self) -> None:
        """Leave to the parent what it has opened; called in a forked child."""
        self.lock = threading.RLock()
        self.running = set()
        self.of_parent = self.of_parent or self._shared is not None
        self._shared = None

    def _open(self) -> tuple[ProcessResources, Preflight]:
        if self.closed:
            raise EndpointError("This session is closed. Make a new one.")
        self.refuse_fork()
        if self._shared is None or self._preflight is None:
            from xr_locality.endpoints import EmbeddedEndpoint
            from xr_locality.endpoints.ledger import Ledger
            from xr_locality.execution.checks.preflight import Preflight
            from xr_locality.execution.process_resources import join

            endpoints: dict[Region, Endpoint | None] = dict(self.endpoints)
            endpoints.setdefault(LOCAL, EmbeddedEndpoint())
            self._shared = join(
                endpoints,
                deadline_seconds=self._settings.start_timeout,
                lease_seconds=self._settings.lease,
                ledger=Ledger.of_user(self._settings.state_directory),
            )
            self._preflight = Preflight()
            _open.add(self)
        return self._shared, self._preflight

    def __repr__(self) -> str:
        return (
            f"<SessionResources: {', '.join(map(str, sorted(self.endpoints))) or 'no endpoints'}>"
        )


#: Resources that have something open: they are closed at exit, though no session holds them.
_open: set[SessionResources] = set()

#: All resources that a session holds.
_all: weakref.WeakSet[SessionResources] = weakref.WeakSet()


def _forget_parents() -> None:
    _open.clear()
    for resources in _all:
        resources.forget_parents()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


def _close_all() -> None:
    for resources in list(_open):
        try:
            resources.close()
        except LocalityError:
            logger.warning("Closing %r at exit failed", resources, exc_info=True)


# atexit runs after executors have been shut down, and then no host name can be
# looked up any more to stop a cluster; this runs before.
_register_atexit: Callable[[Callable[[], None]], object] = getattr(
    threading, "_register_atexit", atexit.register
)
_register_atexit(_close_all)
