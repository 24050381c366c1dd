"""Build a plan: survey the graph, find hosts, decide, price, check the budget.

Pure: reads graphs and stores' metadata, opens no connection, sends no task.
"""

from __future__ import annotations

import logging

from xr_locality.errors import BudgetError, RegionError, raise_together
from xr_locality.graph.collections import Bundle
from xr_locality.plan.context import PlanContext
from xr_locality.plan.decide import decide
from xr_locality.plan.model import PlanRecord
from xr_locality.plan.pricing import price
from xr_locality.plan.replicas import host_replicas
from xr_locality.plan.residency import residency_problems
from xr_locality.plan.serving_regions import host_regions
from xr_locality.plan.survey import Survey, survey
from xr_locality.regions.region import LOCAL, Region
from xr_locality.runtime import formatting

__all__ = ["build_plan"]

logger = logging.getLogger(__name__)


def build_plan(bundle: Bundle, context: PlanContext) -> PlanRecord:
    """Decide where everything in a bundle runs.

    Parameters
    ----------
    bundle : Bundle
        What is to be computed.
    context : PlanContext
        Policy, endpoints, prices.

    Returns
    -------
    PlanRecord

    Raises
    ------
    RegionError
        If the region of a source is not known and policy says that it must be.
    EndpointError
        If a region has no endpoint, or a Future belongs to a foreign cluster.
    SourceError
        If data would leave a region that they must not leave.
    BudgetError
        If more would cross than ``max_egress`` allows.
    LocalityErrorGroup
        If several of these are wrong.
    """
    graph = bundle.graph()
    settings = context.settings
    unknown = LOCAL if settings.unknown_region == "local" or not context.usable else None
    found, problems = survey(
        graph,
        bundle.parts,
        chain=context.chain,
        unknown=unknown,
        find_cluster=context.find_cluster,
    )
    problems += _unknown_regions(found, unknown)
    located = {region for regions in found.layers.values() for region in regions}
    hosts, missing = host_regions(
        located | found.pinned,
        usable=context.usable,
        missing=settings.missing_endpoint,
        costs=context.costs,
        sources_in=_count(found),
    )
    hosts, missing = host_replicas(found, hosts, missing, usable=context.usable)
    problems += missing
    raise_together(problems, message="The graph cannot be placed:")
    if context.surveyed is not None:
        context.surveyed(set(hosts.values()))
    decided = decide(bundle, graph, found, hosts, context)
    plan = price(bundle, graph, found=found, context=context, decided=decided)
    raise_together(
        residency_problems(plan, graph, remote_read_allowed=settings.remote_read == "allowed"),
        message="The plan moves what may not be moved:",
    )
    _check_budget(plan)
    logger.info(
        "Planned for the least %s: tasks in %s; %d boundary values, "
        "%s to move for %s; %s, gap %.3g",
        settings.objective,
        ", ".join(map(str, plan.regions)) or "no region",
        len(plan.boundaries),
        formatting.nbytes(plan.nbytes_moved),
        formatting.usd(plan.usd),
        plan.solver,
        plan.gap,
    )
    for each in plan.transfers.groups:
        logger.info(
            "%s -> %s: %s as %s in %d values",
            each.source,
            each.target,
            formatting.nbytes(each.nbytes),
            each.why,
            len(each.keys),
        )
    return plan


def _check_budget(plan: PlanRecord) -> None:
    budget = plan.budget
    if budget is None:
        return
    over_usd = budget.usd is not None and plan.usd > budget.usd
    over_nbytes = budget.nbytes is not None and plan.nbytes_moved > budget.nbytes
    if over_usd or over_nbytes:
        limit = formatting.usd(budget.usd) if over_usd else formatting.nbytes(budget.nbytes)
        raise BudgetError(
            f"The plan moves {formatting.nbytes(plan.nbytes_moved)} ({plan.nbytes_moved} bytes) "
            f"for {formatting.usd(plan.usd)}, more than max_egress allows "
            f"(at most {limit}). Nothing was started. Raise max_egress, "
            "or look at plan().explain() with max_egress='unlimited' for what crosses.",
            nbytes=plan.nbytes_moved,
            usd=plan.usd,
            moved=tuple((str(a), str(b), nbytes) for (a, b), nbytes in plan.moved.items()),
        )


def _unknown_regions(found: Survey, unknown: Region | None) -> list[Exception]:
    if unknown is not None:
        return []
    return [
        RegionError(
            f"The region of {source.url!r} is not known. Say it with xr_locality.tag(obj, region), "
            "in the catalog (metadata: locality: region:), or in locality.rules; "
            "unknown_region='local' reads such data on this machine.",
            url=source.url,
        )
        for source in found.sources
        if source.region is None
    ]


def _count(found: Survey) -> dict[Region, int]:
    counts: dict[Region, int] = {}
    for source in found.sources:
        if source.region is not None:
            counts[source.region] = counts.get(source.region, 0) + 1
    return counts
