"""What is found out of a run's regions before the first task is sent to any of them.

Versions of packages, and whether workers can read the sources that they are to read, with the
credentials that the graph carries. Everything is asked at once, and all that is wrong is
raised together. What was found good is remembered while its cluster lives, so that the next
run asks nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from distributed import Future
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from xr_locality.config import Severity
from xr_locality.endpoints.connection import Connection
from xr_locality.errors import EndpointError, LocalityError, SourceError, raise_together
from xr_locality.execution import remote
from xr_locality.execution.checks.environment import (
    COMPARED,
    compare,
    installed,
    needed_by,
)
from xr_locality.execution.checks.trial_reads import Read, reads_of
from xr_locality.execution.ship import Shipped, ship
from xr_locality.graph.layers import writes_chunks
from xr_locality.program.executable import Program, RegionProgram
from xr_locality.regions.region import Region
from xr_locality.regions.store import without_secrets
from xr_locality.runtime.timeouts import timeouts

__all__ = ["Preflight"]

logger = logging.getLogger(__name__)

_NAMES: Final = tuple(name for name in COMPARED if name != "python")

#: Before the tasks of any run.
_PRIORITY: Final = 1000

#: Names of layers that are remembered of one cluster; beyond, all are looked at again.
_MOST_LAYERS: Final = 50_000


@dataclass(slots=True)
class _Known:
    """What was found good of one cluster."""

    versions: bool = False
    #: What was said of its versions, once.
    reported: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)
    #: Addresses of workers whose versions were compared.
    workers: set[str] = field(default_factory=set)
    sources: set[Any] = field(default_factory=set)
    #: Layers of which packages and sources are known.
    layers: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class _Wanted:
    """What is to be asked of one cluster."""

    layers: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    reads: list[Read] = field(default_factory=list)


@dataclass(slots=True)
class _Answer:
    """What is wrong with one cluster: what stops a run, and what may."""

    problems: list[LocalityError] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Preflight:
    """Checks a session's clusters before each run, and remembers what it found.

    Attributes
    ----------
    doubts : list of str
        Texts of warnings; the runner takes them out and warns.
    """

    doubts: list[str] = field(default_factory=list)
    _known: WeakKeyDictionary[Connection, _Known] = field(default_factory=WeakKeyDictionary)

    async def check(
        self,
        program: Program,
        connections: Mapping[Region, Connection],
        *,
        versions: Severity,
        sources: Severity,
        seconds: float,
    ) -> None:
        """Raise if the graphs of a program cannot run where they are to run.

        Parameters
        ----------
        program : Program
            What is about to be run.
        connections : mapping of Region to Connection
            Those to look at, open: one for each of its regions, or for one opened again.
        versions, sources : {"error", "warn", "ignore"}
            What to make of versions that differ and of sources that cannot be read.
        seconds : float
            Seconds that a cluster may take to have a first worker.

        Raises
        ------
        EndpointError
            If a package is missing or of another version, or no worker comes.
        SourceError
            If a source cannot be read from a region that is to read it.
        LocalityErrorGroup
            If several things are wrong.
        """
        for part in program.regions:
            connection = connections.get(part.region)
            if connection is not None and part.has_references and not _is_here(connection):
                raise connection.failure(
                    "runs in other processes, and tasks of region 'local' hold objects of this "
                    "process: an array or file that they write to, or a file that is open here",
                    advice="Leave 'local' out of the endpoints: a cluster within this process "
                    "then runs them.",
                )
        if versions == sources == "ignore":
            return
        read_by = {name for source in program.plan.sources for name in source.layers}
        asked: list[_Region] = []
        for part in program.regions:
            connection = connections.get(part.region)
            if connection is None or _is_here(connection):
                continue
            known = self._known.setdefault(connection, _Known())
            wanted = await asyncio.to_thread(_want, part, known, read_by)
            asked.append(_Region(connection, known, wanted, versions=versions, sources=sources))
        answers = await asyncio.gather(*(each.ask(seconds) for each in asked))
        for answer in answers:
            self.doubts += answer.doubts
        raise_together(
            [problem for answer in answers for problem in answer.problems],
            message="The run was not started:",
        )

    @asynccontextmanager
    async def watching(
        self, connections: Mapping[Region, Connection], *, versions: Severity
    ) -> AsyncIterator[None]:
        """Compare workers that come while a run goes on inside; say what differs, stop nothing.

        Parameters
        ----------
        connections : mapping of Region to Connection
            Those of the run; looked at each time, for a region may be opened again.
        versions : {"error", "warn", "ignore"}
            With "ignore" nothing is looked at.
        """
        if versions == "ignore":
            yield
            return

        async def watch() -> None:
            while True:
                await self._compare_late(connections)
                await asyncio.sleep(timeouts().late_workers_poll)

        watching = asyncio.create_task(watch())
        try:
            yield
        except Exception:
            # It may be why.
            await self._compare_late(connections)
            raise
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    async def _compare_late(self, connections: Mapping[Region, Connection]) -> None:
        asked = [
            _Region(connection, known, _Wanted(), versions="warn", sources="ignore")
            for connection in connections.values()
            if connection.alive
            and not _is_here(connection)
            and (known := self._known.get(connection)) is not None
        ]
        for answer in await asyncio.gather(*(each.compare_late() for each in asked)):
            self.doubts += answer.doubts


def _is_here(connection: Connection) -> bool:
    """Whether it is within this process, where nothing differs from it."""
    return connection.scheduler_address.startswith("inproc://")


def _want(part: RegionProgram, known: _Known, read_by: Iterable[str]) -> _Wanted:
    """Look through the layers that were not looked through before."""
    if len(known.layers) > _MOST_LAYERS:
        known.layers.clear()
    layers = {name: layer for name, layer in part.graph.layers.items() if name not in known.layers}
    reading = [
        layers[name] for name in read_by if name in layers and not writes_chunks(layers[name])
    ]
    return _Wanted(
        layers=frozenset(layers),
        packages=needed_by(layers.values()) - known.packages,
        reads=[each for each in reads_of(reading) if each.store not in known.sources],
    )


@dataclass(slots=True)
class _Region:
    """The questions to one region."""

    connection: Connection
    known: _Known
    wanted: _Wanted
    versions: Severity = field(kw_only=True)
    sources: Severity = field(kw_only=True)
    answer: _Answer = field(default_factory=_Answer)
    #: Who has versions with which graphs made here need not run.
    _serious: set[str] = field(default_factory=set)
    #: Whether no worker has answered, in time or at all.
    _is_late: bool = False

    async def ask(self, seconds: float) -> _Answer:
        """Ask what is not known yet: the scheduler, which is there, before any worker."""
        comparing = self.versions != "ignore" and (
            not self.known.versions or bool(self.wanted.packages)
        )
        if comparing:
            await self._compare("scheduler", self._scheduler_versions)
        if not self.answer.problems and (comparing or self._anything()):
            await self._look(seconds)
        if comparing and not self._is_late and "scheduler" not in self._serious:
            # Now that there is one.
            await self._compare("workers", self._worker_versions)
        if not self.answer.problems:
            self.known.versions = self.known.versions or comparing
            if "ignore" not in (self.versions, self.sources):
                self.known.layers |= self.wanted.layers
        return self.answer

    def _anything(self) -> bool:
        packages = self.wanted.packages if self.versions != "ignore" else ()
        reads = self.wanted.reads if self.sources != "ignore" else ()
        return bool(packages or reads)

    async def _scheduler_versions(self) -> list[Mapping[str, Any]]:
        return [await self._scheduler.versions(packages=_NAMES)]

    @property
    def _scheduler(self) -> Any:
        return self.connection.scheduler

    async def _worker_versions(self, *, but: Collection[str] = ()) -> list[Mapping[str, Any]]:
        # Those that come meanwhile are late.
        addresses = sorted(set(await self._scheduler.ncores()).difference(but))
        if not addresses:
            return []
        answers = await self._scheduler.broadcast(
            msg={"op": "versions", "packages": _NAMES}, workers=addresses, on_error="ignore"
        )
        self.known.workers |= {address for address, each in answers.items() if each}
        return [each for each in answers.values() if each]

    async def compare_late(self) -> _Answer:
        """Compare the workers that were not there at the last look."""
        try:
            async with asyncio.timeout(timeouts().version_lost):
                answers = await self._worker_versions(but=self.known.workers)
        except (OSError, TimeoutError):
            # Whether it is lost is the run's to find out.
            return self.answer
        self._note_versions("workers that came late", answers)
        return self.answer

    async def _compare(
        self, who: str, ask: Callable[[], Awaitable[list[Mapping[str, Any]]]]
    ) -> None:
        """Compare versions; no code of ours is sent, for another Python might not run it."""
        try:
            async with asyncio.timeout(timeouts().version_answer):
                answers = await ask()
        except (OSError, TimeoutError) as error:
            self.answer.problems.append(
                self.connection.failure(
                    f"did not report the versions of its {who} within "
                    f"{timeouts().version_answer:g} seconds "
                    f"({type(error).__name__})",
                    advice="See whether it still runs.",
                    reached=False,
                )
            )
            return
        self._note_versions(who, answers)

    def _note_versions(self, who: str, answers: list[Mapping[str, Any]]) -> None:
        here = installed(COMPARED)
        needed = self.known.packages | self.wanted.packages
        found = {one for each in answers for one in compare(here, each["packages"], needed)}
        differences = sorted(found, key=lambda one: (one.package, one.there))
        for one in differences:
            if one.serious:
                self._serious.add(who)
                self._note_version(
                    f"has {one.package} {one.there} on its {who}, and this machine has {one.here}",
                    f"Graphs made here need not run there. Use the same {one.package} in both: "
                    "another image there, or another environment here",
                    package=one.package,
                    here=one.here,
                    there=one.there,
                )
        slight = [
            f"{one.package} {one.there} ({one.here} here)" for one in differences if not one.serious
        ]
        if slight:
            self._doubt(
                f"Region {str(self.connection.region)!r}: {self.connection.endpoint.describe()} "
                f"has {', '.join(slight)} on its {who}. version_check='ignore' compares nothing."
            )

    async def _look(self, seconds: float) -> None:
        """Have one worker look at its packages and read a little of each source."""
        modules = sorted(self.wanted.packages) if self.versions != "ignore" else []
        reads = self.wanted.reads if self.sources != "ignore" else []
        readiness = remote.Readiness(
            modules, [ship(each.try_out) for each in reads], timeouts().trial_reads
        )
        client = self.connection.client
        future: Future[Any] = client.submit(
            Shipped(readiness),
            key=f"xr-locality-preflight-{secrets.token_hex(8)}",
            pure=False,
            priority=_PRIORITY,
        )
        try:
            async with asyncio.timeout(seconds):
                missing = set(
                    await client.run_on_scheduler(Shipped(remote.missing), modules)
                    if modules
                    else ()
                )
                found = await future
        except TimeoutError:
            await self._late(seconds)
            return
        except Exception as error:  # noqa: BLE001 - whatever unpickling our code there raises
            if (lost := await self._lost(error)) is not None:
                self._is_late = True
                self.answer.problems.append(lost)
                return
            self._note_version(
                f"could not run what was sent to look at it ({type(error).__name__})",
                "Its Python packages may not fit this machine's",
            )
            return
        finally:
            future.release()
        self._note_missing(missing | set(found["missing"]))
        self._note_reads(reads, found["problems"])

    async def _late(self, seconds: float) -> None:
        """Tell a cluster without workers from one whose workers are busy."""
        self._is_late = True
        if (lost := await self._lost()) is not None:
            self.answer.problems.append(lost)
            return
        # What an asynchronous client knows by itself lists no workers.
        n_workers = len(await self._scheduler.ncores())
        if n_workers:
            logger.warning(
                "Region %s: its %d workers are busy; packages and sources were not looked at",
                self.connection.region,
                n_workers,
            )
            return
        self.answer.problems.append(
            self.connection.failure(
                f"has no worker after {seconds:g} seconds",
                advice="It may be waiting for machines: raise start_timeout, or ask for less.",
                reached=False,
            )
        )

    async def _lost(self, error: Exception | None = None) -> EndpointError | None:
        """Say that the cluster was lost while it was looked at; None if it is there."""
        try:
            async with asyncio.timeout(timeouts().version_lost):
                await self.connection.check(deadline_seconds=timeouts().version_lost)
                await self._scheduler.ncores()
        except EndpointError as gone:
            return gone
        except (OSError, TimeoutError) as gone:
            error = gone
        else:
            if not isinstance(error, CommClosedError | FutureCancelledError):
                return None
        return self.connection.failure(
            f"was lost while its packages and sources were looked at ({type(error).__name__})",
            advice="See whether its cluster still runs, and run again.",
            reached=False,
        )

    def _note_missing(self, missing: set[str]) -> None:
        for package in sorted(missing):
            self._note_version(
                f"lacks the package {package!r}, which the graph needs there",
                "Install it in the cluster's image",
                package=package,
                here=installed([package]).get(package),
                there=None,
            )
        if not missing:
            self.known.packages |= self.wanted.packages

    def _note_reads(self, reads: list[Read], problems: Mapping[int, tuple[str, str]]) -> None:
        for number, read in enumerate(reads):
            if number not in problems:
                self.known.sources.add(read.store)
                continue
            kind, words = problems[number]
            region = str(self.connection.region)
            error = SourceError(
                f"{read.store.url!r} cannot be read by the workers of region {region!r} "
                f"({kind}: {without_secrets(words)}). Check that they have its credentials and "
                "may reach it; source_check='ignore' does not try.",
                url=read.store.url,
                region=region,
                kind=kind,
            )
            if self.sources == "error":
                self.answer.problems.append(error)
            else:
                self.answer.doubts.append(str(error))

    def _note_version(self, what: str, advice: str, **facts: Any) -> None:
        problem = self.connection.failure(
            what, advice=f"{advice}; version_check='warn' or 'ignore' goes on regardless."
        )
        if self.versions == "warn":
            self._doubt(str(problem))
        else:
            self.answer.problems.append(EndpointError(str(problem), **{**problem.facts, **facts}))

    def _doubt(self, text: str) -> None:
        if text not in self.known.reported:
            self.known.reported.add(text)
            self.answer.doubts.append(text)
