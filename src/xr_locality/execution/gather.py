"""Gathering of results as they get ready, or keeping them in their regions."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from distributed import Future

from xr_locality.endpoints.connection import Connection
from xr_locality.execution.events import Failed, Gathered
from xr_locality.execution.failures import unreachable
from xr_locality.execution.liveness import find_gone
from xr_locality.execution.run import Run
from xr_locality.regions.region import Region

__all__ = ["KeptResult", "ResultGatherer"]


@dataclass(slots=True, kw_only=True)
class KeptResult:
    """Result that stays in its region: the Future that keeps it, and its bytes."""

    region: Region
    connection: Connection
    future: Future[Any]
    nbytes: int | None = None


@dataclass(slots=True, kw_only=True)
class ResultGatherer:
    """Gatherer of the results of one run.

    Parameters
    ----------
    state : Run
        The run.
    kept : dict of key to KeptResult, optional
        Filled with results that stay in their regions. By default none does.
    """

    state: Run
    kept: dict[Key, KeptResult] | None = None
    #: Results that have arrived.
    values: dict[Key, Any] = field(default_factory=dict)
    #: Keys for the next request to a region, while one is in transfer.
    _pending: dict[Region, list[Key]] = field(default_factory=dict)
    _asked: set[Key] = field(default_factory=set)

    @property
    def all_asked(self) -> bool:
        """Whether every result has been requested, so that all tasks have run."""
        partitions = self.state.plan.partitions
        return len(self._asked) == sum(len(partition.outputs) for partition in partitions)

    def take(self, region: Region, key: Key) -> None:
        """Take a result that is ready: gather it, or keep it in its region."""
        if self.kept is None:
            self._gather_soon(region, key)
        else:
            self._keep(self.kept, region, key)

    def _keep(self, kept: dict[Key, KeptResult], region: Region, key: Key) -> None:
        """Keep a result in its region, and hand its Future to the caller."""
        state = self.state
        future = state.submissions[region].outputs.pop(key)
        kept[key] = KeptResult(region=region, connection=state.connections[region], future=future)
        state.events.put_nowait(
            Gathered(region=region, keys=(key,), attempt=state.attempts[region])
        )

    def _gather_soon(self, region: Region, key: Key) -> None:
        """Gather a result, together with others that get ready during a transfer."""
        running = region in self._pending
        self._pending.setdefault(region, []).append(key)
        if not running:
            self.state.start(self._gather(region), region)
        self._asked.add(key)

    async def _gather(self, region: Region) -> None:
        state, client = self.state, self.state.plan.client
        futures, attempt = state.submissions[region].outputs, state.attempts[region]
        connection = state.connections[region]
        tried = 0
        while keys := self._pending[region]:
            self._pending[region] = []
            for key in keys:
                state.check(region, client, key, why="result")
            began = time.monotonic()
            try:
                result_client = state.links.result_client(connection)
                values, moved = await result_client.pull(futures[key].key for key in keys)
            except ConnectionError as error:
                if not getattr(error, "xr_locality_link", False):
                    raise
                tried += 1
                if (gone := await find_gone(connection)) is not None:
                    state.lose(region, attempt, gone)
                    return
                if tried > state.retries:
                    cut = unreachable(connection, client, error)
                    state.events.put_nowait(Failed(region=region, error=cut))
                    return
                self._pending[region] += keys
                continue
            for key in keys:
                self.values[key] = values[futures[key].key]
            state.crossed(region, client, sum(moved.values()), began=began)
            await state.events.put(Gathered(region=region, keys=tuple(keys), attempt=attempt))
        del self._pending[region]

    def abandon(self, region: Region) -> None:
        """Drop the pending and kept results of a lost region."""
        self._pending.pop(region, None)
        if self.kept is not None:
            for key in [key for key, kept in self.kept.items() if kept.region == region]:
                del self.kept[key]
