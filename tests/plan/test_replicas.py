"""Replicas in planning: what each region reads, and that placement stays exact."""

from __future__ import annotations

from functools import partial
from itertools import product

import dask.array as da
import numpy as np
import pytest

import xr_locality as xl
from support.plan_builders import IOWA, IRELAND, NAMED, OREGON, stored, surveyed
from xr_locality.graph.collections import unpack
from xr_locality.graph.sizes.estimator import SizeEstimator
from xr_locality.placement.costs import CostModel
from xr_locality.placement.problem import evaluate
from xr_locality.placement.solve import solve
from xr_locality.plan.formulate import formulate
from xr_locality.plan.read_estimates import Reads
from xr_locality.plan.replicas import nearest
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Replica, Tag
from xr_locality.regions.tag_registry import REGISTRY
from xr_locality.sources.search import find_sources


def copied(region: Region, *others: Region, n: int = 4) -> da.Array:
    """Make a lazy array that lies in one region and has replicas in others."""
    array = stored(shape=(n,), chunks=(2,))
    (found,) = find_sources(list(array.dask.values()))
    replicas = tuple(
        Replica(store=Store.from_url(f"s3://{other.name}/a"), region=other, original=found.group)
        for other in others
    )
    tag = Tag(region=region, evidence="a test", replicas=replicas)
    REGISTRY.add(found.group, tag, kind="catalog")
    return array


@pytest.mark.parametrize("objective", ["usd", "bytes", "seconds"])
@pytest.mark.parametrize("client", [LOCAL, IOWA])
def test_placement_with_replicas_is_exact(client: Region, objective: str) -> None:
    """No placement costs less than the one found, each read priced from its nearest copy."""
    one, other = copied(OREGON, IRELAND, n=2), copied(IRELAND, IOWA, n=2)
    alone = stored(IOWA, shape=(2,), chunks=(2,))
    wanted = ((one + other) * alone).sum()
    bundle = unpack(wanted)
    graph = bundle.graph()
    found, problems = surveyed(wanted)
    assert not problems
    estimator = SizeEstimator(graph=graph, parts=bundle.parts)
    regions = (IRELAND, OREGON, IOWA)
    formulated = formulate(
        Reads(graph=graph, outputs=bundle.keys(), survey=found, estimator=estimator),
        hosts={region: region for region in regions},
        regions=regions,
        client=client,
        remote_read=True,
        listed=False,
    )
    assert len(formulated.copies) == 2
    given = CostModel().prices(objective, formulated.problem.places)  # type: ignore[arg-type]
    priced = formulated.priced(given)
    solution = solve(formulated.problem, priced)

    def cost(placed: tuple[int, ...]) -> int:
        return evaluate(formulated.problem, np.array(placed), priced.objective)

    every = product(range(len(regions)), repeat=formulated.problem.n_tasks)
    assert formulated.problem.n_tasks < 9
    assert cost(tuple(solution.placed)) == solution.cost == min(map(cost, every))
    for place, members in formulated.copies.items():
        for target in range(len(regions)):
            assert priced.objective[place, target] == min(
                given.objective[each, target] for each in members
            )


def test_nearest_in_doubt_is_the_original() -> None:
    """Of copies that cost the same the original is read, else the cheapest."""
    costs = CostModel({f"{OREGON} -> {IRELAND}": 0.5, f"{IOWA} -> {IRELAND}": 0.5})
    prices = partial(costs.prices, "usd")
    (source,) = surveyed(copied(OREGON, IOWA))[0].sources
    assert source.regions == (OREGON, IOWA)
    assert nearest(source, IRELAND, prices) is None
    assert nearest(source, OREGON, prices) is None
    found = nearest(source, IOWA, prices)
    assert found is not None
    assert found.region == IOWA
    cheaper = CostModel({f"{OREGON} -> {IRELAND}": 0.5, f"{IOWA} -> {IRELAND}": 0.4})
    assert nearest(source, IRELAND, partial(cheaper.prices, "usd")) == found


@pytest.mark.parametrize("remote_read", ["allowed", "never"])
def test_policy_holds_for_replicas(remote_read: str) -> None:
    """Where nothing may be read from afar, a copy beside the endpoint may be read still."""
    plan = xl.plan(copied(OREGON, IOWA).sum(), endpoints={str(IOWA): None}, remote_read=remote_read)
    assert plan.regions == (IOWA,)
    assert not [each for each in plan.transfers if each.why == "remote-read"]
    assert [each.url for each in plan.replicas] == [f"s3://{IOWA.name}/a"]


def test_copies_on_this_machine_are_no_replicas() -> None:
    """What other machines cannot read is not planned with."""
    (source,) = surveyed(copied(OREGON, LOCAL))[0].sources
    assert source.replicas == ()


def test_baselines_read_the_nearest_copy() -> None:
    """Other ways to do the work may read replicas too: the plan is compared with the best."""
    plan = xl.plan(copied(OREGON, IOWA).sum(), endpoints=NAMED)
    assert plan.baselines[f"all in {IOWA}"].nbytes == plan.baselines[f"all in {OREGON}"].nbytes
    assert plan.baselines[f"all in {IRELAND}"].nbytes > plan.baselines[f"all in {IOWA}"].nbytes
    assert plan.gap == 0.0


def test_summary_says_what_is_read() -> None:
    """The JSON of a plan names the replica that is read, and None where the original is."""
    plan = xl.plan(copied(OREGON, IOWA).sum(), endpoints={str(IOWA): None})
    (region,) = plan.to_dict()["regions"]
    (source,) = region["sources"]
    assert source["replica"] == f"s3://{IOWA.name}/a in {IOWA}"
    plan = xl.plan(copied(OREGON, IOWA).sum(), endpoints={str(OREGON): None})
    assert plan.to_dict()["regions"][0]["sources"][0]["replica"] is None
