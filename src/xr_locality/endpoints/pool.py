"""Pool of endpoints: opens each once, shares its connection, and closes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xr_locality.endpoints.address import normalise_address
from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint, EndpointFacts
from xr_locality.endpoints.health_checks import HealthChecks
from xr_locality.endpoints.ledger import Ledger
from xr_locality.endpoints.open_options import OPEN_OPTIONS, OpenOptions
from xr_locality.errors import EndpointError, LocalityError, raise_together
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.regions import Region

__all__ = ["EndpointPool", "Starting"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class _PoolSlot:
    """One region's connection, open or on its way."""

    opening: asyncio.Task[Connection]
    # How it is opened, and what the opening waits for now.
    options: OpenOptions
    # When it was begun, by the loop's clock.
    since: float
    # Calls of open() that wait for it or were given it; at zero it is closed.
    callers: int = 0

    @property
    def connection(self) -> Connection | None:
        """The connection, if it is there."""
        task = self.opening
        done = task.done() and not task.cancelled() and task.exception() is None
        return task.result() if done else None

    @property
    def usable(self) -> bool:
        """Whether another caller may share it."""
        connection = self.connection
        return not self.opening.done() if connection is None else connection.alive


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """An endpoint that is being opened.

    Attributes
    ----------
    endpoint : str
        The endpoint, in a few words.
    doing : str
        The step that the opening waits for.
    seconds : float
        Seconds since the opening began.
    """

    endpoint: str
    doing: str
    seconds: float


