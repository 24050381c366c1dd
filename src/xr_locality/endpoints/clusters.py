"""The clusters of this user's: which run, who asked for them, and ending what is left over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.gateway.gateway_endpoint import GatewayEndpoint
from xr_locality.endpoints.ledger import Ledger, Note, Owner
from xr_locality.errors import EndpointError, LocalityError
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.endpoints.gateway.gateway_client import GatewayServer
    from xr_locality.regions import Region

__all__ = ["ClusterFacts", "find_clusters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """A cluster at a gateway, or why there is nothing to say of one.

    Attributes
    ----------
    region : str
        The region that the gateway serves.
    gateway : str
        Its address.
    name : str or None
        The cluster's name; None where nobody has heard it, or the gateway does not
        answer.
    seconds : float or None
        Its age.
    owner : {"alive", "gone", "elsewhere", "unknown"}
        The process that asked for it: it runs, it has ended, it belongs to another
        machine, or this ledger does not know of the cluster.
    reaped : bool
        Whether it was ended just now.
    problem : str or None
        Why it could not be looked for or ended.
    forgotten : bool
        Whether it was taken out of the ledger just now, unseen: it may still run.
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
        """Whether it may still run though its process has gone."""
        return self.owner == Owner.GONE.value and not (self.reaped or self.forgotten)

    @property
    def wants_care(self) -> bool:
        """Whether somebody has to do something about it: no process will."""
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
    """Ask every gateway for the clusters that we have there.

    Adopted clusters are not among them: nobody has noted them. Notes of clusters that
    are gone, as are their processes, are taken out.

    Parameters
    ----------
    endpoints : mapping of Region to Endpoint or None
        The gateways are asked, others are passed over.
    ledger : Ledger
        Who asked for what.
    reap : bool
        Whether to end those whose process has gone.
    forget : collection of str
        Names of clusters to take out of the ledger unseen, without asking anybody.
    forget_unreachable : bool
        Whether to take out, too, those of gateways that are not configured or do not answer.

    Raises
    ------
    EndpointError
        If one that is to be forgotten is not noted, or its process still runs.
    """
    notes = ledger.notes()
    named = _named(notes, forget)
    forgotten = [_give_up(note) for note in named]
    notes = [note for note in notes if note not in named]
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
                [one for one in notes if one.entry.gateway == each.address],
                reap=reap,
                forget_unreachable=forget_unreachable,
            )
            for region, each in gateways.items()
        )
    )
    known = {each.address for each in gateways.values()}
    strangers = [
        _unreachable(
            note, f"its gateway {note.entry.gateway!r} is not configured", forget=forget_unreachable
        )
        for note in notes
        if note.entry.gateway not in known
    ]
    return tuple(fact for facts in (*asked, strangers, forgotten) for fact in facts)


def _named(notes: Iterable[Note], names: Collection[str]) -> list[Note]:
    """Find the notes of clusters that are to be forgotten; all of them, or none."""
    noted = {note.entry.cluster: note for note in notes if note.entry.cluster is not None}
    if unknown := sorted(set(names) - noted.keys()):
        raise EndpointError(
            f"No cluster {', '.join(map(repr, unknown))} is noted on this machine. "
            "`xr-locality clusters` lists those that are.",
        )
    found = [noted[name] for name in sorted(set(names))]
    if alive := [note.entry.cluster for note in found if note.entry.owner is Owner.ALIVE]:
        raise EndpointError(
            f"The process that asked for cluster {', '.join(map(repr, alive))} runs, and will "
            "stop it. Only clusters that nobody stops any more can be forgotten.",
        )
    return found


def _unreachable(note: Note, problem: str | None, *, forget: bool) -> ClusterFacts:
    if forget and note.entry.owner is not Owner.ALIVE:
        return _give_up(note)
    return _facts(note, problem=problem)


def _give_up(note: Note) -> ClusterFacts:
    """Take out the note of a cluster of which nothing is known."""
    note.strike()
    return replace(_facts(note), forgotten=True)


async def _ask(
    region: Region,
    endpoint: GatewayEndpoint,
    notes: list[Note],
    *,
    reap: bool,
    forget_unreachable: bool,
) -> list[ClusterFacts]:
    server = endpoint.server(region)
    try:
        reports = await server.cluster_reports()
        started = {each.name: each.start_time.timestamp() for each in reports}
        noted = {note.entry.cluster: note for note in notes if note.entry.cluster is not None}
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
        return found + _forget(note for note in notes if note.entry.cluster not in started)
    except LocalityError as error:
        return [
            ClusterFacts(
                region=str(region),
                gateway=endpoint.address,
                name=None,
                seconds=None,
                owner="unknown",
                problem=str(error),
            ),
            *(_unreachable(note, None, forget=forget_unreachable) for note in notes),
        ]
    finally:
        await server.close()


async def _reap(server: GatewayServer, facts: ClusterFacts, note: Note) -> ClusterFacts:
    assert facts.name is not None
    try:
        await server.stop(facts.name)
    except LocalityError as error:
        return replace(facts, problem=str(error))
    note.strike()
    return replace(facts, reaped=True)


def _forget(notes: Iterable[Note]) -> list[ClusterFacts]:
    """Take out notes of clusters that the gateway has not; list those without a name."""
    kept = []
    for note in notes:
        if note.entry.owner is Owner.ALIVE:
            continue
        if (
            note.entry.cluster is not None
            or time.time() - note.entry.asked > timeouts().ledger_unnamed
        ):
            note.strike()
        else:
            kept.append(_facts(note, problem="asked for, but nobody has heard its name"))
    return kept


def _facts(note: Note, *, problem: str | None = None) -> ClusterFacts:
    entry = note.entry
    return ClusterFacts(
        region=entry.region,
        gateway=entry.gateway,
        name=entry.cluster,
        seconds=time.time() - entry.asked,
        owner=entry.owner.value,
        problem=problem,
    )
