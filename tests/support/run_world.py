"""Clusters, workers and links as a run sees them, which fail when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random

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
from xr_locality.execution.machine import PartitionKeys, RunMachine
from xr_locality.regions.region import Region

#: Share of what happens that are faults, and of these that end the run.
_FAULTS, _INTERRUPTS = 0.2, 0.02


@dataclass
class Cluster:
    """What one region's cluster was sent, and has."""

    alive: bool = True
    #: Whether it knows of the run: not after it was lost, before it is sent the rest.
    known: bool = False
    attempt: int = 0
    outputs: frozenset[Key] = frozenset()
    sends: frozenset[Key] = frozenset()
    fetches: frozenset[Key] = frozenset()
    made: set[Key] = field(default_factory=set)
    has: set[Key] = field(default_factory=set)
    copies: dict[Key, int] = field(default_factory=dict)
    asked: set[Key] = field(default_factory=set)
    released: set[Key] = field(default_factory=set)


class World:
    """Carries out a machine's instructions, and tells it what happens, one act at a time."""

    def __init__(
        self,
        partitions: Mapping[Region, PartitionKeys],
        *,
        chance: Random,
        reopenings: int,
    ) -> None:
        self.partitions = partitions
        self.chance = chance
        self.machine = RunMachine(partitions, reopenings=reopenings)
        self.clusters = {region: Cluster() for region in partitions}
        self.events: list[Event] = []
        self.told: list[Event] = []
        self.arrived: set[tuple[Region, Key]] = set()
        self.errors: list[BaseException] = []
        self.cancelled: list[Region] = []
        self.finish: Finish | None = None
        #: What is still to be carried out: reopenings and looks take their time.
        self.pending: list[Reopen | Verify] = []
        self._carry_out(self.machine.start())

    def act(self, *, faults: bool) -> None:
        """Let one thing happen."""
        acts = self._progress()
        if faults and self.chance.random() < _FAULTS:
            acts = self._faults()
        if acts:
            self.chance.choice(acts)()

    def needs(self, region: Region, key: Key) -> set[Key]:
        """Say what a task takes from other regions: of values to be sent, earlier ones."""
        fetches = sorted(self.partitions[region].fetches, key=str)
        if key in self.partitions[region].sends:
            return {each for each in fetches if str(each) < str(key)}
        return set(fetches[: 1 + len(str(key)) % 2])

    def _progress(self) -> list[Callable[[], None]]:
        acts: list[Callable[[], None]] = []
        if self.events:
            acts.append(self._deliver)
        acts += [partial(self._settle, each) for each in self.pending]
        for region, cluster in self.clusters.items():
            if not (cluster.alive and cluster.known):
                continue
            for key in sorted((cluster.outputs | cluster.sends) - cluster.made, key=str):
                if self.needs(region, key) <= cluster.has and key not in cluster.released:
                    acts.append(partial(self._make, region, key))
            for key in sorted(cluster.fetches - cluster.has - cluster.released, key=str):
                if self._is_there(key):
                    acts.append(partial(self._fetch, region, key))
            for key in sorted(cluster.asked & cluster.made, key=str):
                acts.append(partial(self._gather, region, key))
        return acts

    def _faults(self) -> list[Callable[[], None]]:
        acts: list[Callable[[], None]] = []
        for region, cluster in self.clusters.items():
            if cluster.known:
                acts.append(partial(self._lose, region, alive=False))
                acts.append(partial(self._lose, region, alive=True))
                acts.append(partial(self._lose_worker, region))
                waiting = sorted(cluster.fetches - cluster.has, key=str)
                acts += [partial(self._break_link, region, key) for key in waiting]
        if self.told:
            acts.append(lambda: self.events.append(self.chance.choice(self.told)))
        if self.chance.random() < _INTERRUPTS:
            acts = [self._interrupt]
        return acts

    def _deliver(self) -> None:
        event = self.events.pop(0)
        if not isinstance(event, Reopened | Failed):
            # Those are answers, which are given once.
            self.told.append(event)
        if isinstance(event, Gathered):
            self.arrived |= {(event.region, key) for key in event.keys}
        self._carry_out(self.machine.handle(event))

    def _carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            assert self.finish is None, "nothing is told after the end"
            match instruction:
                case Submit(region=region):
                    self._submit(region, instruction)
                case Reopen() | Verify():
                    self.pending.append(instruction)
                case Gather(region=region, key=key):
                    self.clusters[region].asked.add(key)
                case Release(region=region, sends=sends, fetches=fetches):
                    self._check_release(region, sends)
                    self.clusters[region].released |= sends | fetches
                case Cancel(region=region):
                    self.cancelled.append(region)
                case Finish():
                    self.finish = instruction

    def _submit(self, region: Region, told: Submit) -> None:
        before = self.clusters[region]
        if not before.alive:
            # What is sent to a cluster that is gone tells that it is.
            before.attempt = told.attempt
            self._tell_lost(region, told.attempt)
            return
        fetches: set[Key] = set()
        for key in told.outputs | told.sends:
            fetches |= self.needs(region, key)
        self.clusters[region] = Cluster(
            known=True,
            attempt=told.attempt,
            outputs=told.outputs,
            sends=told.sends,
            fetches=frozenset(fetches) if told.attempt else self.partitions[region].fetches,
        )
        if told.attempt:
            self.events.append(
                Submitted(region=region, attempt=told.attempt, fetches=frozenset(fetches))
            )

    def _is_there(self, key: Key) -> bool:
        return any(
            each.alive and each.known and key in each.made and key not in each.released
            for region, each in self.clusters.items()
            if key in self.partitions[region].sends
        )

    def _make(self, region: Region, key: Key) -> None:
        cluster = self.clusters[region]
        cluster.made.add(key)
        if key in cluster.outputs:
            self.events.append(Computed(region=region, key=key, attempt=cluster.attempt))

    def _fetch(self, region: Region, key: Key) -> None:
        cluster = self.clusters[region]
        cluster.has.add(key)
        copy = cluster.copies.get(key, 0)
        self.events.append(Fetched(region=region, key=key, attempt=cluster.attempt, copy=copy))

    def _gather(self, region: Region, key: Key) -> None:
        cluster = self.clusters[region]
        cluster.asked.discard(key)
        self.events.append(Gathered(region=region, keys=(key,), attempt=cluster.attempt))

    def _settle(self, told: Reopen | Verify) -> None:
        """End what takes its time: coming back to a region, looking after one."""
        self.pending.remove(told)
        cluster = self.clusters[told.region]
        if isinstance(told, Verify):
            if cluster.alive and cluster.known:
                self.errors.append(told.error)
                self.events.append(Failed(region=told.region, error=told.error))
            else:
                self._tell_lost(told.region, told.attempt)
        elif cluster.alive:
            self.events.append(Reopened(region=told.region, anew=False))
        elif told.anew:
            cluster.alive = True
            self.events.append(Reopened(region=told.region, anew=True))
        else:
            self._fail(told.region)

    def _lose(self, region: Region, *, alive: bool) -> None:
        cluster = self.clusters[region]
        cluster.alive, cluster.known = alive, False
        self._tell_lost(region, cluster.attempt)

    def _tell_lost(self, region: Region, attempt: int) -> None:
        error = ConnectionError("lost")
        self.errors.append(error)
        self.events.append(Lost(region=region, attempt=attempt, error=error))

    def _lose_worker(self, region: Region) -> None:
        cluster = self.clusters[region]
        for key in sorted(cluster.has, key=str):
            cluster.has.discard(key)
            copy = cluster.copies.get(key, 0)
            cluster.copies[key] = copy + 1
            self.events.append(Vanished(region=region, key=key, attempt=cluster.attempt, copy=copy))
        cluster.made.clear()

    def _break_link(self, region: Region, key: Key) -> None:
        (source,) = (each for each, keys in self.partitions.items() if key in keys.sends)
        self.events.append(
            Unreached(
                region=region,
                key=key,
                source=source,
                attempt=self.clusters[source].attempt,
                tried=self.chance.choice([1, 1, 1, 9]),
                error=ConnectionError("no answer"),
            )
        )

    def _interrupt(self) -> None:
        self._fail(next(iter(self.partitions)))

    def _fail(self, region: Region) -> None:
        error = RuntimeError("it broke")
        self.errors.append(error)
        self.events.append(Failed(region=region, error=error))

    def _check_release(self, region: Region, sends: frozenset[Key]) -> None:
        """Check that nobody can need a value any more that is released."""
        for key in sends:
            for target in self.partitions[region].sends[key]:
                owed = {(target, made) for made in self.partitions[target].outputs}
                assert owed <= self.arrived