class EndpointPool:
    """Pool that opens endpoints in parallel, each once, and closes them.

    A pool belongs to one event loop. Callers in that loop share its connections.

    Parameters
    ----------
    endpoints : Mapping of Region to Endpoint or None
        Where each region's scheduler is; None where it is only named, so that
        it can be planned for but not opened.
    deadline_seconds : float, optional
        Seconds that an endpoint may take to open.
    lease_seconds : float or None, optional
        Seconds without a sign of this process after which a cluster that it started
        ends. By default never.
    ledger : Ledger or None, optional
        Ledger of the clusters that this process starts. By default none.
    """

    def __init__(
        self,
        endpoints: Mapping[Region, Endpoint | None],
        *,
        deadline_seconds: float | None = None,
        lease_seconds: float | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._lease_seconds = lease_seconds
        self._ledger = ledger
        self._health_checks = HealthChecks()
        self._endpoints = dict(endpoints)
        self._deadline_seconds = timeouts().start if deadline_seconds is None else deadline_seconds
        self._slots: dict[Region, _PoolSlot] = {}
        self._discarding: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def endpoints(self) -> Mapping[Region, Endpoint | None]:
        """Where each region's scheduler is."""
        return MappingProxyType(self._endpoints)

    @property
    def connections(self) -> Mapping[Region, Connection]:
        """The connections that are open, and were not found dead."""
        found = ((region, slot.connection) for region, slot in sorted(self._slots.items()))
        return MappingProxyType({region: one for region, one in found if one and one.alive})

    @property
    def deadline_seconds(self) -> float:
        """Seconds that an endpoint may take to open, unless its own settings say more."""
        return self._deadline_seconds

    @property
    def starting(self) -> Mapping[Region, Starting]:
        """The regions that are being opened, and the step that each waits for."""
        now = asyncio.get_running_loop().time()
        return {
            region: Starting(
                endpoint=endpoint.describe(), doing=slot.options.doing, seconds=now - slot.since
            )
            for region, slot in sorted(self._slots.items())
            if not slot.opening.done() and (endpoint := self._endpoints[region]) is not None
        }

    def find(self, scheduler_address: str) -> Region | None:
        """Return the region whose scheduler has an address; None if there is none.

        Parameters
        ----------
        scheduler_address : str
            Such as that of a Future's client.
        """
        wanted = normalise_address(scheduler_address)
        for region, connection in self.connections.items():
            if normalise_address(connection.scheduler_address) == wanted:
                return region
        for region, endpoint in sorted(self._endpoints.items()):
            address = None if endpoint is None else endpoint.scheduler_address
            if address is not None and normalise_address(address) == wanted:
                return region
        return None

    async def preflight(
        self, regions: Iterable[Region], *, deadline_seconds: float | None = None
    ) -> None:
        """Check cheaply and in parallel that regions can be opened; start nothing.

        A region whose connection is open is not asked.

        Parameters
        ----------
        regions : iterable of Region
            The regions to check.
        deadline_seconds : float, optional
            Seconds for each of them.

        Raises
        ------
        EndpointError, ConfigurationError
            If one cannot be opened.
        LocalityErrorGroup
            If several cannot.
        """
        wanted = sorted(set(regions).difference(self.connections))
        answers = await asyncio.gather(
            *(self._preflight(region, deadline_seconds) for region in wanted),
            return_exceptions=True,
        )
        _raise_problems(answers, message="Endpoints that cannot be used:")

    def anticipate(self, regions: Iterable[Region]) -> None:
        """Begin to check regions that will probably be needed; start nothing.

        The next :meth:`preflight` and :meth:`check` of a region use the answer. Call this
        on the pool's event loop.

        Parameters
        ----------
        regions : iterable of Region
            The regions; a region without an endpoint is skipped.
        """
        for region in sorted(set(regions)):
            endpoint = self._endpoints.get(region)
            if endpoint is not None and not self._closed:
                self._health_checks.anticipate(region, endpoint, self.connections.get(region))

    async def inspect(
        self, *, deadline_seconds: float | None = None
    ) -> Mapping[Region, EndpointFacts | LocalityError | None]:
        """Request the facts of every endpoint in parallel; start nothing.

        Parameters
        ----------
        deadline_seconds : float, optional
            Seconds for each of them.

        Returns
        -------
        Mapping of Region to EndpointFacts, error, or None
            The error of an endpoint that cannot be used; None where it is only named.
        """

        async def ask(region: Region) -> EndpointFacts | LocalityError | None:
            endpoint = self._endpoints[region]
            if endpoint is None:
                return None
            try:
                return await endpoint.inspect(region=region, deadline_seconds=deadline_seconds)
            except LocalityError as error:
                return error

        wanted = sorted(self._endpoints)
        return dict(zip(wanted, await asyncio.gather(*map(ask, wanted)), strict=True))

    async def open(self, regions: Iterable[Region]) -> Mapping[Region, Connection]:
        """Open regions in parallel; share the connections that are open already.

        If one fails, the connections that no other caller shares are closed again.

        Parameters
        ----------
        regions : iterable of Region
            The regions to open.

        Returns
        -------
        Mapping of Region to Connection
            Open connections, which the pool closes.

        Raises
        ------
        EndpointError, ConfigurationError
            If one cannot be opened.
        LocalityErrorGroup
            If several cannot.
        """
        wanted = sorted(set(regions))
        endpoints = self._require(wanted)
        slots = {region: self._claim(region, endpoint) for region, endpoint in endpoints.items()}
        try:
            await _all_open([slot.opening for slot in slots.values()])
        except BaseException:
            # Shielded: Ctrl-C must not leave a cluster running.
            await asyncio.shield(
                asyncio.gather(
                    *(self._give_up(region, slot) for region, slot in slots.items()),
                    return_exceptions=True,
                )
            )
            raise
        return MappingProxyType({region: slot.opening.result() for region, slot in slots.items()})

    async def abandon(self, connections: Iterable[Connection]) -> None:
        """Close connections that a caller of :meth:`open` has no use for after all.

        A connection that another call shares stays open.

        Parameters
        ----------
        connections : iterable of Connection
            Connections that were not open before that call.
        """
        unwanted = set(connections)
        closing = [
            self._discard(region, slot)
            for region, slot in list(self._slots.items())
            if slot.connection in unwanted and slot.callers == 1
        ]
        await asyncio.shield(asyncio.gather(*closing, return_exceptions=True))

    async def check(
        self,
        regions: Iterable[Region] | None = None,
        *,
        deadline_seconds: float | None = None,
        recent_too: bool = True,
    ) -> None:
        """Check in parallel that open schedulers still answer; drop the dead.

        The next :meth:`open` of a dropped region starts a new one.

        Parameters
        ----------
        regions : iterable of Region, optional
            The regions to check; a region that is not open is skipped. By default all.
        deadline_seconds : float, optional
            Seconds for each of them.
        recent_too : bool, optional
            False skips schedulers that answered within ``Timeouts.scheduler_answer_lifetime``.

        Raises
        ------
        EndpointError
            If one has gone.
        LocalityErrorGroup
            If several have.
        """
        chosen = None if regions is None else set(regions)
        found = {
            region: one
            for region, one in self.connections.items()
            if (chosen is None or region in chosen) and (recent_too or not _answered_recently(one))
        }
        answers = await asyncio.gather(
            *(
                self._health_checks.check(region, one, deadline_seconds=deadline_seconds)
                for region, one in found.items()
            ),
            return_exceptions=True,
        )
        for region, connection in found.items():
            slot = self._slots.get(region)
            if slot is not None and slot.connection is connection and not connection.alive:
                self._discard(region, slot)
        _raise_problems(answers, message="Schedulers that have gone:")

    def drop(self, region: Region, connection: Connection) -> None:
        """Remove a connection that is of no use any more, and close it in the background.

        The next :meth:`open` of its region starts a new one.

        Parameters
        ----------
        region : Region
            The region.
        connection : Connection
            Its connection; one that was removed before is left alone.
        """
        slot = self._slots.get(region)
        if slot is not None and slot.connection is connection:
            self._discard(region, slot)

    async def close(self) -> None:
        """Close all connections in parallel; may be called twice.

        A gateway that has gone does not keep the others from being closed.
        """
        self._closed = True
        await self._health_checks.close()
        for region, slot in list(self._slots.items()):
            self._discard(region, slot)
        answers = await asyncio.gather(
            *map(asyncio.shield, self._discarding), return_exceptions=True
        )
        _raise_problems(answers, message="Endpoints that could not be closed cleanly:")

    def _require(self, regions: Iterable[Region]) -> dict[Region, Endpoint]:
        """Return the endpoints of regions; raise for regions without one."""
        found: dict[Region, Endpoint] = {}
        problems: list[Exception] = []
        for region in regions:
            endpoint = self._endpoints.get(region)
            if endpoint is not None:
                found[region] = endpoint
                continue
            has = "only a name" if region in self._endpoints else "none"
            problems.append(
                EndpointError(
                    f"Region {str(region)!r} needs an endpoint and has {has}. "
                    "Set locality.endpoints or pass endpoints=.",
                    region=str(region),
                )
            )
        raise_together(problems, message="Regions without an endpoint:")
        return found

    async def _preflight(self, region: Region, deadline_seconds: float | None) -> None:
        endpoint = self._require([region])[region]
        await self._health_checks.preflight(region, endpoint, deadline_seconds=deadline_seconds)

    def _claim(self, region: Region, endpoint: Endpoint) -> _PoolSlot:
        """Join the opening of a region, or begin it."""
        if self._closed:
            raise endpoint.failure(
                region, "belongs to a session that is closed", advice="Make a new session."
            )
        slot = self._slots.get(region)
        if slot is None or not slot.usable:
            if slot is not None:
                self._discard(region, slot)
            options = OpenOptions(
                lease_seconds=self._lease_seconds, ledger=self._ledger, doing="beginning"
            )
            # Not the caller's context: an embedded cluster outlives the call, and its tasks
            # would run with the context variables of that call.
            context = Context()
            context.run(OPEN_OPTIONS.set, options)
            opening = asyncio.create_task(
                endpoint.open(region=region, deadline_seconds=self._deadline_seconds),
                name=f"xr-locality: open {region}",
                context=context,
            )
            since = asyncio.get_running_loop().time()
            slot = self._slots[region] = _PoolSlot(opening=opening, options=options, since=since)
        slot.callers += 1
        return slot

    async def _give_up(self, region: Region, slot: _PoolSlot) -> None:
        """Leave a region to its other callers; close it for the last one."""
        slot.callers -= 1
        if slot.callers == 0:
            await self._discard(region, slot)

    def _discard(self, region: Region, slot: _PoolSlot) -> asyncio.Task[None]:
        """Remove a slot at once, and close it in the background."""
        if self._slots.get(region) is slot:
            del self._slots[region]
        task = asyncio.create_task(_close(slot), name=f"xr-locality: discard {region}")
        self._discarding.add(task)
        task.add_done_callback(self._discarded)
        return task

    def _discarded(self, task: asyncio.Task[None]) -> None:
        self._discarding.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.warning("%s failed", task.get_name(), exc_info=task.exception())


async def _all_open(tasks: list[asyncio.Task[Connection]]) -> None:
    """Wait until all are open, or until one has failed and the grace time is over."""
    if not tasks:
        return
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    if pending:
        await asyncio.wait(pending, timeout=timeouts().open_grace)
    done = [task for task in tasks if task.done()]
    if any(task.cancelled() for task in done):
        raise EndpointError(
            "The session was closed while its endpoints were being opened. Make a new session."
        )
    failed = [task.exception() for task in done]
    _raise_problems(failed, message="Endpoints that could not be opened:")


async def _close(slot: _PoolSlot) -> None:
    """Close a slot's connection, or stop it from being opened."""
    slot.opening.cancel()
    await asyncio.wait({slot.opening})
    connection = slot.connection
    if connection is not None:
        await connection.close()


def _raise_problems(answers: Iterable[Any], *, message: str) -> None:
    """Raise together the exceptions among the answers of tasks."""
    answers = list(answers)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Exception):
            raise answer
    raise_together([one for one in answers if isinstance(one, Exception)], message=message)


def _answered_recently(connection: Connection) -> bool:
    """Return whether a scheduler has answered so recently that it is not asked again."""
    return (
        connection.alive and connection.seconds_since_answer < timeouts().scheduler_answer_lifetime
    )
