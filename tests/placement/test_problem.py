from __future__ import annotations

import pytest

from xr_locality.errors import PlacementError
from xr_locality.placement.problem import PlacementProblem, lower_bound, total_cost
from xr_locality.regions.model import LOCAL, Region

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")
IRELAND = Region.parse("aws:eu-west-1")


def problem(**changes: object) -> PlacementProblem:
    """Make a problem of one value that two tasks take."""
    stated: dict[str, object] = {
        "regions": (OREGON, IOWA, IRELAND),
        "nbytes": [100, 10, 1],
        "inputs": [(), (0,), (0,)],
        "pins": {0: OREGON},
        "units": [],
        "results": frozenset(),
        "client": LOCAL,
    }
    return PlacementProblem(**{**stated, **changes})  # type: ignore[arg-type]


def price(source: Region, target: Region, nbytes: int) -> float:
    """Price a byte by where it leaves: links are not symmetric."""
    return nbytes * {OREGON: 1.0, IOWA: 7.0, IRELAND: 50.0}[source]


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        pytest.param((OREGON, OREGON, OREGON), 0, id="together"),
        pytest.param((OREGON, IOWA, IOWA), 100, id="two takers in one region"),
        pytest.param((OREGON, IOWA, IRELAND), 200, id="takers in two regions"),
    ],
)
def test_crossing_value_counts_once_for_each_region(
    placed: tuple[Region, ...], expected: float
) -> None:
    """A value crosses to a region once, however many tasks there take it."""
    assert total_cost(problem(), placed, price) == expected


def test_results_cross_to_the_client() -> None:
    """Results pay their way to the client, at the price of the region they leave."""
    stated = problem(results=frozenset({1, 2}))
    assert total_cost(stated, (OREGON, OREGON, OREGON), price) == 11
    assert total_cost(stated, (OREGON, OREGON, IOWA), price) == 100 + 10 + 7


def test_result_taken_in_the_clients_region_crosses_once() -> None:
    """A result that a task beside the client takes too is not paid twice."""
    stated = problem(results=frozenset({0}), client=IOWA)
    assert total_cost(stated, (OREGON, IOWA, IOWA), price) == 100


def test_result_made_beside_the_client_is_free() -> None:
    """A result made in the client's region does not move."""
    stated = problem(results=frozenset({0}), client=OREGON)
    assert total_cost(stated, (OREGON, OREGON, OREGON), price) == 0


def test_lower_bound_knows_where_results_are_pinned() -> None:
    """A pinned result leaves its own region; another may leave the cheapest."""
    stated = problem(results=frozenset({0, 1}), pins={0: IOWA})
    assert lower_bound(stated, price) == 100 * 7 + 10 * 1


def test_pin_to_unusable_region_is_refused() -> None:
    """A task pinned where nothing can run is an error that names the regions that can."""
    with pytest.raises(PlacementError, match="pinned to region 'local'.*gcp:us-central1") as caught:
        problem(pins={1: LOCAL})
    assert caught.value.region == LOCAL


def test_unit_pinned_to_two_regions_is_refused() -> None:
    """Tasks that must run together and are pinned apart have no placement."""
    with pytest.raises(PlacementError, match="0, 1 must run in one region") as caught:
        problem(pins={0: IOWA, 1: OREGON}, units=[(0, 1)])
    assert caught.value.regions == (OREGON, IOWA)
