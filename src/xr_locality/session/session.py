"""Session: the endpoints and the policy of some runs."""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, Unpack, cast, overload

from dask.typing import Key

from xr_locality import config
from xr_locality.config import CallPolicy, Policy, Settings
from xr_locality.display.plans import Plan
from xr_locality.errors import LocalityError
from xr_locality.execution.session_resources import SessionResources
from xr_locality.graph.collections import Bundle, unpack
from xr_locality.graph.persisted import hold
from xr_locality.plan.build import build_plan
from xr_locality.plan.context import PlanContext
from xr_locality.regions.region import Region
from xr_locality.runtime.awaiting import awaited
from xr_locality.session.context import endpoints_of, find_region, gather_context
from xr_locality.session.default import DefaultSession
from xr_locality.session.persisting import Lifetime, persisted_values

if TYPE_CHECKING:
    from xr_locality.display.reports import Report
    from xr_locality.endpoints.clusters import ClusterFacts
    from xr_locality.endpoints.endpoint import EndpointFacts
    from xr_locality.execution.gather import KeptResult
    from xr_locality.execution.metrics.audit import Audit
    from xr_locality.execution.progress import Callback
    from xr_locality.execution.runner import GivenWarnings

__all__ = ["Session", "current_session"]

#: Reports that a session keeps; the oldest go.
_REPORTS = 100

# A weak reference: contexts are copied, and a copy may live as long as the process. It
# must not keep a session, with its plans and the files that they hold open.
_current: ContextVar[weakref.ref[Session] | None] = ContextVar("xr_locality_session", default=None)


