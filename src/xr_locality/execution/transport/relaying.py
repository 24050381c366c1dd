"""Carries boundary values through this process where they cannot go from region to region."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.config import Transfer
from xr_locality.execution import remote
from xr_locality.execution.events import Failed, Unreached
from xr_locality.execution.failures import cut_off, unreachable
from xr_locality.execution.liveness import find_gone
from xr_locality.execution.state import RunState
from xr_locality.execution.submission import mail_key, wanted_key
from xr_locality.execution.transport.cluster_links import can_dial
from xr_locality.execution.transport.relay import Relay
from xr_locality.plan.model import Boundary
from xr_locality.regions.region import Region

__all__ = ["Carrying"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Carrying:
    """Decides which boundary values of one run this process carries, and carries them.

    Parameters
    ----------
    state : RunState
        How the run stands.
    transfer : {"direct", "relay", "stage", "auto"}
        How values cross.
    """

    state: RunState
    transfer: Transfer
    _relay: Relay = field(default_factory=Relay)
    #: Pairs of regions, source first, whose values this process carries.
    _apart: set[tuple[Region, Region]] = field(default_factory=set)
    #: Values that workers have asked this process to carry, and where to.
    _carried: set[tuple[Key, Region]] = field(default_factory=set)

    def take_over(self, source: Region, target: Region) -> bool:
        """Say whether this process carries what one region sends another, from here on."""
        if self._is_relayed(source, target):
            self._apart.add((source, target))
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
        """Carry what regions send each other that cannot reach each other.

        What one of `regions` makes, or takes, as far as it has just been sent.
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
                and self._is_carried(boundary, target)
                and self._waits(boundary, target)
            ]
            if targets:
                self.state.start(self._carry(boundary, targets), source)

    def _is_carried(self, boundary: Boundary, target: Region) -> bool:
        return (boundary.source, target) in self._apart or (boundary.key, target) in self._carried

    def _waits(self, boundary: Boundary, target: Region) -> bool:
        """Whether a region takes a value that has not arrived there."""
        taking = self.state.submissions.get(target)
        return (
            taking is not None
            and boundary.key in taking.fetches
            and boundary.key not in taking.arrived
        )

    def begin_again(self, target: Region, keys: Collection[Key]) -> None:
        """Carry once more what a region has lost with the worker that held it."""
        state = self.state
        lost = self._relay.find_lost(state.connections[target])
        for boundary in state.plan.boundaries:
            if target not in boundary.targets or not self._is_carried(boundary, target):
                continue
            making = state.submissions.get(boundary.source)
            mailed = mail_key(boundary.key, state.name)
            if (
                making is not None
                and boundary.key in making.sends
                and (boundary.key in keys or (mailed in lost and self._waits(boundary, target)))
            ):
                state.start(self._carry(boundary, [target]), boundary.source)

    async def _carry(self, boundary: Boundary, targets: list[Region]) -> None:
        """Carry a boundary value through this process to those who wait for it."""
        state, source = self.state, boundary.source
        state.check(source, state.plan.client, boundary.key, why="boundary")
        began = time.monotonic()
        attempts = {each: state.attempts[each] for each in (source, *targets)}
        wanted = wanted_key(boundary, state.name, relayed=False)
        if attempts[source]:
            wanted = remote.rename(wanted, str(attempts[source]))
        try:
            nbytes, is_receipt = await self._relay.carry(
                state.links.value_client(state.connections[source]),
                wanted,
                name=mail_key(boundary.key, state.name),
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
            # Those who fetch tell of the value, not of this.
            for target in targets:
                state.crossed(state.plan.client, target, nbytes)

    async def _find_cut(
        self, boundary: Boundary, attempts: Mapping[Region, int], error: Exception
    ) -> None:
        """Say why a value could not be carried: for a region that is gone, or a link."""
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
            state.start(self._carry(boundary, rest), boundary.source)

    def hear(self, told: Mapping[str, Any]) -> None:
        """Hear of a fetch that has no answer."""
        state = self.state
        source, target = Region.parse(told["source"]), Region.parse(told["target"])
        submission = state.submissions.get(target)
        fetches = {} if submission is None else submission.fetches
        found = [key for key, future in fetches.items() if future.key == told["key"]]
        if not found or source not in state.attempts:
            # Of an attempt that is over.
            return
        (key,) = found
        boundary = next(each for each in state.plan.boundaries if each.key == key)
        if not told["met"] and self.transfer == "auto" and not told["relayed"]:
            state.start(self._fall_back(boundary, target, told["unreachable"]), target)
            return
        tried = told["tried"] if told["met"] else state.retries + 1
        error = cut_off(state.connections[source], target, key, told["unreachable"])
        error.facts["met"] = told["met"]
        state.events.put_nowait(
            Unreached(
                region=target,
                key=key,
                source=source,
                attempt=told["attempt"],
                tried=tried,
                error=error,
            )
        )

    async def _fall_back(self, boundary: Boundary, target: Region, why: str) -> None:
        """Carry a value to a worker that does not reach the region that has it."""
        state, source = self.state, boundary.source
        if (boundary.key, target) in self._carried:
            return
        self._carried.add((boundary.key, target))
        attempt = state.attempts[source]
        if (gone := await find_gone(state.connections[source])) is not None:
            # Carried once it is opened again.
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
            state.tell("relayed", source=source, target=target, reason=why)
        if attempt == state.attempts[source] and source in state.submissions:
            state.start(self._carry(boundary, [target]), source)

    def close(self) -> None:
        """Let the regions forget what they were brought; may be called twice."""
        self._relay.close()
