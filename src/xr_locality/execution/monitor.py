"""Monitor of regions: reports lost clusters and finished Futures as events."""

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
from xr_locality.execution.run import Run
from xr_locality.execution.transport.relaying import RelayManager
from xr_locality.regions.region import Region
from xr_locality.runtime.timeouts import timeouts

__all__ = ["Monitor"]

#: States of a Future whose value was lost with its worker and is being computed again.
_COMPUTED_AGAIN = ("pending", "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """Monitor of the regions of one run, each from when it is sent tasks.

    Parameters
    ----------
    state : Run
        The run.
    relays : RelayManager
        Relays again values that were lost with a worker.
    """

    state: Run
    relays: RelayManager

    def begin(self, region: Region) -> None:
        """Monitor a region and its new submission, as long as that attempt lasts."""
        state, submission = self.state, self.state.submissions[region]
        attempt = state.attempts[region]

        def computed(key: Key) -> None:
            state.events.put_nowait(Computed(region=region, key=key, attempt=attempt))

        copies: Counter[Key] = Counter()
        fetched = self._fetched(region, attempt, copies)
        state.start(self._watch(submission.outputs, region, computed), region)
        state.start(self._watch(submission.fetches, region, fetched), region)
        state.start(self._watch(submission.sends, region, lambda key: None), region)
        state.start(self._watch_region(region, copies), region)

    def _fetched(self, region: Region, attempt: int, copies: Counter[Key]) -> Callable[[Key], None]:
        """Make the function that reports the arrival of the expected copy of a value."""
        state, submission = self.state, self.state.submissions[region]

        def fetched(key: Key) -> None:
            copy = copies[key]
            state.events.put_nowait(Fetched(region=region, key=key, attempt=attempt, copy=copy))
            submission.arrived.add(key)

        return fetched

    async def verify(self, region: Region, attempt: int, error: BaseException) -> None:
        """Check whether the region itself is gone, and not only a link to it."""
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

    async def _watch_region(self, region: Region, copies: Counter[Key]) -> None:
        """Check a region again and again: a stopped cluster sends no message."""
        state = self.state
        attempt, submission = state.attempts[region], state.submissions[region]
        fetched = self._fetched(region, attempt, copies)
        while True:
            await asyncio.sleep(timeouts().monitor_poll)
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
            self.relays.begin_again(region, vanished)
