"""Manager of relays: boundary values that cannot go from region to region."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dask.typing import Key

from xr_locality.config import Transfer
from xr_locality.execution import remote
from xr_locality.execution.events import Failed, Unreached
from xr_locality.execution.failures import cut_off, unreachable
from xr_locality.execution.liveness import find_gone
from xr_locality.execution.progress import RelayBegun
from xr_locality.execution.run import Run
from xr_locality.execution.submission import relayed_key, wanted_key
from xr_locality.execution.transport.cluster_links import can_dial
from xr_locality.execution.transport.relay import ValueRelay
from xr_locality.execution.worker_messages import FetchFailure
from xr_locality.plan.model import Boundary
from xr_locality.regions.region import Region

__all__ = ["RelayManager"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class RelayManager:
    """Manager of the boundary values of one run that this process relays.

    Parameters
    ----------
    state : Run
        The run.
    transfer : {"direct", "relay", "stage", "auto"}
        How values cross.
    """

    state: Run
    transfer: Transfer
    _relay: ValueRelay = field(default_factory=ValueRelay)
    #: Pairs of regions, source first, whose values this process relays.
    _relayed_pairs: set[tuple[Region, Region]] = field(default_factory=set)
    #: Values that this process relays because a worker could not fetch them, and the region.
    _fallen_back: set[tuple[Key, Region]] = field(default_factory=set)

    def take_over(self, source: Region, target: Region) -> bool:
        """Whether this process relays the values of one region to another, from here on."""
        if self._is_relayed(source, target):
            self._relayed_pairs.add((source, target))
            return True
        return False

    def _is_relayed(self, source: Region, target: Region) -> bool:
        return (
            # Of staged values, only receipts cross so.
            self.transfer in ("relay", "stage")
            or not can_dial(self.state.connections[source])
            or (self.transfer == "auto" and (source, target) in self.state.links.unreachable)
        )

    def begin(self, regions: Collection[Region]) -> None:
        """Relay values between regions that cannot reach each other.

        Only values that one of `regions`, which were just sent tasks, makes or takes.
        """
        for boundary in self.state.plan.boundaries:
            source = boundary.source
            making = self.state.submissions.get(source)
            if making is None or boundary.key not in making.sends:
                continue
            targets = [
                target
                for target in boundary.targets
                if (source in regions or target in regions)
                and self._is_relayed_to(boundary, target)
                and self._waits(boundary, target)
            ]
            if targets:
                self.state.start(self._relay_value(boundary, targets), source)

    def _is_relayed_to(self, boundary: Boundary, target: Region) -> bool:
        return (boundary.source, target) in self._relayed_pairs or (
            boundary.key,
            target,
        ) in self._fallen_back

    def _waits(self, boundary: Boundary, target: Region) -> bool:
        """Whether a region takes a value that has not arrived there."""
        taking = self.state.submissions.get(target)
        return (
            taking is not None
            and boundary.key in taking.fetches
            and boundary.key not in taking.arrived
        )

    def begin_again(self, target: Region, keys: Collection[Key]) -> None:
        """Relay again the values that a region has lost with a worker."""
        state = self.state
        lost = self._relay.find_lost(state.connections[target])
        for boundary in state.plan.boundaries:
            if target not in boundary.targets or not self._is_relayed_to(boundary, target):
                continue
            making = state.submissions.get(boundary.source)
            name = relayed_key(boundary.key, state.name)
            if (
                making is not None
                and boundary.key in making.sends
                and (boundary.key in keys or (name in lost and self._waits(boundary, target)))
            ):
                state.start(self._relay_value(boundary, [target]), boundary.source)

    async def _relay_value(self, boundary: Boundary, targets: list[Region]) -> None:
        """Relay a boundary value to the regions that wait for it."""
        state, source = self.state, boundary.source
        state.check(source, state.plan.client, boundary.key, why="boundary")
        began = time.monotonic()
        attempts = {each: state.attempts[each] for each in (source, *targets)}
        wanted = wanted_key(boundary, state.name, relayed=False)
        if attempts[source]:
            wanted = remote.rename(wanted, str(attempts[source]))
        try:
            nbytes, is_receipt = await self._relay.relay(
                state.links.value_client(state.connections[source]),
                wanted,
                name=relayed_key(boundary.key, state.name),
                targets=[state.connections[target] for target in targets],
            )
        except Exception as error:  # noqa: BLE001 - ends the run, or a region
            if getattr(error, "xr_locality_link", False):
                await self._find_cut(boundary, attempts, error)
            else:
                error.add_note(f"Raised by {boundary.key!r} of region {str(source)!r}, relayed.")
                state.events.put_nowait(Failed(region=source, error=error))
            return
        state.crossed(source, state.plan.client, nbytes, began=began)
        if is_receipt:
            # Fetch tasks report the value itself, not its receipt.
            for target in targets:
                state.crossed(state.plan.client, target, nbytes)

    async def _find_cut(
        self, boundary: Boundary, attempts: Mapping[Region, int], error: Exception
    ) -> None:
        """Find why a value could not be relayed: a region is gone, or a link is cut."""
        state = self.state
        regions = list(attempts)
        gone = await asyncio.gather(*(find_gone(state.connections[each]) for each in regions))
        for region, why in zip(regions, gone, strict=True):
            if why is not None:
                state.lose(region, attempts[region], why)
        rest = [region for region, why in zip(regions[1:], gone[1:], strict=True) if why is None]
        if not any(gone):
            cut = unreachable(state.connections[boundary.source], state.plan.client, error)
            state.events.put_nowait(Failed(region=boundary.source, error=cut))
        elif gone[0] is None and rest:
            state.start(self._relay_value(boundary, rest), boundary.source)

    def handle_failure(self, failure: FetchFailure) -> None:
        """Handle a fetch task that got no answer: relay its value, or report it."""
        state, source, target = self.state, failure.source, failure.target
        submission = state.submissions.get(target)
        fetches = {} if submission is None else submission.fetches
        found = [key for key, future in fetches.items() if future.key == failure.key]
        if not found or source not in state.attempts:
            # Of an attempt that is over.
            return
        (key,) = found
        boundary = next(each for each in state.plan.boundaries if each.key == key)
        if not failure.met and self.transfer == "auto" and not failure.relayed:
            state.start(self._fall_back(boundary, target, failure.reason), target)
            return
        tried = failure.tried if failure.met else state.retries + 1
        error = cut_off(state.connections[source], target, key, failure.reason)
        error.facts["met"] = failure.met
        state.events.put_nowait(
            Unreached(
                region=target,
                key=key,
                source=source,
                attempt=failure.attempt,
                tried=tried,
                error=error,
            )
        )

    async def _fall_back(self, boundary: Boundary, target: Region, why: str) -> None:
        """Relay a value to a region whose worker does not reach its source."""
        state, source = self.state, boundary.source
        if (boundary.key, target) in self._fallen_back:
            return
        self._fallen_back.add((boundary.key, target))
        attempt = state.attempts[source]
        if (gone := await find_gone(state.connections[source])) is not None:
            # Relayed once it is opened again.
            state.lose(source, attempt, gone)
            return
        if (source, target) not in state.links.unreachable:
            state.links.unreachable[source, target] = why
            logger.info(
                "Values from %s to %s go by way of this machine from here on: %s",
                source,
                target,
                why,
            )
            state.report(RelayBegun(source=source, target=target, reason=why))
        if attempt == state.attempts[source] and source in state.submissions:
            state.start(self._relay_value(boundary, [target]), source)

    def close(self) -> None:
        """Release the relayed values on all clusters; may be called twice."""
        self._relay.close()
