"""Looks after regions: turns what becomes of them, and of what they were sent, into events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dask.typing import Key
from distributed import Future, as_completed

from xr_locality.execution.events import Computed, Event, Failed, Fetched, Vanished
from xr_locality.execution.failures import explain
from xr_locality.execution.liveness import find_gone
from xr_locality.execution.state import RunState
from xr_locality.execution.transport.relaying import Carrying
from xr_locality.regions.region import Region

__all__ = ["Guarding"]

#: Seconds between two looks at whether a region is still there.
_GUARD_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarding:
    """Looks after the regions of one run, each from when it is sent something.

    Parameters
    ----------
    state : RunState
        How the run stands.
    carrying : Carrying
        Carries again what was lost with a worker.
    """

    state: RunState
    carrying: Carrying

    def begin(self, region: Region) -> None:
        """Look after what a region was just sent, as long as that attempt lasts."""
        state, submission = self.state, self.state.submissions[region]
        state.start(self._watch(submission.outputs, region, Computed), region)
        state.start(self._watch(submission.fetches, region, Fetched), region)
        state.start(self._watch(submission.sends, region, None), region)
        state.start(self._guard(region), region)

    async def verify(self, region: Region, attempt: int, error: BaseException) -> None:
        """See whether it is the region that is gone, and not a link to it."""
        state = self.state
        if (gone := await find_gone(state.connections[region])) is not None:
            state.lose(region, attempt, gone)
        else:
            state.events.put_nowait(Failed(region=region, error=error))

    async def _watch(
        self,
        futures: Mapping[Key, Future[Any]],
        region: Region,
        kind: Callable[..., Event] | None,
    ) -> None:
        """Turn Futures that end into events."""
        keys: dict[Key, list[Key]] = {}
        for key, future in futures.items():
            keys.setdefault(future.key, []).append(key)
        if not keys:
            return
        state = self.state
        loop = state.connections[region].client.loop
        attempt = state.attempts[region]
        async for future in as_completed(list(futures.values()), loop=loop):
            if future.status != "finished":
                await self._failed(region, attempt, future)
                return
            for key in keys[future.key]:
                if kind is not None:
                    await state.events.put(kind(region=region, key=key, attempt=attempt))
                if kind is Fetched:
                    state.submissions[region].arrived.add(key)

    async def _failed(self, region: Region, attempt: int, future: Future[Any]) -> None:
        state = self.state
        submission = state.submissions[region]
        partition = next(part for part in state.plan.partitions if part.region == region)
        lost = future.status != "error"
        error = await explain(future, submission, partition)
        if lost:
            state.lose(region, attempt, error)
        else:
            state.events.put_nowait(Failed(region=region, error=error))

    async def _guard(self, region: Region) -> None:
        """Look after a region until the run ends: a stopped cluster tells nobody."""
        state = self.state
        attempt, submission = state.attempts[region], state.submissions[region]
        while True:
            await asyncio.sleep(_GUARD_SECONDS)
            if (gone := await find_gone(state.connections[region])) is not None:
                state.lose(region, attempt, gone)
                return
            vanished = {
                key: future
                for key, future in submission.fetches.items()
                if key in submission.arrived and future.status != "finished"
            }
            for key in vanished:
                submission.arrived.discard(key)
                state.events.put_nowait(Vanished(region=region, key=key, attempt=attempt))
            state.start(self._watch(vanished, region, Fetched), region)
            self.carrying.begin_again(region, vanished)
