"""Clusters of this user at the gateways: listing them, and stopping leftovers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint
from xr_locality.endpoints.ledger import Ledger, LedgerRecord, Owner
from xr_locality.errors import EndpointError, LocalityError
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.endpoints.gateway.gateway_client import GatewayClient
    from xr_locality.regions import Region

__all__ = ["ClusterFacts", "find_clusters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """A cluster at a gateway, or the reason why a gateway has no answer.

    Attributes
    ----------
    region : str
        The region that the gateway serves.
    gateway : str
        Its address.
    name : str or None
        The cluster's name; None where it is not known, or the gateway does not answer.
    seconds : float or None
        Its age.
    owner : {"alive", "gone", "elsewhere", "unknown"}
        The process that started it: it runs, it has ended, it belongs to another
        machine, or the cluster is not in this ledger.
    reaped : bool
        Whether it was stopped just now.
    problem : str or None
        Why it could not be found or stopped.
    forgotten : bool
        Whether its record was deleted just now, without a request: it may still run.
    """

    region: str
    gateway: str
    name: str | None
    seconds: float | None
    owner: str
    reaped: bool = False
    problem: str | None = None
    forgotten: bool = False

    @property
    def is_left_over(self) -> bool:
        """Whether it may still run although its process has ended."""
        return self.owner == Owner.GONE.value and not (self.reaped or self.forgotten)

    @property
    def wants_care(self) -> bool:
        """Whether the user must act: no process will stop it."""
        helpless = self.problem is not None and self.owner != Owner.ALIVE.value
        return self.is_left_over or helpless


async def find_clusters(
    endpoints: Mapping[Region, Endpoint | None],
    ledger: Ledger,
    *,
    reap: bool,
    forget: Collection[str],
    forget_unreachable: bool,
) -> tuple[ClusterFacts, ...]:
    """Request this user's clusters from every gateway.

    Adopted clusters are not in the ledger. Records are deleted when both the cluster and
    its process have gone.

    Parameters
    ----------
    endpoints : mapping of Region to Endpoint or None
        The endpoints; only gateways are asked.
    ledger : Ledger
        Which process started which cluster.
    reap : bool
        Whether to stop clusters whose process has ended.
    forget : collection of str
        Names of clusters whose records are deleted without a request.
    forget_unreachable : bool
        Whether to delete, too, the records of gateways that are not configured or do not
        answer.

    Raises
    ------
    EndpointError
        If a name in `forget` has no record, or its process still runs.
    """
    records = ledger.records()
    named = _named(records, forget)
    forgotten = [_delete(record) for record in named]
    records = [record for record in records if record not in named]
    gateways = {
        region: each
        for region, each in sorted(endpoints.items())
        if isinstance(each, GatewayEndpoint)
    }
    asked = await asyncio.gather(
        *(
            _ask(
                region,
                each,
                [one for one in records if one.entry.gateway == each.address],
                reap=reap,
                forget_unreachable=forget_unreachable,
            )
            for region, each in gateways.items()
        )
    )
    known = {each.address for each in gateways.values()}
    unreachable = [
        _report_unreachable(
            record,
            f"its gateway {record.entry.gateway!r} is not configured",
            forget=forget_unreachable,
        )
        for record in records
        if record.entry.gateway not in known
    ]
    return tuple(fact for facts in (*asked, unreachable, forgotten) for fact in facts)


def _named(records: Iterable[LedgerRecord], names: Collection[str]) -> list[LedgerRecord]:
    """Find the records of clusters by name; raise unless all can be deleted."""
    noted = {record.entry.cluster: record for record in records if record.entry.cluster is not None}
    if unknown := sorted(set(names) - noted.keys()):
        raise EndpointError(
            f"No cluster {', '.join(map(repr, unknown))} is noted on this machine. "
            "`xr-locality clusters` lists those that are.",
        )
    found = [noted[name] for name in sorted(set(names))]
    if alive := [record.entry.cluster for record in found if record.entry.owner is Owner.ALIVE]:
        raise EndpointError(
            f"The process that asked for cluster {', '.join(map(repr, alive))} runs, and will "
            "stop it. Only clusters that nobody stops any more can be forgotten.",
        )
    return found


def _report_unreachable(record: LedgerRecord, problem: str | None, *, forget: bool) -> ClusterFacts:
    if forget and record.entry.owner is not Owner.ALIVE:
        return _delete(record)
    return _facts(record, problem=problem)


def _delete(record: LedgerRecord) -> ClusterFacts:
    """Delete the record of a cluster that may still run."""
    record.delete()
    return replace(_facts(record), forgotten=True)


async def _ask(
    region: Region,
    endpoint: GatewayEndpoint,
    records: list[LedgerRecord],
    *,
    reap: bool,
    forget_unreachable: bool,
) -> list[ClusterFacts]:
    try:
        server = endpoint.server(region)
    except LocalityError as error:
        return _without_answer(region, endpoint, error, records, forget=forget_unreachable)
    try:
        reports = await server.cluster_reports()
        started = {each.name: each.start_time.timestamp() for each in reports}
        noted = {
            record.entry.cluster: record for record in records if record.entry.cluster is not None
        }
        found = []
        for name, since in sorted(started.items(), key=lambda each: each[1]):
            facts = ClusterFacts(
                region=str(region),
                gateway=endpoint.address,
                name=name,
                seconds=time.time() - since,
                owner=noted[name].entry.owner.value if name in noted else "unknown",
            )
            if reap and facts.is_left_over:
                facts = await _reap(server, facts, noted[name])
            found.append(facts)
        return found + _forget(record for record in records if record.entry.cluster not in started)
    except LocalityError as error:
        return _without_answer(region, endpoint, error, records, forget=forget_unreachable)
    finally:
        await server.close()


def _without_answer(
    region: Region,
    endpoint: GatewayEndpoint,
    error: LocalityError,
    records: Iterable[LedgerRecord],
    *,
    forget: bool,
) -> list[ClusterFacts]:
    """List a gateway that does not answer, and the records of its clusters."""
    problem = ClusterFacts(
        region=str(region),
        gateway=endpoint.address,
        name=None,
        seconds=None,
        owner="unknown",
        problem=str(error),
    )
    return [problem, *(_report_unreachable(each, None, forget=forget) for each in records)]


async def _reap(server: GatewayClient, facts: ClusterFacts, record: LedgerRecord) -> ClusterFacts:
    assert facts.name is not None
    try:
        await server.stop(facts.name)
    except LocalityError as error:
        return replace(facts, problem=str(error))
    record.delete()
    return replace(facts, reaped=True)


def _forget(records: Iterable[LedgerRecord]) -> list[ClusterFacts]:
    """Delete the records of clusters that have gone; list the ones without a name."""
    kept = []
    for record in records:
        if record.entry.owner is Owner.ALIVE:
            continue
        if (
            record.entry.cluster is not None
            or time.time() - record.entry.asked > timeouts().ledger_unnamed
        ):
            record.delete()
        else:
            kept.append(_facts(record, problem="asked for, but nobody has heard its name"))
    return kept


def _facts(record: LedgerRecord, *, problem: str | None = None) -> ClusterFacts:
    entry = record.entry
    return ClusterFacts(
        region=entry.region,
        gateway=entry.gateway,
        name=entry.cluster,
        seconds=time.time() - entry.asked,
        owner=entry.owner.value,
        problem=problem,
    )
