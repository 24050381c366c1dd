"""The one summary of a plan that text, HTML, drawings and JSON all show."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from xr_locality.config import Budget
from xr_locality.display.crossings import Crossing, crossings
from xr_locality.placement.overrides import inside
from xr_locality.placement.prices import retrieval_price
from xr_locality.plan.model import Baseline, Moved, PlanRecord
from xr_locality.plan.replicas import ReplicaRead
from xr_locality.plan.survey import Source
from xr_locality.regions.region import LOCAL, Region
from xr_locality.runtime import formatting

__all__ = ["Crossing", "RegionSummary", "SourceSummary", "Summary", "predicted_reads", "summarise"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSummary:
    """What is read of one source.

    Attributes
    ----------
    url : str
        Where it lies; without credentials.
    region : Region or None
        The region that it is stored in; None where unknown.
    evidence : str
        How that is known.
    variables : tuple of str
        What needs it.
    nbytes_read : int or None
        Stored bytes read, estimated; None where the store could not be asked.
    guessed : bool
        Whether these bytes are only a guess.
    requester_pays : bool or None
        Whether the reader is billed; None where unknown.
    leaves : str
        Whether its values may leave its region: ``always``, ``reduced`` or ``never``.
    replica : str or None
        URL and region of the copy that is read instead; None where it is itself read.
    """

    url: str
    region: Region | None
    evidence: str
    variables: tuple[str, ...]
    nbytes_read: int | None
    guessed: bool
    requester_pays: bool | None
    leaves: str
    replica: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSummary:
    """What one region does.

    Attributes
    ----------
    region : Region
        Where tasks run.
    sources : tuple of SourceSummary
        What these tasks read, from this region and from others.
    n_layers : int
        Layers before optimisation.
    n_tasks : int or None
        Tasks before optimisation; None where counting them would make them.
    upload_nbytes : int
        Bytes of arrays embedded in the graph, sent with it.
    """

    region: Region
    sources: tuple[SourceSummary, ...]
    n_layers: int
    n_tasks: int | None
    upload_nbytes: int

    @property
    def nbytes_read(self) -> int | None:
        """Stored bytes read, estimated; None where a store could not be asked."""
        sizes = [source.nbytes_read for source in self.sources]
        return None if None in sizes else sum(size for size in sizes if size)

    @property
    def guessed(self) -> bool:
        """Whether some of the bytes read are only a guess."""
        return any(source.guessed for source in self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A plan in numbers and words.

    Attributes
    ----------
    headline : str
        The plan in one line.
    regions : tuple of RegionSummary
        Those that run tasks.
    n_boundaries : int
        Values made in one region and needed in others.
    crossings : tuple of Crossing
        What crosses, aggregated by pair of regions and reason.
    moved : mapping of (Region, Region) to int
        Bytes that cross, by pair of regions.
    nbytes_moved : int
        All bytes that cross.
    usd, seconds : float
        What they cost, and how long they take, one pair of regions after another.
    makespan : float
        How long they take if pairs of regions move at the same time, results last.
    baselines : mapping of str to Baseline, or None
        The same work done in other ways; None where it could not be estimated.
    unknowns : tuple of str
        What was guessed, and why.
    objective : str
        What was kept least.
    cost, lower_bound : float
        Of this plan and of any plan, in the objective's unit.
    gap : float
        0.0 is proven optimal.
    solver : str
        What placed the tasks.
    prices_as_of : str
        Date of the oldest list price used.
    budget : Budget or None
        What the plan had to stay within.
    client : Region
        Where results go.
    """

    headline: str
    regions: tuple[RegionSummary, ...]
    n_boundaries: int
    crossings: tuple[Crossing, ...]
    moved: Moved
    nbytes_moved: int
    usd: float
    seconds: float
    makespan: float
    baselines: Mapping[str, Baseline] | None
    unknowns: tuple[str, ...]
    objective: str
    cost: float
    lower_bound: float
    gap: float
    solver: str
    prices_as_of: str
    budget: Budget | None
    client: Region

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-ready form; regions are written as text.

        ``moved``, ``nbytes_moved``, ``usd`` and ``seconds`` have the form that they
        have in a report, so that predicted and measured can be compared.
        """
        return {
            "regions": [_region_to_dict(each) for each in self.regions],
            "crossings": [
                {
                    "from": str(each.source),
                    "to": str(each.target),
                    "why": each.why,
                    "n_values": each.n_values,
                    "nbytes": each.nbytes,
                    "usd": each.usd,
                    "price": each.price,
                    "names": list(each.names),
                    "n_names": each.n_names,
                }
                for each in self.crossings
            ],
            "moved": [
                {"from": str(source), "to": str(target), "nbytes": nbytes}
                for (source, target), nbytes in self.moved.items()
            ],
            "nbytes_moved": self.nbytes_moved,
            "n_boundaries": self.n_boundaries,
            "usd": self.usd,
            "seconds": self.seconds,
            "makespan": self.makespan,
            "baselines": self.baselines
            and {
                name: {"nbytes": each.nbytes, "usd": each.usd, "seconds": each.seconds}
                for name, each in self.baselines.items()
            },
            "unknowns": list(self.unknowns),
            "objective": self.objective,
            "cost": self.cost,
            "lower_bound": self.lower_bound,
            "gap": self.gap,
            "solver": self.solver,
            "prices_as_of": self.prices_as_of,
            "budget": self.budget and {"nbytes": self.budget.nbytes, "usd": self.budget.usd},
            "client": str(self.client),
        }


def _region_to_dict(region: RegionSummary) -> dict[str, Any]:
    return {
        "region": str(region.region),
        "n_sources": len(region.sources),
        "sources": [
            {
                "url": source.url,
                "region": source.region and str(source.region),
                "evidence": source.evidence,
                "variables": list(source.variables),
                "nbytes_read": source.nbytes_read,
                "guessed": source.guessed,
                "requester_pays": source.requester_pays,
                "leaves": source.leaves,
                "replica": source.replica,
            }
            for source in region.sources
        ],
        "n_layers": region.n_layers,
        "n_tasks": region.n_tasks,
        "nbytes_read": region.nbytes_read,
        "upload_nbytes": region.upload_nbytes,
    }


def summarise(plan: PlanRecord) -> Summary:
    """Summarise a plan: by region, by crossing, and beside other ways to do the work.

    Stores are listed for the bytes that are read of them, once for each plan. One
    that cannot be listed leaves these bytes unknown, and is named among the unknowns.

    Parameters
    ----------
    plan : PlanRecord
        What to summarise.

    Returns
    -------
    Summary
    """
    failures: list[str] = []
    read = _attempt(
        lambda: [plan.reads.nbytes(source) for source in plan.sources],
        "the stored bytes that are read",
        failures,
    )
    baselines = _attempt(lambda: plan.baselines, "what other ways would move", failures)
    guesses = plan.reads.guesses
    return Summary(
        headline=plan.headline,
        regions=tuple(_regions(plan, read or [None] * len(plan.sources), guesses)),
        n_boundaries=len(plan.boundaries),
        crossings=tuple(crossings(plan)),
        moved=plan.moved,
        nbytes_moved=plan.nbytes_moved,
        usd=plan.usd,
        seconds=plan.seconds,
        makespan=plan.makespan,
        baselines=baselines,
        unknowns=tuple(
            dict.fromkeys(
                (
                    *plan.unknowns,
                    *guesses.values(),
                    *_guessed_prices(plan),
                    *_uncounted(plan),
                    *failures,
                )
            )
        ),
        objective=plan.objective,
        cost={"usd": plan.usd, "bytes": plan.nbytes_moved, "seconds": plan.seconds}[plan.objective],
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        solver=plan.solver,
        prices_as_of=plan.prices_as_of,
        budget=plan.budget,
        client=plan.client,
    )


def predicted_reads(plan: PlanRecord) -> dict[Region, int | None]:
    """Estimate the stored bytes that each region reads, listing the stores.

    Parameters
    ----------
    plan : PlanRecord
        What reads them.

    Returns
    -------
    dict of Region to int or None
        None where a store could not be listed.
    """
    read = _attempt(
        lambda: [plan.reads.nbytes(source) for source in plan.sources],
        "the stored bytes that are read",
        [],
    )
    return {
        each.region: each.nbytes_read
        for each in _regions(plan, read or [None] * len(plan.sources), plan.reads.guesses)
    }


def _attempt(ask: Callable[[], T], what: str, failures: list[str]) -> T | None:
    """Ask for what contacts stores; a store may raise anything, and the rest is worth showing."""
    try:
        return ask()
    except Exception as error:
        logger.warning("Cannot estimate %s", what, exc_info=True)
        # The message of a store's error may quote a signed URL; the type cannot.
        failures.append(f"{what}: {type(error).__name__}, see the log of {__name__!r}")
        return None


def _regions(
    plan: PlanRecord, read: Sequence[int | None], guesses: Mapping[str, str]
) -> Iterator[RegionSummary]:
    copies: dict[int, list[ReplicaRead]] = {}
    for each in plan.replicas:
        copies.setdefault(id(each.source), []).append(each)
    by_reader: dict[Region, list[SourceSummary]] = {}
    for source, nbytes in zip(plan.sources, read, strict=True):
        shown = SourceSummary(
            url=source.url,
            region=source.region,
            evidence=source.evidence,
            variables=tuple(map(str, source.variables)),
            nbytes_read=nbytes,
            guessed=source.url in guesses,
            requester_pays=source.requester_pays,
            leaves=source.leaves,
        )
        chosen = copies.get(id(source), [])
        for reader, share in () if chosen else _readers(plan, source, nbytes):
            by_reader.setdefault(reader, []).append(replace(shown, nbytes_read=share))
        for each in chosen:
            # How much of it each of several regions reads is unknown.
            by_reader.setdefault(each.target, []).append(
                replace(
                    shown,
                    nbytes_read=nbytes if len(chosen) == 1 else None,
                    replica=None if each.replica is None else f"{each.url} in {each.region}",
                )
            )
    for partition in plan.partitions:
        yield RegionSummary(
            region=partition.region,
            sources=tuple(by_reader.get(partition.region, ())),
            n_layers=partition.n_layers,
            n_tasks=partition.n_tasks,
            upload_nbytes=partition.upload_nbytes,
        )


def _readers(
    plan: PlanRecord, source: Source, nbytes: int | None
) -> Iterator[tuple[Region, int | None]]:
    """List the regions that read a source, remote ones and those beside it, and how much."""
    lies = source.region or LOCAL
    if len(plan.regions) == 1:
        yield plan.regions[0], nbytes
        return
    remote = {
        group.target: group.nbytes
        for group in plan.transfers.groups
        if group.why == "remote-read" and (group.keys[0], group.source) == (source.url, lies)
    }
    # Only regions that read a store hold its layer.
    holding = [
        each.region for each in plan.partitions if source.layers.keys() & each.graph.layers.keys()
    ]
    beside = [region for region in holding if inside(region, lies)]
    if not remote and not beside:
        beside = holding or [lies]
    yield from remote.items()
    rest = None if nbytes is None else max(nbytes - sum(remote.values()), 0)
    for region in beside:
        # How a multi-region's regions share what they read of it is not known.
        yield region, rest if len(beside) == 1 else None


def _uncounted(plan: PlanRecord) -> Iterator[str]:
    """Say what multi-regions bill for reads from a region in them, which is no egress."""
    for lies in dict.fromkeys(source.region for source in plan.sources if source.region):
        for region in plan.regions:
            if (price := retrieval_price(lies, region)) is not None:
                yield (
                    f"not counted: {formatting.usd_per_gb(price.usd_per_gb)} that reads of {lies} "
                    f"from {region}, which is part of it, are billed: {price.evidence}"
                )


def _guessed_prices(plan: PlanRecord) -> Iterator[str]:
    for source, target in plan.moved:
        price = plan.costs.price(source, target)
        if price.guessed:
            yield f"the price {source} -> {target}: {price.evidence}"
