"""Uses of the public API as users write them: mypy checks this file, nothing runs it."""

from __future__ import annotations

from typing import Any, assert_type

from xr_locality import (
    Session,
    compute,
    config,
    errors,
    persist,
    plan,
    routed,
    sources,
    where,
)
from xr_locality.execution.progress import Progress
from xr_locality.placement.costs import CostModel, NetworkLink, Price
from xr_locality.plan.survey import Source
from xr_locality.regions.lookup import Lookup
from xr_locality.regions.region import LOCAL, Region

region = Region.parse("aws:us-west-2")
assert_type(region, Region)
assert_type(region.contains(LOCAL), bool)

settings = config.read(objective="bytes", max_egress="10 GB")
assert_type(settings, config.Settings)
assert_type(settings.budget, config.Budget | None)
assert_type(settings.start_timeout, float)

costs = CostModel(settings.prices, links=settings.links)
assert_type(costs.price(region, LOCAL), Price)
assert_type(costs.link(region, LOCAL), NetworkLink)
assert_type(costs.usd(region, LOCAL, 10**9), float)


async def wait() -> None:
    """Await what may be awaited."""
    assert_type(persist(1), tuple[Any, ...])
    assert_type(await persist(1, asynchronous=True), tuple[Any, ...])
    assert_type(await compute(1, asynchronous=True), tuple[Any, ...])
    with Session({region: None}, objective="bytes", client_region=region) as session:
        assert_type(await session.persist(1, asynchronous=True), tuple[Any, ...])


def slips() -> None:
    """Make a slip in the name or the value of a setting, which mypy reports."""
    compute(1, objectve="usd")  # type: ignore[call-overload]
    compute(1, objective="euro")  # type: ignore[call-overload]
    plan(1, retires=3)  # type: ignore[call-arg]
    Session(objective="pounds")  # type: ignore[arg-type]
    with routed(remote_read="maybe"):  # type: ignore[arg-type]
        pass
    errors.EndpointError("No endpoint.", regoin="aws:us-west-2")  # type: ignore[call-arg]


def facts(problem: errors.EndpointError) -> None:
    """Read the facts of an error, which have types."""
    assert_type(problem.region, str | None)
    assert_type(problem.reached, bool)
    assert_type(errors.BudgetError("Too dear.").nbytes, int | None)


def watch(event: Progress) -> None:
    """Take the events of a run."""


assert_type(compute(1, callbacks=[watch], objective="usd", retries=0), tuple[Any, ...])
assert_type(where("s3://bucket/a.zarr", probe="never"), tuple[Lookup, ...])
assert_type(sources(1), tuple[Source, ...])


def handle(problem: Exception) -> str | None:
    """Tell the classes that a handler would tell apart."""
    match problem:
        case errors.BudgetError():
            return "too dear"
        case errors.PlacementError():
            return "nowhere to run"
        case errors.LocalityErrorGroup():
            return "several"
        case errors.LocalityError():
            return str(problem)
        case _:
            return None
