"""The run as a pure state machine: events in, instructions out, no I/O.

Each partition is submitted once. Fetches in it wait for the producers by
themselves, so nothing has to be decided while values cross; what is decided
here is when to gather results, when a value may be released, what to do about a
region that is lost, and how a run ends.

A lost region is opened again, and the part of its partition that is unfinished is
submitted again: results that have not arrived, and boundary values that others
have not fetched. What has arrived stays. Each submission of a region is an
attempt, with keys of its own; events of an earlier attempt change nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from dask.typing import Key

from xr_locality.execution.events import (
    Cancel,
    Computed,
    Event,
    Failed,
    Fetched,
    Finish,
    Gather,
    Gathered,
    Instruction,
    Lost,
    Release,
    Reopen,
    Reopened,
    Submit,
    Submitted,
    Unreached,
    Vanished,
    Verify,
)
from xr_locality.regions.region import Region

__all__ = ["PartitionKeys", "RunMachine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionKeys:
    """What one partition owes: results to the client, values to other regions.

    Attributes
    ----------
    outputs : frozenset of key
        Results.
    sends : mapping of key to frozenset of Region
        Boundary values and the regions that fetch them.
    fetches : frozenset of key
        Boundary values that it takes.
    """

    outputs: frozenset[Key]
    sends: Mapping[Key, frozenset[Region]]
    fetches: frozenset[Key]


class _State(enum.Enum):
    RUNNING = "running"
    #: Lost, and nothing of it is needed, so far.
    AWAY = "away"
    REOPENING = "reopening"
    #: None of its values is needed any more.
    COMPLETE = "complete"


@dataclass(slots=True)
class _Part:
    """How far one region is."""

    keys: PartitionKeys
    #: Results that have not arrived at the client.
    owed: set[Key]
    #: Boundary values that the present attempt makes.
    makes: set[Key]
    #: Boundary values that the present attempt takes, and those of them that it has.
    needs: set[Key]
    has: set[Key] = field(default_factory=set)
    #: How often the present attempt has lost a value that it takes, by value.
    copies: dict[Key, int] = field(default_factory=dict)
    asked: set[Key] = field(default_factory=set)
    state: _State = _State.RUNNING
    attempt: int = 0
    #: How often a new cluster was opened, and how often the same was found again.
    reopened: int = 0
    returned: int = 0
    verifying: bool = False
    #: Why it is not running.
    error: BaseException | None = None


@dataclass(slots=True)
class RunMachine:
    """Decides what happens next in a run.

    Parameters
    ----------
    partitions : mapping of Region to PartitionKeys
        What each region owes.
    retries : int, optional
        How often a fetch may find no answer with patience and try again, and how often
        a region may lose sight of us and be found again.
    reopenings : int, optional
        How often a region's cluster may be lost and a new one opened.
    stay : bool, optional
        Whether results stay in their regions: one that has arrived is lost with its
        region, and nothing is released before the end.

    Examples
    --------
    >>> here, there = Region.parse("aws:us-west-2"), Region.parse("gcp:us-central1")
    >>> machine = RunMachine({
    ...     here: PartitionKeys(
    ...         outputs=frozenset({"y"}), sends={}, fetches=frozenset({"x"})
    ...     ),
    ...     there: PartitionKeys(
    ...         outputs=frozenset(), sends={"x": frozenset({here})}, fetches=frozenset()
    ...     ),
    ... })
    >>> [str(instruction.region) for instruction in machine.start()]
    ['aws:us-west-2', 'gcp:us-central1']
    >>> machine.handle(Computed(region=here, key="y"))
    [Gather(region=Region('aws:us-west-2'), key='y')]
    >>> machine.handle(Gathered(region=here, keys=("y",)))[-1]
    Finish(error=None)
    """

    partitions: Mapping[Region, PartitionKeys]
    retries: int = 3
    reopenings: int = 1
    stay: bool = False
    ended: bool = False
    _parts: dict[Region, _Part] = field(default_factory=dict)
    #: Regions that still may fetch a boundary value again, by value.
    _holding: dict[tuple[Region, Key], set[Region]] = field(default_factory=dict)

    def start(self) -> list[Instruction]:
        """Begin: every partition is submitted at once, in order of the regions."""
        for region, keys in sorted(self.partitions.items()):
            self._parts[region] = _Part(
                keys=keys,
                owed=set(keys.outputs),
                makes=set(keys.sends),
                needs=set(keys.fetches),
            )
            for key, targets in keys.sends.items():
                self._holding[region, key] = set(targets)
        submits: list[Instruction] = [
            Submit(
                region=region,
                attempt=0,
                outputs=frozenset(part.keys.outputs),
                sends=frozenset(part.keys.sends),
            )
            for region, part in self._parts.items()
        ]
        return submits if self._owes() else [*submits, *self._end(None)]

    def handle(self, event: Event) -> list[Instruction]:
        """Handle one event, and return the instructions that follow.

        Events after the end, events repeated, and events of attempts that are over
        change nothing.
        """
        if self.ended:
            return []
        part = self._parts[event.region]
        if isinstance(event, Submitted | Computed | Fetched | Vanished):
            return self._proceed(part, event)
        match event:
            case Failed(error=error):
                return self._end(error)
            case Lost(attempt=attempt, error=error):
                if part.state is not _State.RUNNING or attempt != part.attempt:
                    return []
                return self._lose(part, error)
            case Reopened(region=region, anew=anew):
                if part.state is not _State.REOPENING:
                    return []
                part.reopened += anew
                part.returned += not anew
                part.state = _State.AWAY
                return self._demand(back=region)
            case Unreached(source=source, key=key, attempt=attempt):
                if part.state is not _State.RUNNING or key in part.has:
                    return []
                return self._doubt(source, attempt, event)
            case Gathered(region=region, keys=keys, attempt=attempt):
                # Wherever it was made, what has arrived is there.
                if self.stay and (part.state is not _State.RUNNING or attempt != part.attempt):
                    return []
                part.owed.difference_update(keys)
                return self._settle() if self._owes() else self._end(None)

    def _proceed(
        self, part: _Part, event: Submitted | Computed | Fetched | Vanished
    ) -> list[Instruction]:
        """Take in what a region has done in its present attempt."""
        if part.state is not _State.RUNNING or event.attempt != part.attempt:
            return []
        match event:
            case Submitted(fetches=fetches):
                part.needs = set(fetches)
                return self._demand()
            case Computed(region=region, key=key):
                if key in part.asked or key not in part.owed:
                    return []
                part.asked.add(key)
                return [Gather(region=region, key=key)]
            case Fetched(key=key, copy=copy):
                # The value is kept until the partition that took it is complete: if
                # the worker that holds it is lost, the fetch runs again.
                if copy >= part.copies.get(key, 0):
                    part.has.add(key)
                return []
            case Vanished(key=key, copy=copy):
                if copy < part.copies.get(key, 0):
                    return []
                part.copies[key] = copy + 1
                part.has.discard(key)
                return self._demand()

    def _owes(self) -> bool:
        return any(part.owed for part in self._parts.values())

    def _lose(self, part: _Part, error: BaseException) -> list[Instruction]:
        part.state, part.error, part.verifying = _State.AWAY, error, False
        if self.stay:
            part.owed = set(part.keys.outputs)
        _forget(part)
        return self._demand()

    def _doubt(self, source: Region, attempt: int, event: Unreached) -> list[Instruction]:
        """Give a link up, unless it is the region behind it that is gone."""
        part = self._parts[source]
        if (
            part.state is not _State.RUNNING
            or part.verifying
            or attempt != part.attempt
            or event.tried <= self.retries
        ):
            return []
        part.verifying = True
        return [Verify(region=source, attempt=attempt, error=event.error)]

    def _demand(self, *, back: Region | None = None) -> list[Instruction]:
        """Have every value that is needed computed.

        Regions that are away are opened again where something of theirs is needed;
        those that run and do not make it, because it was there, start again.
        """
        instructions: dict[Region, Instruction] = {}
        changed = True
        while changed:
            changed = False
            for region, part in self._parts.items():
                wanted = self._wanted(region)
                if part.state is _State.AWAY and (part.owed or wanted):
                    if region == back:
                        instructions[region] = self._submit(region, wanted)
                    elif part.returned > self.retries:
                        return self._end(part.error)
                    else:
                        part.state = _State.REOPENING
                        instructions[region] = Reopen(
                            region=region, anew=part.reopened < self.reopenings
                        )
                    changed = True
                elif part.state is _State.RUNNING and not wanted <= part.makes:
                    instructions[region] = self._submit(region, wanted)
                    changed = True
        return list(instructions.values())

    def _wanted(self, region: Region) -> set[Key]:
        """List a region's boundary values that others need and do not have."""
        return {
            key
            for key, targets in self._parts[region].keys.sends.items()
            if any(_lacks(self._parts[target], key) for target in targets)
        }

    def _submit(self, region: Region, wanted: set[Key]) -> Submit:
        part = self._parts[region]
        part.attempt += 1
        part.state = _State.RUNNING
        _forget(part)
        part.makes = wanted
        return Submit(
            region=region,
            attempt=part.attempt,
            outputs=frozenset(part.owed),
            sends=frozenset(wanted),
        )

    def _settle(self) -> list[Instruction]:
        """Release what regions that owe nothing any more have made and taken."""
        released: list[Instruction] = []
        settled = not self.stay
        while settled:
            settled = False
            for region, part in self._parts.items():
                if part.state is _State.COMPLETE or part.owed or self._still_sends(region):
                    continue
                part.state = _State.COMPLETE
                settled = True
                released += self._release(region)
        return released

    def _still_sends(self, region: Region) -> bool:
        return any(self._holding[region, key] for key in self.partitions[region].sends)

    def _release(self, region: Region) -> list[Instruction]:
        released: list[Instruction] = []
        fetches = self.partitions[region].fetches
        if fetches:
            released.append(Release(region=region, sends=frozenset(), fetches=fetches))
        for source in self._parts:
            free = set()
            for key in self.partitions[source].sends:
                holders = self._holding[source, key]
                if region in holders:
                    holders.discard(region)
                    if not holders:
                        free.add(key)
            if free:
                released.append(Release(region=source, sends=frozenset(free), fetches=frozenset()))
        return released

    def _end(self, error: BaseException | None) -> list[Instruction]:
        self.ended = True
        cancels: list[Instruction] = []
        if error is not None:
            cancels = [Cancel(region=region) for region in self._parts]
        return [*cancels, Finish(error=error)]


def _forget(part: _Part) -> None:
    """Begin again with nothing: what an attempt takes is known once it is submitted."""
    part.asked.clear()
    part.has.clear()
    part.copies.clear()
    part.makes = set()
    part.needs = set(part.keys.fetches)


def _lacks(part: _Part, key: Key) -> bool:
    """Whether a region needs a value that it does not have."""
    return (
        part.state in (_State.RUNNING, _State.REOPENING)
        and key in part.needs
        and key not in part.has
    )
