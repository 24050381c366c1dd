"""Looks after regions: turns what becomes of them, and of what they were sent, into events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dask.typing import Key
from distributed import Future, as_completed

from xr_locality.execution.events import Computed, Failed, Fetched, Vanished
from xr_locality.execution.failures import explain
from xr_locality.execution.liveness import find_gone
from xr_locality.execution.state import RunState
from xr_locality.execution.transport.relaying import Carrying
from xr_locality.regions.region import Region

__all__ = ["Guarding"]

#: Seconds between two looks at whether a region is still there.
_GUARD_SECONDS = 2.0

#: States of a Future whose value was lost with its worker and is being computed again.
_COMPUTED_AGAIN = ("pending", "lost")


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
        attempt = state.attempts[region]

        def computed(key: Key) -> None:
            state.events.put_nowait(Computed(region=region, key=key, attempt=attempt))

        copies: Counter[Key] = Counter()
        fetched = self._fetched(region, attempt, copies)
        state.start(self._watch(submission.outputs, region, computed), region)
        state.start(self._watch(submission.fetches, region, fetched), region)
        state.start(self._watch(submission.sends, region, lambda key: None), region)
        state.start(self._guard(region, copies), region)

    def _fetched(self, region: Region, attempt: int, copies: Counter[Key]) -> Callable[[Key], None]:
        """Make what reports that a value has arrived, of the copy that is expected."""
        state, submission = self.state, self.state.submissions[region]

        def fetched(key: Key) -> None:
            copy = copies[key]
            state.events.put_nowait(Fetched(region=region, key=key, attempt=attempt, copy=copy))
            submission.arrived.add(key)

        return fetched

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
        finished: Callable[[Key], None],
    ) -> None:
        """Report Futures that finish, by the plan's keys; end the attempt if one fails."""
        keys: dict[Key, list[Key]] = {}
        for key, future in futures.items():
            keys.setdefault(future.key, []).append(key)
        if not keys:
            return
        state = self.state
        loop = state.connections[region].client.loop
        attempt = state.attempts[region]
        completed = as_completed(list(futures.values()), loop=loop)
        async for future in completed:
            if future.status in _COMPUTED_AGAIN:
                # Finished, and lost with its worker before this was read.
                completed.add(future)
                continue
            if future.status != "finished":
                await self._failed(region, attempt, future)
                return
            for key in keys[future.key]:
                finished(key)

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

    async def _guard(self, region: Region, copies: Counter[Key]) -> None:
        """Look after a region until the run ends: a stopped cluster tells nobody."""
        state = self.state
        attempt, submission = state.attempts[region], state.submissions[region]
        fetched = self._fetched(region, attempt, copies)
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
                copy = copies[key]
                copies[key] += 1
                state.events.put_nowait(
                    Vanished(region=region, key=key, attempt=attempt, copy=copy)
                )
            state.start(self._watch(vanished, region, fetched), region)
            self.carrying.begin_again(region, vanished)
