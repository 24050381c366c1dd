"""The run as a pure state machine: events in, instructions out, no I/O.

Each partition is submitted once. Fetches in it wait for the producers by
themselves, so nothing has to be decided while values cross; what is decided
here is when to gather results, when a value may be released, and how a run ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dask.typing import Key

from xr_locality.regions.model import Region

__all__ = [
    "Cancel",
    "Computed",
    "Event",
    "Failed",
    "Fetched",
    "Finish",
    "Gather",
    "Gathered",
    "Instruction",
    "PartitionKeys",
    "Release",
    "RunMachine",
    "Submit",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """A result is ready in a region."""

    region: Region
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A boundary value has arrived in a region."""

    region: Region
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Results have arrived at the client."""

    region: Region
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A region's task failed, or the region itself was lost."""

    region: Region
    error: BaseException


Event: TypeAlias = Computed | Fetched | Gathered | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Send a region its partition."""

    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """Bring a result to the client."""

    region: Region
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Let a region forget boundary values, made or fetched, that nobody needs any more."""

    region: Region
    sends: frozenset[Key]
    fetches: frozenset[Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a region's work on the run."""

    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """End the run, with an error or without."""

    error: BaseException | None = None


Instruction: TypeAlias = Submit | Gather | Release | Cancel | Finish


@dataclass(slots=True)
class RunMachine:
    """Decides what happens next in a run.

    Parameters
    ----------
    partitions : mapping of Region to PartitionKeys
        What each region owes.

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
    #: Results that have not arrived at the client yet, by region.
    owed: dict[Region, set[Key]] = field(default_factory=dict)
    #: Regions that still may fetch a boundary value again, by value.
    holding: dict[tuple[Region, Key], set[Region]] = field(default_factory=dict)
    asked: set[tuple[Region, Key]] = field(default_factory=set)
    complete: set[Region] = field(default_factory=set)
    ended: bool = False

    def start(self) -> list[Instruction]:
        """Begin: every partition is submitted at once, in order of the regions."""
        for region, keys in self.partitions.items():
            self.owed[region] = set(keys.outputs)
            for key, targets in keys.sends.items():
                self.holding[region, key] = set(targets)
        submits: list[Instruction] = [Submit(region=region) for region in sorted(self.partitions)]
        return submits if any(self.owed.values()) else [*submits, *self._end(None)]

    def handle(self, event: Event) -> list[Instruction]:
        """Take in one event; tell what to do about it.

        Events after the end, and events told twice, change nothing.
        """
        if self.ended:
            return []
        match event:
            case Computed(region=region, key=key):
                if (region, key) in self.asked or key not in self.owed[region]:
                    return []
                self.asked.add((region, key))
                return [Gather(region=region, key=key)]
            case Gathered(region=region, keys=keys):
                self.owed[region].difference_update(keys)
                if not any(self.owed.values()):
                    return self._end(None)
                return self._settle()
            case Failed(error=error):
                return self._end(error)
            case Fetched():
                # The value is kept until the partition that took it is complete: if
                # the worker that holds it is lost, the fetch runs again.
                return []

    def _settle(self) -> list[Instruction]:
        """Release what regions that owe nothing any more have made and taken."""
        released: list[Instruction] = []
        settled = True
        while settled:
            settled = False
            for region in sorted(self.partitions):
                if region in self.complete or self.owed[region] or self._still_sends(region):
                    continue
                self.complete.add(region)
                settled = True
                released += self._release(region)
        return released

    def _still_sends(self, region: Region) -> bool:
        return any(self.holding[region, key] for key in self.partitions[region].sends)

    def _release(self, region: Region) -> list[Instruction]:
        released: list[Instruction] = []
        fetches = self.partitions[region].fetches
        if fetches:
            released.append(Release(region=region, sends=frozenset(), fetches=fetches))
        for source in sorted(self.partitions):
            free = set()
            for key in self.partitions[source].sends:
                holders = self.holding[source, key]
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
            cancels = [Cancel(region=region) for region in sorted(self.partitions)]
        return [*cancels, Finish(error=error)]
