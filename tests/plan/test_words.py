from __future__ import annotations

from datetime import date

import pytest

from xr_locality.config import Budget
from xr_locality.display import wording
from xr_locality.runtime import formatting


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00 USD"),
        (1e-9, "< 0.0001 USD"),
        (0.00012, "0.0001 USD"),
        (0.0123, "0.0123 USD"),
        (0.25, "0.25 USD"),
        (12.3, "12.30 USD"),
        (1234.5, "1,234.50 USD"),
        (None, "unknown"),
    ],
)
def test_usd(amount: float | None, text: str) -> None:
    """Sums that are nearly nothing are told from nothing, larger ones are to the cent."""
    assert formatting.usd(amount) == text


@pytest.mark.parametrize(
    ("cost", "lower_bound", "text"),
    [
        (5.0, 5.0, "proven optimal (swaps)"),
        (5.0, 0.0, "not proven to be near the best (swaps)"),
        (1.12, 1.0, "at most 12 % above the optimum (swaps)"),
        (1.1201, 1.0, "at most 13 % above the optimum (swaps)"),
        (1.0 + 1e-12, 1.0, "at most 0.1 % above the optimum (swaps)"),
        (1.00001, 1.0, "at most 0.1 % above the optimum (swaps)"),
        (1.041, 1.0, "at most 4.1 % above the optimum (swaps)"),
        (20.5, 1.0, "not proven to be near the best (swaps)"),
    ],
)
def test_optimality(cost: float, lower_bound: float, text: str) -> None:
    """The distance from the optimum is rounded up, so that "at most" is true."""
    assert wording.optimality((cost - lower_bound) / cost, "swaps") == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(880, 10, "88 x"), (25, 10, "2.5 x"), (5, 10, "0.5 x"), (5, 0, ""), (0, 10, "0 x")],
)
def test_ratio(part: float, whole: float, text: str) -> None:
    """A multiple of nothing is not written."""
    assert formatting.ratio(part, whole) == text


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (None, "no limit"),
        (Budget(usd=5), "at most 5.00 USD"),
        (Budget(nbytes=2**20), "at most 1.00 MiB"),
    ],
)
def test_budget(limit: Budget | None, text: str) -> None:
    """A budget is in dollars or in bytes, whichever it was given in."""
    assert wording.budget(limit) == text


@pytest.mark.parametrize(
    ("as_of", "text"),
    [
        ("2024-07-01", "list prices, the oldest of 2024-07-01, 2 years old"),
        ("2023-06", "list prices, the oldest of 2023-06, 3 years old"),
        ("2026", "list prices, the oldest of 2026, 10 months old"),
        ("2026-10-24", "list prices, the oldest of 2026-10-24, 1 month old"),
        ("2026-10-25", "list prices, the oldest of 2026-10-25, less than a month old"),
        ("2027", "list prices, the oldest of 2027, less than a month old"),
        ("2024-11-25", "list prices, the oldest of 2024-11-25, 23 months old"),
        ("undated", "list prices, some of them undated"),
        ("no list price is used", "no list price is used"),
    ],
)
def test_prices(as_of: str, text: str) -> None:
    """The age of the prices is said, and so is that it is not known."""
    assert wording.prices(as_of, today=date(2026, 11, 24)) == text


def test_difference() -> None:
    """A difference has its sign, and one that is nearly nothing says which way it goes."""
    assert formatting.difference(2_400, formatting.nbytes) == "+2.34 kiB"
    assert formatting.difference(-0.25, formatting.usd) == "-0.25 USD"
    assert formatting.difference(-1e-9, formatting.usd) == "< 0.0001 USD less"
    assert formatting.difference(0, formatting.nbytes) == "0 B"


def test_listed() -> None:
    """Names beyond the first few are counted, those not even given among them."""
    assert formatting.listed(["a", "b"], most=3) == "a, b"
    assert formatting.listed(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert formatting.listed(["a"], most=5, total=1_001) == "a and 1,000 more"


def test_seconds() -> None:
    """No time at all is not written as a tiny one."""
    assert formatting.seconds(0) == "0 s"
    assert formatting.seconds(1.5) == "1.50 s"
    assert formatting.seconds(None) == "unknown"
