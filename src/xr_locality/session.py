"""Sessions: the endpoints and the policy of a run, and the default made from config."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from dask.base import get_annotations
from dask.typing import Key

from xr_locality import config
from xr_locality.config import Settings
from xr_locality.errors import (
    EndpointError,
    ExecutionError,
    LocalityError,
    LocalityWarning,
)
from xr_locality.execution.awaiting import Cancellation, awaited
from xr_locality.graph.collections import Bundle, unpack
from xr_locality.graph.held import HeldValue, hold
from xr_locality.placement.costs import CostModel
from xr_locality.plan.build import build_plan
from xr_locality.plan.circumstances import Circumstances
from xr_locality.plan.model import Plan
from xr_locality.plan.portable import open_files_again
from xr_locality.plan.residency import Residency
from xr_locality.regions.allowed import Allowed
from xr_locality.regions.detect import Chain
from xr_locality.regions.model import LOCAL, Region

if TYPE_CHECKING:
    from distributed import Future

    from xr_locality.endpoints import Connection, Endpoint, EndpointPool
    from xr_locality.endpoints.base import EndpointFacts
    from xr_locality.endpoints.clusters import ClusterFacts
    from xr_locality.execution.audit import Audit
    from xr_locality.execution.gathering import Kept
    from xr_locality.execution.loop import BackgroundLoop
    from xr_locality.execution.preflight import Preflight
    from xr_locality.execution.progress import Callback, Watchers
    from xr_locality.execution.report import Report
    from xr_locality.execution.shared import Shared
    from xr_locality.execution.transfer import Links

__all__ = ["Session", "current_session"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Reports that a session keeps; the oldest go.
_REPORTS = 100

# Contexts are copied by whatever runs meanwhile, and some copies live as long as the
# process: they must not keep a session, with its plans and the files that these hold open.
_current: ContextVar[weakref.ref[Session] | None] = ContextVar("xr_locality_session", default=None)


class Session:
    """The endpoints and the policy of some runs.

    A context manager: inside it, ``ds.locality.compute()`` uses this session.
    Endpoints are opened when a plan first needs them, in parallel, stay open
    for the next run, and are closed at the end: those that sessions opened. Sessions
    of a process with equal endpoints share them; the last one to close closes them.

    Parameters
    ----------
    endpoints : mapping of str or Region to endpoint, optional
        Where each region's scheduler is: a :class:`GatewayEndpoint`, a
        scheduler's address, a ``distributed.Client``, a cluster object, or a
        mapping as in the configuration. By default those of the configuration.
    **policy : Any
        Settings by name: ``objective``, ``max_egress``, ``missing_endpoint``,
        ``unknown_region``, ``remote_read``, ``transfer``, ``retries``,
        ``progress``, ``client_region``, ``rules``, ``prices``, ``start_timeout``,
        ``lease``, ``state_directory``, ``probe``, ``probe_timeout``, ``cache_directory``,
        ``allowed_regions``, ``version_check``, ``source_check``, ``audit_log``, ``audit_required``.

    Raises
    ------
    ConfigurationError
        If a setting or an endpoint cannot be understood.

    Examples
    --------
    >>> with Session({"aws:us-west-2": None}, objective="bytes") as session:
    ...     session.regions
    (Region('aws:us-west-2'),)
    """

    def __init__(
        self,
        endpoints: Mapping[str, Any]
        | Mapping[Region, Any]
        | Mapping[str | Region, Any]
        | None = None,
        **policy: Any,
    ) -> None:
        if endpoints is not None:
            policy["endpoints"] = {str(region): each for region, each in endpoints.items()}
        self._policy = policy
        self._settings = config.read(**policy)
        self._endpoints = _to_endpoints(self._settings)
        self._lock = threading.RLock()
        self._preflight: Preflight | None = None
        self._shared: Shared | None = None
        self._of_parent = False
        self._tokens: list[Token[weakref.ref[Session] | None]] = []
        #: What runs on the loop.
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._told_local = False
        #: Pairs of regions of which it was said that values go by way of this machine.
        self._told_relay: set[tuple[Region, Region]] = set()
        #: What was measured, the latest last.
        self.reports: list[Report] = []
        _all_sessions.add(self)

    @property
    def _pool(self) -> EndpointPool | None:
        return None if self._shared is None else self._shared.pool

    @property
    def _loop(self) -> BackgroundLoop | None:
        return None if self._shared is None else self._shared.loop

    @property
    def _links(self) -> Links | None:
        return None if self._shared is None else self._shared.links

    @classmethod
    def current(cls) -> Session:
        """Get the session of the enclosing ``with``, else the default made from config."""
        return current_session()

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions that have an endpoint."""
        return tuple(sorted(self._endpoints))

    def settings(self, **policy: Any) -> Settings:
        """Read the settings for one call: its own, else the session's, else the configured."""
        return config.read(**self._merge(policy))

    def plan(self, *collections: Any, **policy: Any) -> Plan:
        """Decide what would run where, without starting anything.

        Parameters
        ----------
        *collections : Any
            As :func:`xr_locality.plan` takes them.
        **policy : Any
            Settings for this plan alone. ``endpoints={"aws:us-east-1": None}``
            plans for endpoints that are only named.

        Returns
        -------
        Plan
        """
        return self._plan(unpack(*collections), **policy)

    @overload
    def compute(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: Literal[False] = False,
        **policy: Any,
    ) -> tuple[Any, ...]: ...

    @overload
    def compute(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: Literal[True],
        **policy: Any,
    ) -> Coroutine[Any, Any, tuple[Any, ...]]: ...

    def compute(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Any,
    ) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
        """Compute collections, each part beside its data.

        Parameters
        ----------
        *collections : Any
            As ``dask.compute`` takes them.
        callbacks : sequence of Callback
            Told of what happens, see :class:`~xr_locality.execution.progress.Callback`.
        asynchronous : bool, optional
            Return at once what is to be awaited. Planning, too, is done then, in a
            thread, and its errors are raised by the ``await``; cancelling that cancels
            the run in every region, and returns when it has ended there.
        **policy : Any
            Settings for this run alone.

        Returns
        -------
        tuple, or coroutine of it
            The collections with their values, others as they were.
        """
        if asynchronous:
            return awaited(self.compute, *collections, callbacks=callbacks, **policy)
        if policy.get("endpoints") is not None:
            with Session(**{**self._policy, **policy}) as session:
                return session.compute(*collections, callbacks=callbacks)
        return self.compute_bundle(unpack(*collections), callbacks=callbacks, **policy)

    def compute_bundle(
        self, bundle: Bundle, *, callbacks: Sequence[Callback] = (), **policy: Any
    ) -> tuple[Any, ...]:
        """Compute what has been taken apart already; see :meth:`compute`."""
        if not bundle.parts:
            return bundle.rebuild([])
        with self._audit(self.settings(**policy)) as audit:
            plan = self._plan(bundle, ahead=True, **policy)
            values = self._run(plan, callbacks, audit)
        return bundle.assemble(values)

    def execute(
        self, plan: Plan, *, callbacks: Sequence[Callback] = (), asynchronous: bool = False
    ) -> Any:
        """Run a plan that this session made.

        Parameters
        ----------
        plan : Plan
            What to run.
        callbacks : sequence of Callback
            Told of what happens.
        asynchronous : bool, optional
            As :meth:`compute` takes it.

        Returns
        -------
        object or tuple, or coroutine of it
            One object for one planned, a tuple for several.
        """
        if asynchronous:
            return awaited(self.execute, plan, callbacks=callbacks)
        with self._audit(self._settings) as audit:
            values = self._run(plan, callbacks, audit)
        results = plan.bundle.assemble(values)
        return results[0] if len(results) == 1 else results

    @overload
    def persist(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: Literal[False] = False,
        **policy: Any,
    ) -> tuple[Any, ...]: ...

    @overload
    def persist(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: Literal[True],
        **policy: Any,
    ) -> Coroutine[Any, Any, tuple[Any, ...]]: ...

    def persist(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Any,
    ) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
        """Compute collections and leave their chunks in the regions where they are made.

        Parameters
        ----------
        *collections : Any
            As ``dask.persist`` takes them.
        callbacks : sequence of Callback
            Told of what happens.
        asynchronous : bool, optional
            As :meth:`compute` takes it.
        **policy : Any
            Settings for this run alone.

        Returns
        -------
        tuple, or coroutine of it
            The same collections, backed by what the regions hold.
        """
        if asynchronous:
            return awaited(self.persist, *collections, callbacks=callbacks, **policy)
        bundle = unpack(*collections)
        if not bundle.parts:
            return bundle.rebuild([])
        kept: dict[Key, Kept] = {}
        with self._audit(self.settings(**policy)) as audit:
            plan = self._plan(bundle, ahead=True, results_stay=True, **policy)
            self._run(plan, callbacks, audit, keep=kept)
        residency = Residency.of(plan.sources, plan.bundle.graph())
        values = {
            key: HeldValue(
                region=each.region,
                future=each.future,
                pull=partial(self._pull, each.connection, each.future),
                nbytes=each.nbytes,
                kept=residency.of_key(key) if residency.kept else {},
                here=plan.client,
            )
            for key, each in kept.items()
        }
        return bundle.rebuild(
            [hold(part.collection, part.flat_keys(), values) for part in bundle.parts]
        )

    def _pull(self, connection: Connection, future: Future[Any]) -> Any:
        """Bring here one value that a region holds."""
        with self._lock:
            if self._of_parent:
                raise _forked()
            if self._closed or self._links is None or self._loop is None:
                raise ExecutionError(
                    f"Persisted data in region {str(connection.region)!r} are gone: the session "
                    "that held them is closed.",
                    region=str(connection.region),
                )
            loop, links = self._loop, self._links
        values, _ = loop.run(links.puller(connection).pull([future.key]))
        return values[future.key]

    def check(self) -> None:
        """Check that every endpoint can be reached and accepts us; start nothing.

        Raises
        ------
        EndpointError
            If one cannot be used.
        LocalityErrorGroup
            If several cannot.
        """
        with self._lock:
            pool, loop = self._open_pool()
        loop.run(pool.preflight(self.regions))

    def inspect(self) -> Mapping[Region, EndpointFacts | LocalityError | None]:
        """Ask who answers at every endpoint; start nothing.

        Returns
        -------
        Mapping of Region to EndpointFacts, error, or None
            What was answered, or why an endpoint cannot be used; None where it is only
            named.
        """
        with self._lock:
            pool, loop = self._open_pool()
        found = loop.run(pool.inspect())
        return {region: found[region] for region in self.regions}

    def clusters(
        self, *, reap: bool = False, forget: Collection[str] = (), forget_unreachable: bool = False
    ) -> tuple[ClusterFacts, ...]:
        """List the clusters that run for this user at the gateways, whoever started them.

        Parameters
        ----------
        reap : bool, optional
            End those whose process has gone: it was killed, and nobody will close them.
        forget : collection of str, optional
            Names of clusters to take out of this machine's ledger without asking anybody:
            whether they still run is left unknown.
        forget_unreachable : bool, optional
            Take out, too, those whose gateway is not configured any more or does not
            answer, and whose process does not run on this machine.

        Returns
        -------
        tuple of ClusterFacts
            A gateway that does not answer has an entry that says so.

        Raises
        ------
        EndpointError
            If a cluster to be forgotten is not noted, or its process still runs.
        """
        from xr_locality.endpoints.clusters import find_clusters
        from xr_locality.endpoints.ledger import Ledger

        with self._lock:
            _, loop = self._open_pool()
        ledger = Ledger.of_user(self._settings.state_directory)
        return loop.run(
            find_clusters(
                self._endpoints,
                ledger,
                reap=reap,
                forget=frozenset(forget),
                forget_unreachable=forget_unreachable,
            )
        )

    def describe(self, region: Region) -> str:
        """Name a region's endpoint in a few words, without secrets."""
        endpoint = self._endpoints[region]
        return "only named" if endpoint is None else endpoint.describe()

    @property
    def closed(self) -> bool:
        """Whether the session has been closed; a closed one opens nothing any more."""
        return self._closed

    def close(self) -> None:
        """Close what the session opened; may be called twice."""
        with self._lock:
            self._closed = True
            _open_sessions.discard(self)
            shared, self._shared = self._shared, None
        if shared is None:
            return

        async def cancel() -> None:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

        try:
            shared.loop.run(cancel())
        finally:
            shared.leave()

    def find(self, scheduler_address: str) -> Region | None:
        """Say which region's scheduler has an address; None if none of ours."""
        if self._pool is not None:
            return self._pool.find(scheduler_address)
        return _find(self._endpoints, scheduler_address)

    def circumstances(self, **policy: Any) -> Circumstances:
        """Gather what a plan depends on besides the graph.

        Parameters
        ----------
        **policy : Any
            Settings for one plan alone.

        Returns
        -------
        Circumstances
            For ``plan.build.build_plan``.
        """
        settings = self.settings(**policy)
        named = policy.get("endpoints")
        allowed = Allowed.parse(settings.allowed_regions)
        find_cluster = self.find
        if named is not None:
            given = _to_endpoints(settings)
            usable = tuple(sorted(given))

            def find_cluster(scheduler_address: str) -> Region | None:
                return _find(given, scheduler_address) or self.find(scheduler_address)
        else:
            usable = tuple(region for region in self.regions if allowed.permits(region))
            if self.regions and not usable:
                # Never a silent local compute.
                raise allowed.problem(self.regions[0])
        return Circumstances(
            settings=settings,
            usable=usable,
            chain=Chain.from_settings(settings),
            costs=CostModel(settings.prices, links=settings.links),
            find_cluster=find_cluster,
        )

    def _plan(
        self,
        bundle: Bundle,
        *,
        ahead: bool = False,
        results_stay: bool = False,
        **policy: Any,
    ) -> Plan:
        """Plan; with `ahead`, check the endpoints meanwhile that may be needed."""
        if ahead and self._of_parent:
            raise _forked()
        circumstances = replace(self.circumstances(**policy), results_stay=results_stay)
        if ahead:
            circumstances = replace(circumstances, surveyed=self._anticipate)
        return build_plan(bundle, circumstances, session=self)

    def _anticipate(self, regions: Collection[Region]) -> None:
        """Begin to check regions where a plan may run tasks.

        What starts a cluster waits until the plan, and so every error of it, is known.
        """
        with self._lock:
            if not self._closed and not self._of_parent:
                pool, loop = self._open_pool()
                loop.call_soon(pool.anticipate, regions)

    def _audit(self, settings: Settings) -> Audit:
        from xr_locality.execution.audit import Audit

        return Audit(settings)

    def _merge(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in policy.items() if value is not None}
        if (endpoints := given.get("endpoints")) is not None:
            given["endpoints"] = {str(region): each for region, each in endpoints.items()}
        return {**self._policy, **given}

    def _run(
        self,
        plan: Plan,
        callbacks: Sequence[Callback],
        audit: Audit,
        *,
        keep: dict[Key, Kept] | None = None,
    ) -> dict[Any, Any]:
        cancellation = Cancellation.current()
        with self._prepared(plan, callbacks, audit, keep=keep) as (loop, execute):
            running = self._until_closed(execute)
            try:
                return self._note(*loop.run(running, cancellation=cancellation))
            except CancelledError as error:
                if cancellation is not None and cancellation.requested:
                    raise
                raise _closed_meanwhile() from error

    @contextmanager
    def _prepared(
        self,
        plan: Plan,
        callbacks: Sequence[Callback],
        audit: Audit,
        *,
        keep: dict[Key, Kept] | None = None,
    ) -> Iterator[
        tuple[BackgroundLoop, Callable[[], Coroutine[Any, Any, tuple[dict[Any, Any], Report]]]]
    ]:
        """Give what executes a plan, and the loop for it; show progress."""
        from xr_locality.execution.bars import watch
        from xr_locality.execution.execute import execute_plan
        from xr_locality.execution.progress import Watchers

        settings, audit.plan = audit.settings, plan
        self._tell_if_local(plan)
        plan = open_files_again(plan.reading_replicas())
        with self._lock:
            pool, loop = self._open_pool()
            links, preflight = self._links, self._preflight
        assert links is not None
        assert preflight is not None
        annotations = dict(get_annotations())
        with ExitStack() as stack:
            bars = watch(settings.progress, plan=plan)
            watching = list(callbacks)
            if bars is not None:
                watching.append(stack.enter_context(bars))
            watchers = Watchers(tuple(watching))
            try:
                yield (
                    loop,
                    partial(
                        execute_plan,
                        plan,
                        pool=pool,
                        links=links,
                        preflight=preflight,
                        audit=audit,
                        settings=settings,
                        annotations=annotations,
                        watchers=watchers,
                        keep=keep,
                    ),
                )
            finally:
                self._warn_of(preflight)
        for (source, target), why in links.unreachable.items():
            if (source, target) not in self._told_relay:
                self._told_relay.add((source, target))
                warnings.warn(
                    f"Workers of region {str(target)!r} do not reach region {str(source)!r}: "
                    f"{why}. Values that cross from it to them go by way of this machine from "
                    "now on in this session.",
                    LocalityWarning,
                    stacklevel=_frames_of_ours(),
                )
        _complain(watchers)

    def _note(self, values: dict[Any, Any], report: Report) -> dict[Any, Any]:
        """Keep a run's report, and hand on its values."""
        self.reports = [*self.reports[-_REPORTS + 1 :], report]
        return values

    async def _until_closed(self, run: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run what closing the session cancels, and waits for."""
        task = asyncio.ensure_future(run())
        self._running.add(task)
        try:
            return await task
        finally:
            self._running.discard(task)

    def _open_pool(self) -> tuple[EndpointPool, BackgroundLoop]:
        """Make the pool and its loop on first use; the lock is held."""
        if self._closed:
            raise EndpointError("This session is closed. Make a new one.")
        if self._of_parent:
            raise _forked()
        if self._shared is None:
            from xr_locality.endpoints import EmbeddedEndpoint
            from xr_locality.endpoints.ledger import Ledger
            from xr_locality.execution.preflight import Preflight
            from xr_locality.execution.shared import join

            endpoints: dict[Region, Endpoint | None] = dict(self._endpoints)
            endpoints.setdefault(LOCAL, EmbeddedEndpoint())
            self._shared = join(
                endpoints,
                deadline_seconds=self._settings.start_timeout,
                lease_seconds=self._settings.lease,
                ledger=Ledger.of_user(self._settings.state_directory),
            )
            self._preflight = Preflight()
            _open_sessions.add(self)
        return self._shared.pool, self._shared.loop

    def _forget_parents(self) -> None:
        """Leave to the parent what it has opened; called in a forked child."""
        self._lock = threading.RLock()
        self._running = set()
        self._of_parent = self._of_parent or self._shared is not None
        self._shared = None

    def _warn_of(self, preflight: Preflight) -> None:
        """Warn of what was found in clusters that may spoil a run."""
        doubts, preflight.doubts = preflight.doubts, []
        for doubt in doubts:
            warnings.warn(doubt, LocalityWarning, stacklevel=_frames_of_ours())

    def _tell_if_local(self, plan: Plan) -> None:
        """Say, once for a session, that everything is pulled to this machine."""
        if self._endpoints or plan.regions != (LOCAL,) or self._told_local:
            return
        pulled = [each for each in plan.sources if each.region not in (LOCAL, None)]
        if pulled:
            self._told_local = True
            sources = ", ".join(f"{each.url} ({each.region})" for each in pulled)
            warnings.warn(
                "No endpoint is configured: computing on this machine, which pulls "
                f"{sources}. Set locality.endpoints to compute beside the data.",
                LocalityWarning,
                stacklevel=_frames_of_ours(),
            )

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(weakref.ref(self)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._tokens.pop())
        self.close()

    def __repr__(self) -> str:
        regions = ", ".join(map(str, self.regions)) or "no endpoints"
        return f"<Session: {regions}{', closed' if self._closed else ''}>"


def _closed_meanwhile() -> ExecutionError:
    return ExecutionError("The session was closed while it was computing. Make a new one.")


def _forked() -> ExecutionError:
    return ExecutionError(
        "This session was opened by the process that this one was forked from, and its "
        "connections are that process's. Make a new Session here, or start processes by "
        "'spawn'."
    )


def _frames_of_ours() -> int:
    """Count the frames up to the first that is not this package's, for a warning."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(
        ("xr_locality", "contextlib")
    ):
        frame, level = frame.f_back, level + 1
    return level


