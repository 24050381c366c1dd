"""How long moves take if pairs of regions move at the same time."""

from __future__ import annotations

import pytest

from support.plan_builders import IOWA, IRELAND, OREGON, crossing
from xr_locality.display.plans import Plan
from xr_locality.plan.makespan import makespan
from xr_locality.plan.transfers import Transfer, Why
from xr_locality.regions.region import LOCAL, Region


def seconds(_: Region, __: Region, nbytes: int) -> float:
    """Move a byte a second, after a second."""
    return 1.0 + nbytes


def move(source: Region, target: Region, nbytes: int, why: Why = "boundary") -> Transfer:
    """Make a transfer."""
    return Transfer(source=source, target=target, key="a", nbytes=nbytes, why=why)


def test_pairs_move_at_the_same_time() -> None:
    """Of values between regions the slowest pair counts, there and back apart."""
    moves = move(IOWA, OREGON, 10), move(OREGON, IOWA, 7), move(IRELAND, OREGON, 3)
    assert makespan(crossing(*moves).groups, seconds) == 11


def test_one_pair_shares_its_link() -> None:
    """All that goes from one region to another goes by one link."""
    moves = move(IOWA, OREGON, 10), move(IOWA, OREGON, 5, "remote-read")
    assert makespan(crossing(*moves).groups, seconds) == 16


def test_results_come_last() -> None:
    """Results leave when everything between regions has arrived."""
    moves = (
        move(IOWA, OREGON, 10),
        move(LOCAL, IOWA, 4, "upload"),
        move(OREGON, LOCAL, 20, "result"),
        move(IOWA, LOCAL, 2, "result"),
    )
    assert makespan(crossing(*moves).groups, seconds) == 11 + 21


def test_nothing_takes_no_time() -> None:
    """Where nothing crosses nobody waits."""
    assert makespan((), seconds) == 0


def test_of_a_plan(plan: Plan) -> None:
    """A plan's makespan is by its own links, and no longer than one pair after another."""
    costs = plan.costs
    there, back = costs.duration(IOWA, OREGON, 2_400), costs.duration(OREGON, LOCAL, 2_400)
    assert plan.makespan == pytest.approx(there + back)
    trips = costs.rtt_seconds(IOWA, OREGON) + costs.rtt_seconds(OREGON, LOCAL)
    assert plan.makespan <= plan.seconds + trips + 1e-12
