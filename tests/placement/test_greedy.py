from __future__ import annotations

import numpy as np
import pytest

from support.placement_samples import costs_of, is_allowed, problems
from support.problems import best_by_brute_force, state_problem
from xr_locality.placement.contraction import merge
from xr_locality.placement.greedy import place_forward, place_together
from xr_locality.placement.problem import PlacementProblem, Prices

BYTES = Prices.of(1 - np.eye(4, dtype=np.int64))


def forward_by_definition(problem: PlacementProblem, prices: Prices) -> list[int]:
    """Place a graph without circles task by task, each after those that it takes from."""
    where = [*range(problem.n_places), *[-1] * problem.n_tasks]
    uses = list(zip(problem.values.tolist(), problem.takers.tolist(), strict=True))
    for task in range(problem.n_tasks):
        node = task + problem.n_places
        options = []
        for region in range(problem.n_regions):
            cost = ties = 0
            for value, taker in uses:
                maker, nbytes = int(problem.makers[value]), int(problem.nbytes[value])
                if taker == node:
                    pair = where[maker], region
                elif maker == node and taker < problem.n_places:
                    pair = region, taker
                else:
                    continue
                cost += nbytes * int(prices.objective[pair])
                ties += nbytes * int(prices.ties[pair])
            options.append((cost, ties, region))
        pin = int(problem.pins[task])
        where[node] = pin if pin >= 0 else min(options)[2]
    return where[problem.n_places :]


@pytest.mark.parametrize("n_regions", [2, 3])
def test_forward_pass_is_its_definition(n_regions: int) -> None:
    """Each task runs where its inputs are cheapest to bring, those before it placed."""
    compared = 0
    for seed, stated, prices in problems(400, n_regions=n_regions, most_tasks=8):
        uses = zip(stated.makers[stated.values].tolist(), stated.takers.tolist(), strict=True)
        if stated.units is not None or any(
            stated.n_places <= taker < maker for maker, taker in uses
        ):
            continue
        compared += 1
        assert place_forward(stated, prices).tolist() == forward_by_definition(stated, prices), seed
    assert compared > 100


def test_circles_are_placed_all_the_same() -> None:
    """Tasks that were joined may wait for each other; each is placed once, none forgotten."""
    for seed, stated, prices in problems(200, n_regions=3, most_tasks=8):
        entities = np.arange(stated.n_tasks) + stated.n_places
        entities[::2] = entities[0]
        merged, _ = merge(stated, entities)
        placed = place_forward(merged, prices)
        assert is_allowed(merged, placed), seed


def test_forward_pass_does_not_look_ahead() -> None:
    """A join runs beside its larger input, although what takes it is elsewhere."""
    values = [(10, "a", [0]), (9, "b", [0]), (100, 0, [1]), (100, "b", [1]), (100, 0, [2])]
    stated = state_problem([*values, (100, "b", [2])])
    placed = place_forward(stated, BYTES)
    assert placed[0] == 0
    assert costs_of(stated, placed, BYTES)[0] > best_by_brute_force(stated, BYTES).cost


def test_results_count_where_they_go() -> None:
    """A result larger than its inputs is made beside the client."""
    assert place_forward(state_problem([(10, "a", [0]), (50, 0, ["b"])]), BYTES).tolist() == [1]


@pytest.mark.parametrize("region", [0, 1, 2])
def test_everything_in_one_region_but_what_is_pinned(region: int) -> None:
    """Pins are kept, and units follow the pin of one of theirs."""
    stated = state_problem(
        [(1, task, []) for task in range(6)],
        places="abcy",
        n_regions=3,
        pins={0: "b", 1: "c"},
        units=[(1, 2), (3, 4)],
    )
    expected = [1, 2, 2, region, region, region]
    assert place_together(stated, region).tolist() == expected
    assert is_allowed(stated, place_together(stated, region))
