"""Wording of plans and reports: objectives, baselines, optimality, ages of prices, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Final

from xr_locality.config import Budget
from xr_locality.placement.prices import UNDATED
from xr_locality.regions.region import Region
from xr_locality.runtime.formatting import counted, nbytes, usd

__all__ = [
    "WHY",
    "arrow",
    "baseline",
    "budget",
    "estimate",
    "leaves",
    "objective",
    "optimality",
    "place",
    "prices",
]

#: Why values cross.
WHY: Final[Mapping[str, str]] = {
    "boundary": "boundary",
    "remote-read": "remote read",
    "result": "result",
    "upload": "upload",
}

_OBJECTIVES: Final[Mapping[str, str]] = {
    "usd": "least US dollars",
    "bytes": "least bytes that cross",
    "seconds": "least seconds that bytes are on their way, a proxy for the time of the run",
}

_LEAVES: Final[Mapping[str, str]] = {
    "always": "",
    "reduced": "only reduced values may leave",
    "never": "nothing computed from it may leave",
}


def estimate(amount: int | None, *, guessed: bool) -> str:
    """Write an estimate in bytes, and whether it is only a guess."""
    return f"{nbytes(amount)}, guessed" if guessed and amount is not None else nbytes(amount)


def arrow(pair: tuple[Region, Region]) -> str:
    """Write a pair of regions, source first, as ``locality.prices`` names it."""
    return f"{pair[0]} -> {pair[1]}"


def place(region: Region | None) -> str:
    """Name the region where data are stored, or say that it is unknown."""
    return "region unknown" if region is None else f"in {region}"


def leaves(which: str) -> str:
    """Say which values of a source may leave its region; empty if all may."""
    return _LEAVES[which]


def objective(name: str) -> str:
    """Say what the placement minimised."""
    return _OBJECTIVES[name]


def baseline(name: str) -> str:
    """Name another way to do the work."""
    return "local: pull everything here" if name == "local" else name


def optimality(gap: float, solver: str) -> str:
    """Say how far a plan may be from the optimum, and which solver found it.

    Parameters
    ----------
    gap : float
        Share of the plan's cost that another plan could save at most; 0.0 is proven optimal.
    solver : str
        Name of the solver that placed the tasks.

    Examples
    --------
    >>> optimality(0.0, "minimum cut")
    'proven optimal (minimum cut)'
    >>> optimality(0.03, "swaps between two regions")
    'at most 3.1 % above the optimum (swaps between two regions)'
    """
    return f"{_distance(gap)} ({solver})"


def _distance(gap: float) -> str:
    if gap == 0:
        return "proven optimal"
    # At 100 % above the optimum and more, a bound says little.
    if gap > 0.5:
        return "not proven to be near the best"
    # Rounded up, so that "at most" stays true; first without the error of floats.
    percent = round(100 * gap / (1 - gap), 6)
    rounded = math.ceil(percent) if percent >= 10 else max(math.ceil(10 * percent), 1) / 10
    return f"at most {rounded:g} % above the optimum"


def prices(as_of: str, *, today: date) -> str:
    """Say how old the prices are.

    Parameters
    ----------
    as_of : str
        Date of the oldest list price, to the day, month or year; or a text to show instead.
    today : date
        The day from which the age is counted.

    Examples
    --------
    >>> prices("2024-09-25", today=date(2026, 11, 24))
    'list prices, the oldest of 2024-09-25, 2 years old'
    """
    if as_of == UNDATED:
        return "list prices, some of them undated"
    if not as_of[:1].isdigit():
        return as_of
    year, month, day = (*map(int, as_of.split("-")), 1, 1)[:3]
    months = 12 * (today.year - year) + today.month - month - (today.day < day)
    if months < 1:
        age = "less than a month old"
    elif months < 24:
        age = f"{counted(months, 'month')} old"
    else:
        age = f"{months // 12} years old"
    return f"list prices, the oldest of {as_of}, {age}"


def budget(limit: Budget | None) -> str:
    """Write the most that a plan may move: ``at most 5.00 USD``."""
    if limit is None:
        return "no limit"
    return f"at most {usd(limit.usd) if limit.usd is not None else nbytes(limit.nbytes)}"
