from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from support.plan_builders import IOWA, OREGON
from xr_locality.plan.transfers import Crossings, Transfer, Transfers
from xr_locality.regions.region import LOCAL


class Many(Sequence[str]):
    """A million keys, which nobody may list."""

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("a key was made")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("keys were listed")


def no_sizes() -> Sequence[int]:
    """Refuse to estimate."""
    raise AssertionError("sizes were estimated")


FEW = Crossings(
    source=OREGON, target=IOWA, why="boundary", keys=["x", "y"], nbytes=7, sizes=lambda: [3, 4]
)
MANY = Crossings(
    source=OREGON, target=LOCAL, why="result", keys=Many(), nbytes=8 * 10**6, sizes=no_sizes
)
READ = Crossings(
    source=OREGON, target=IOWA, why="remote-read", keys=("s3://b",), nbytes=5, sizes=lambda: (5,)
)


def test_sums_list_nothing() -> None:
    """A million results are counted and summed without one of them being made."""
    transfers = Transfers([FEW, MANY, READ])
    assert len(transfers) == 10**6 + 3
    assert transfers.moved() == {(OREGON, LOCAL): 8 * 10**6, (OREGON, IOWA): 12}
    assert repr(transfers) == "<Transfers: 1000003 in 3 groups>"


def test_sums_come_in_order_of_the_regions() -> None:
    """Pairs are sorted, however transfers were grouped."""
    moved = Transfers([MANY, FEW]).moved()
    assert list(moved) == sorted(moved)


def test_going_through_gives_each() -> None:
    """Each crossing comes with its key, its bytes and its reason."""
    assert list(Transfers([FEW, READ])) == [
        Transfer(source=OREGON, target=IOWA, key="x", nbytes=3, why="boundary"),
        Transfer(source=OREGON, target=IOWA, key="y", nbytes=4, why="boundary"),
        Transfer(source=OREGON, target=IOWA, key="s3://b", nbytes=5, why="remote-read"),
    ]


def test_first_ones_are_made_alone() -> None:
    """Whoever stops early never comes to the million."""
    assert next(iter(Transfers([FEW, MANY]))).key == "x"


def test_is_a_sequence() -> None:
    """Transfers are picked and compared as those of a tuple."""
    transfers = Transfers([FEW, READ])
    listed = tuple(transfers)
    assert transfers[0] == listed[0]
    assert transfers[-1] == listed[-1]
    assert transfers[1:] == listed[1:]
    assert transfers == listed
    assert transfers != listed[:2]
    assert transfers != 3


def test_sizes_that_do_not_match_keys_are_an_error() -> None:
    """A size for each key, or nothing."""
    odd = Crossings(source=OREGON, target=IOWA, why="boundary", keys=["x"], nbytes=1, sizes=list)
    with pytest.raises(ValueError, match="shorter"):
        list(Transfers([odd]))
