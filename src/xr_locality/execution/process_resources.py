"""What sessions with equal endpoints share: the clusters, an event loop, the links.

There is one set in a process for each set of endpoints, so that a ``with`` block
inside another, or a call with endpoints of its own, starts no cluster that runs
already. The last session to close closes it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.ledger import Ledger
from xr_locality.endpoints.pool import EndpointPool
from xr_locality.execution.transport.cluster_links import ClusterLinks
from xr_locality.regions.region import Region
from xr_locality.runtime.event_loop import BackgroundLoop

__all__ = ["ProcessResources", "join"]

_lock = threading.Lock()
_all: list[ProcessResources] = []
#: What a forked child has inherited. It is kept for ever: its connections and its event
#: loop's selector are the parent's too, and finalisers would undo what the parent uses.
_of_parent: list[object] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What sessions must agree on to share."""

    endpoints: Mapping[Region, Endpoint | None]
    deadline_seconds: float
    lease_seconds: float | None
    ledger: Ledger


@dataclass(slots=True, kw_only=True, eq=False)
class ProcessResources:
    """Clusters and the ways to them, shared by sessions.

    Attributes
    ----------
    pool : EndpointPool
        The endpoints, open or not.
    loop : BackgroundLoop
        Everything here belongs to it.
    links : ClusterLinks
        The ways between the clusters.
    """

    pool: EndpointPool
    loop: BackgroundLoop
    links: ClusterLinks
    _terms: _Terms
    _users: int = field(default=0)

    def leave(self) -> None:
        """Give back one :func:`join`; the last closes everything."""
        with _lock:
            self._users -= 1
            if self._users:
                return
            if self in _all:
                _all.remove(self)
        try:
            self.loop.run(self._close())
        finally:
            self.loop.stop()

    async def _close(self) -> None:
        try:
            await self.links.close()
        finally:
            await self.pool.close()


def join(
    endpoints: Mapping[Region, Endpoint | None],
    *,
    deadline_seconds: float,
    lease_seconds: float | None,
    ledger: Ledger,
) -> ProcessResources:
    """Get what sessions with these endpoints share; to be left by :meth:`ProcessResources.leave`.

    Parameters
    ----------
    endpoints : mapping of Region to Endpoint or None
        Where each region's scheduler is.
    deadline_seconds, lease_seconds, ledger
        As :class:`EndpointPool` takes them.
    """
    terms = _Terms(
        endpoints=dict(endpoints),
        deadline_seconds=deadline_seconds,
        lease_seconds=lease_seconds,
        ledger=ledger,
    )
    with _lock:
        found = next((each for each in _all if each._terms == terms), None)
        if found is None:
            pool = EndpointPool(
                endpoints,
                deadline_seconds=deadline_seconds,
                lease_seconds=lease_seconds,
                ledger=ledger,
            )
            found = ProcessResources(
                pool=pool, loop=BackgroundLoop(), links=ClusterLinks(), _terms=terms
            )
            _all.append(found)
        found._users += 1
        return found


def _forget_parents() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent's may have held it
    _lock = threading.Lock()
    _of_parent.extend(_all)
    _all.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
