"""Uses of the public API as users write them: mypy checks this file, nothing runs it."""

from __future__ import annotations

from typing import Any, assert_type

from xr_locality import Session, compute, config, errors, persist
from xr_locality.placement.costs import CostModel, Link, Price
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
assert_type(costs.link(region, LOCAL), Link)
assert_type(costs.usd(region, LOCAL, 10**9), float)


async def wait() -> None:
    """Await what may be awaited."""
    assert_type(persist(1), tuple[Any, ...])
    assert_type(await persist(1, asynchronous=True), tuple[Any, ...])
    assert_type(await compute(1, asynchronous=True), tuple[Any, ...])
    with Session() as session:
        assert_type(await session.persist(1, asynchronous=True), tuple[Any, ...])


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
