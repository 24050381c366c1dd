"""Sessions: the endpoints and the policy of a run, and the default made from config."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload

from dask.typing import Key

from xr_locality import config
from xr_locality.config import Settings
from xr_locality.display.plans import Plan
from xr_locality.errors import LocalityError
from xr_locality.execution.session_resources import SessionResources
from xr_locality.graph.collections import Bundle, unpack
from xr_locality.graph.persisted import HeldValue, hold
from xr_locality.placement.costs import CostModel
from xr_locality.plan.build import build_plan
from xr_locality.plan.context import Circumstances
from xr_locality.plan.residency import Residency
from xr_locality.regions.allowed import Allowed
from xr_locality.regions.chain import Chain
from xr_locality.regions.region import Region
from xr_locality.runtime.awaiting import awaited

if TYPE_CHECKING:
    from xr_locality.display.reports import Report
    from xr_locality.endpoints import Endpoint, EndpointPool
    from xr_locality.endpoints.clusters import ClusterFacts
    from xr_locality.endpoints.endpoint import EndpointFacts
    from xr_locality.execution.gather import Kept
    from xr_locality.execution.metrics.audit import Audit
    from xr_locality.execution.progress import Callback
    from xr_locality.execution.runner import Told
    from xr_locality.execution.transport.cluster_links import Links
    from xr_locality.runtime.event_loop import BackgroundLoop

__all__ = ["Session", "current_session"]

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
        self._resources = SessionResources(self._endpoints, self._settings)
        self._tokens: list[Token[weakref.ref[Session] | None]] = []
        self._told: Told = set()
        #: What was measured, the latest last.
        self.reports: list[Report] = []

    @property
    def _pool(self) -> EndpointPool | None:
        return self._resources.pool

    @property
    def _loop(self) -> BackgroundLoop | None:
        return self._resources.loop

    @property
    def _links(self) -> Links | None:
        return self._resources.links

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
                pull=partial(self._resources.pull, each.connection, each.future),
                nbytes=each.nbytes,
                kept=residency.of_key(key) if residency.kept else {},
                here=plan.client,
            )
            for key, each in kept.items()
        }
        return bundle.rebuild(
            [hold(part.collection, part.flat_keys(), values) for part in bundle.parts]
        )

    def check(self) -> None:
        """Check that every endpoint can be reached and accepts us; start nothing.

        Raises
        ------
        EndpointError
            If one cannot be used.
        LocalityErrorGroup
            If several cannot.
        """
        pool, loop = self._resources.open()
        loop.run(pool.preflight(self.regions))

    def inspect(self) -> Mapping[Region, EndpointFacts | LocalityError | None]:
        """Ask who answers at every endpoint; start nothing.

        Returns
        -------
        Mapping of Region to EndpointFacts, error, or None
            What was answered, or why an endpoint cannot be used; None where it is only
            named.
        """
        pool, loop = self._resources.open()
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

        _, loop = self._resources.open()
        ledger = Ledger.of_user(self.settings().state_directory)
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
        return self._resources.closed

    def close(self) -> None:
        """Close what the session opened; may be called twice."""
        self._resources.close()

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
        if ahead:
            self._resources.refuse_fork()
        circumstances = replace(self.circumstances(**policy), results_stay=results_stay)
        if ahead:
            circumstances = replace(circumstances, surveyed=self._resources.anticipate)
        return Plan.from_record(build_plan(bundle, circumstances), executor=self)

    def _audit(self, settings: Settings) -> Audit:
        from xr_locality.execution.metrics.audit import Audit

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
        from xr_locality.display.bars import watch
        from xr_locality.display.reports import Report
        from xr_locality.execution.runner import run_attended

        values, record = run_attended(
            plan,
            resources=self._resources,
            callbacks=callbacks,
            audit=audit,
            keep=keep,
            told=self._told,
            make_bars=partial(watch, audit.settings.progress),
        )
        report = Report.from_record(record, plan=plan)
        self.reports = [*self.reports[-_REPORTS + 1 :], report]
        return values

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
        return f"<Session: {regions}{', closed' if self.closed else ''}>"


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
        if self._made is not None and self._made[1]._resources.of_parent:
            self._made = None


_DEFAULT: Final = _Default()


def current_session() -> Session:
    """Get the session of the enclosing ``with``, else the default made from config.

    The default is made anew when the configured endpoints have changed, and is
    closed when the interpreter exits.
    """
    entered = _current.get()
    return (None if entered is None else entered()) or _DEFAULT.get()


if hasattr(os, "register_at_fork"):
    # After that of resources, which is imported first.
    os.register_at_fork(after_in_child=_DEFAULT.forget_parents)