class Session:
    """Session: the endpoints and the policy of some runs.

    A context manager: inside it, ``ds.locality.compute()`` uses this session.
    Endpoints are opened when a plan first needs them, in parallel, and stay open for the
    next run. The session closes the clusters that it started, and none that the user gave.
    Sessions of a process with equal endpoints share them; the last one to close closes them.

    Parameters
    ----------
    endpoints : mapping of str or Region to endpoint, optional
        The scheduler of each region: a :class:`GatewayEndpoint`, a
        scheduler's address, a ``distributed.Client``, a cluster object, or a
        mapping as in the configuration. By default those of the configuration.
    **policy : Policy
        Settings by name: ``objective``, ``max_egress``, ``missing_endpoint``,
        ``unknown_region``, ``remote_read``, ``trial_functions``, ``transfer``, ``retries``,
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
        **policy: Unpack[Policy],
    ) -> None:
        self._policy = cast("CallPolicy", policy)
        if endpoints is not None:
            self._policy["endpoints"] = {str(region): each for region, each in endpoints.items()}
        self._settings = config.read(**self._policy)
        self._endpoints = endpoints_of(self._settings)
        #: Open clusters, event loop and links of this session, from their first use.
        self.resources = SessionResources(self._endpoints, self._settings)
        self._tokens: list[Token[weakref.ref[Session] | None]] = []
        self._given_warnings: GivenWarnings = set()
        #: Reports of the last runs, the latest last.
        self.reports: list[Report] = []

    @classmethod
    def current(cls) -> Session:
        """Return the session of the enclosing ``with``, else the default made from config."""
        return current_session()

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions that have an endpoint."""
        return tuple(sorted(self._endpoints))

    def settings(self, **policy: Unpack[CallPolicy]) -> Settings:
        """Read the settings for one call: its own, else the session's, else the configured."""
        return config.read(**self._merge(policy))

    def plan(self, *collections: Any, **policy: Unpack[CallPolicy]) -> Plan:
        """Decide what would run where, without starting anything.

        Parameters
        ----------
        *collections : Any
            As :func:`xr_locality.plan` takes them.
        **policy : CallPolicy
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
        **policy: Unpack[CallPolicy],
    ) -> tuple[Any, ...]: ...

    @overload
    def compute(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: Literal[True],
        **policy: Unpack[CallPolicy],
    ) -> Coroutine[Any, Any, tuple[Any, ...]]: ...

    def compute(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Unpack[CallPolicy],
    ) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
        """Compute collections, each part beside its data.

        Parameters
        ----------
        *collections : Any
            As ``dask.compute`` takes them.
        callbacks : sequence of Callback
            Called with each event, see :class:`~xr_locality.execution.progress.Callback`.
        asynchronous : bool, optional
            Return a coroutine at once. Planning, too, is done by the ``await``, in a
            thread, and its errors are raised there; cancelling it cancels the run in
            every region, and returns when it has ended there.
        **policy : CallPolicy
            Settings for this run alone.

        Returns
        -------
        tuple, or coroutine of it
            The collections with their values, others as they were.
        """
        if asynchronous:
            return awaited(lambda: self.compute(*collections, callbacks=callbacks, **policy))
        if policy.get("endpoints") is not None:
            with self._of_call(policy) as session:
                return session.compute(*collections, callbacks=callbacks)
        return self.compute_bundle(unpack(*collections), callbacks=callbacks, **policy)

    def compute_bundle(
        self, bundle: Bundle, *, callbacks: Sequence[Callback] = (), **policy: Unpack[CallPolicy]
    ) -> tuple[Any, ...]:
        """Compute unpacked collections; see :meth:`compute`."""
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
            The plan.
        callbacks : sequence of Callback
            Called with each event.
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
        **policy: Unpack[CallPolicy],
    ) -> tuple[Any, ...]: ...

    @overload
    def persist(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: Literal[True],
        **policy: Unpack[CallPolicy],
    ) -> Coroutine[Any, Any, tuple[Any, ...]]: ...

    def persist(
        self,
        *collections: Any,
        callbacks: Sequence[Callback] = (),
        asynchronous: bool = False,
        **policy: Unpack[CallPolicy],
    ) -> tuple[Any, ...] | Coroutine[Any, Any, tuple[Any, ...]]:
        """Compute collections and leave their chunks in the regions where they are made.

        Parameters
        ----------
        *collections : Any
            As ``dask.persist`` takes them.
        callbacks : sequence of Callback
            Called with each event.
        asynchronous : bool, optional
            As :meth:`compute` takes it.
        **policy : CallPolicy
            Settings for this run alone.

        Returns
        -------
        tuple, or coroutine of it
            The same collections, backed by the chunks in their regions. With
            ``endpoints=`` the clusters stay open until the last reference to a chunk is
            gone.
        """
        if asynchronous:
            return awaited(lambda: self.persist(*collections, callbacks=callbacks, **policy))
        if policy.get("endpoints") is None:
            return self._persist(unpack(*collections), callbacks, **policy)
        session = self._of_call(policy)
        try:
            lifetime = Lifetime(session.resources)
            return session._persist(unpack(*collections), callbacks, lifetime=lifetime)
        except BaseException:
            session.close()
            raise

    def _persist(
        self,
        bundle: Bundle,
        callbacks: Sequence[Callback],
        *,
        lifetime: Lifetime | None = None,
        **policy: Unpack[CallPolicy],
    ) -> tuple[Any, ...]:
        if not bundle.parts:
            return bundle.rebuild([])
        kept: dict[Key, KeptResult] = {}
        with self._audit(self.settings(**policy)) as audit:
            plan = self._plan(bundle, ahead=True, results_stay=True, **policy)
            self._run(plan, callbacks, audit, keep=kept)
        values = persisted_values(kept, plan=plan, resources=self.resources, lifetime=lifetime)
        return bundle.rebuild(
            [hold(part.collection, part.flat_keys(), values) for part in bundle.parts]
        )

    def _of_call(self, policy: CallPolicy) -> Session:
        """Make a session for a call that has endpoints of its own."""
        merged: CallPolicy = {**self._policy, **policy}
        return Session(**merged)

    def check(self) -> None:
        """Check that every endpoint can be reached and accepts the credentials; start nothing.

        Raises
        ------
        EndpointError
            If one cannot be used.
        LocalityErrorGroup
            If several cannot.
        """
        pool, loop = self.resources.open()
        loop.run(pool.preflight(self.regions))

    def inspect(self) -> Mapping[Region, EndpointFacts | LocalityError | None]:
        """Request the facts of every endpoint; start nothing.

        Returns
        -------
        Mapping of Region to EndpointFacts, error, or None
            The facts, or the error of an endpoint that cannot be used; None where it is
            only named.
        """
        pool, loop = self.resources.open()
        found = loop.run(pool.inspect())
        return {region: found[region] for region in self.regions}

    def clusters(
        self, *, reap: bool = False, forget: Collection[str] = (), forget_unreachable: bool = False
    ) -> tuple[ClusterFacts, ...]:
        """List all clusters of this user at the gateways, of other processes too.

        Parameters
        ----------
        reap : bool, optional
            Stop the clusters whose process has ended without closing them.
        forget : collection of str, optional
            Names of clusters whose records are deleted from this machine's ledger without a
            request: they may still run.
        forget_unreachable : bool, optional
            Delete, too, the records of clusters whose gateway is not configured any more
            or does not answer, and whose process does not run on this machine.

        Returns
        -------
        tuple of ClusterFacts
            A gateway that does not answer has an entry with the problem.

        Raises
        ------
        EndpointError
            If a name in `forget` has no record, or its process still runs.
        """
        from xr_locality.endpoints.clusters import find_clusters
        from xr_locality.endpoints.ledger import Ledger

        _, loop = self.resources.open()
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
        return self.resources.closed

    @property
    def of_parent(self) -> bool:
        """Whether its clusters belong to the process that this one was forked from."""
        return self.resources.of_parent

    def close(self) -> None:
        """Close what the session opened; may be called twice."""
        self.resources.close()

    def find(self, scheduler_address: str) -> Region | None:
        """Return the region whose scheduler has an address; None if there is none."""
        if (pool := self.resources.pool) is not None:
            return pool.find(scheduler_address)
        return find_region(self._endpoints, scheduler_address)

    def plan_context(self, **policy: Unpack[CallPolicy]) -> PlanContext:
        """Gather the context of a plan: all that it depends on besides the graph.

        Parameters
        ----------
        **policy : CallPolicy
            Settings for one plan alone.

        Returns
        -------
        PlanContext
            For ``plan.build.build_plan``.
        """
        return gather_context(
            self.settings(**policy),
            endpoints=self._endpoints,
            of_call=policy.get("endpoints") is not None,
            find_cluster=self.find,
        )

    def _plan(
        self,
        bundle: Bundle,
        *,
        ahead: bool = False,
        results_stay: bool = False,
        **policy: Unpack[CallPolicy],
    ) -> Plan:
        """Make a plan; with `ahead`, check meanwhile the endpoints that it may need."""
        if ahead:
            self.resources.refuse_fork()
        context = replace(self.plan_context(**policy), results_stay=results_stay)
        if ahead:
            context = replace(context, surveyed=self.resources.anticipate)
        return Plan.from_record(build_plan(bundle, context), executor=self)

    def _audit(self, settings: Settings) -> Audit:
        from xr_locality.execution.metrics.audit import Audit

        return Audit(settings)

    def _merge(self, policy: CallPolicy) -> dict[str, Any]:
        given = {name: value for name, value in policy.items() if value is not None}
        if (endpoints := policy.get("endpoints")) is not None:
            given["endpoints"] = {str(region): each for region, each in endpoints.items()}
        return {**self._policy, **given}

    def _run(
        self,
        plan: Plan,
        callbacks: Sequence[Callback],
        audit: Audit,
        *,
        keep: dict[Key, KeptResult] | None = None,
    ) -> dict[Any, Any]:
        from xr_locality.display.bars import watch
        from xr_locality.display.reports import Report
        from xr_locality.execution.runner import run_attended

        values, record = run_attended(
            plan,
            resources=self.resources,
            callbacks=callbacks,
            audit=audit,
            keep=keep,
            given=self._given_warnings,
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


_DEFAULT: Final = DefaultSession(Session)


def current_session() -> Session:
    """Return the session of the enclosing ``with``, else the default made from config.

    A new default is made when the configured endpoints have changed; the default is closed
    when the interpreter exits.
    """
    entered = _current.get()
    return (None if entered is None else entered()) or _DEFAULT.get()


if hasattr(os, "register_at_fork"):
    # After the function of the session's resources, whose module is imported first.
    os.register_at_fork(after_in_child=_DEFAULT.forget_parents)