def _complain(watchers: Watchers) -> None:
    """Warn of callbacks that failed, where the user is."""
    for complaint in watchers.complaints():
        warnings.warn(complaint, LocalityWarning, stacklevel=_frames_of_ours())


def _to_endpoints(settings: Settings) -> dict[Region, Endpoint | None]:
    from xr_locality.endpoints import to_endpoints

    return to_endpoints(settings.endpoints, allowed=Allowed.parse(settings.allowed_regions))


def _find(endpoints: Mapping[Region, Endpoint | None], scheduler_address: str) -> Region | None:
    from xr_locality.endpoints import EndpointPool

    return EndpointPool(endpoints).find(scheduler_address)


class _Default:
    """The session made from config, and the endpoints that it was made from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[Mapping[str, Any], Session] | None = None

    def get(self) -> Session:
        endpoints = config.read().endpoints
        with self._lock:
            if self._made is None or self._made[0] != endpoints or self._made[1].closed:
                if self._made is not None:
                    self._made[1].close()
                self._made = endpoints, Session()
            return self._made[1]

    def forget_parents(self) -> None:
        """Make a default of this process's own when it is next needed, in a forked child."""
        self._lock = threading.Lock()
        if self._made is not None and self._made[1]._of_parent:
            self._made = None


_DEFAULT: Final = _Default()


def current_session() -> Session:
    """Get the session of the enclosing ``with``, else the default made from config.

    The default is made anew when the configured endpoints have changed, and is
    closed when the interpreter exits.
    """
    entered = _current.get()
    return (None if entered is None else entered()) or _DEFAULT.get()


#: Sessions that have something open.
_open_sessions: set[Session] = set()

#: Every session that somebody holds.
_all_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_parents() -> None:
    _open_sessions.clear()
    for session in _all_sessions:
        session._forget_parents()
    _DEFAULT.forget_parents()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


def _close_all() -> None:
    for session in list(_open_sessions):
        try:
            session.close()
        except LocalityError:
            logger.warning("Closing %r at exit failed", session, exc_info=True)


# atexit runs after executors have been shut down, and then no host name can be
# looked up any more to stop a cluster; this runs before.
_register_atexit: Callable[[Callable[[], None]], object] = getattr(
    threading, "_register_atexit", atexit.register
)
_register_atexit(_close_all)
