"""How amounts are written wherever a plan or a report is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from dask.utils import format_bytes, format_time

from xr_locality.config import Budget
from xr_locality.placement.prices import UNDATED
from xr_locality.regions.region import Region

__all__ = [
    "UNKNOWN",
    "WHY",
    "baseline",
    "budget",
    "counted",
    "difference",
    "estimate",
    "headline",
    "leaves",
    "listed",
    "nbytes",
    "objective",
    "optimality",
    "place",
    "prices",
    "ratio",
    "seconds",
    "usd",
    "usd_per_gb",
]

#: Stands for an amount that nobody could estimate or measure.
UNKNOWN: Final = "unknown"

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


def nbytes(amount: int | None) -> str:
    """Write an amount of bytes: ``2.34 kiB``."""
    return UNKNOWN if amount is None else format_bytes(amount)


def estimate(amount: int | None, *, guessed: bool) -> str:
    """Write an estimate in bytes, and whether it is no more than a guess."""
    return f"{nbytes(amount)}, guessed" if guessed and amount is not None else nbytes(amount)


def usd(amount: float | None, *, unit: bool = True) -> str:
    """Write an amount of US dollars, to the cent or as finely as it takes to tell it from 0.

    Examples
    --------
    >>> [usd(amount) for amount in (0, 2e-6, 0.0123, 12.3)]
    ['0.00 USD', '< 0.0001 USD', '0.0123 USD', '12.30 USD']
    """
    if amount is None:
        return UNKNOWN
    if 0 < amount < 0.0001:
        text = "< 0.0001"
    elif 0 < amount < 0.1:
        text = f"{amount:.4f}"
    else:
        text = f"{amount:,.2f}"
    return f"{text} USD" if unit else text


def usd_per_gb(amount: float) -> str:
    """Write a price: ``0.0186 USD/GB``."""
    return f"{amount:.4g} USD/GB"


def seconds(amount: float | None) -> str:
    """Write a duration given in seconds: ``1.18 s``, ``20m 34s``."""
    if amount is None:
        return UNKNOWN
    return "0 s" if amount == 0 else format_time(amount)


def ratio(part: float, whole: float) -> str:
    """Write how many times one amount is another; empty where that has no sense.

    Examples
    --------
    >>> [ratio(part, 100) for part in (38_000_000, 250, 50)]
    ['380,000 x', '2.5 x', '0.5 x']
    """
    if whole <= 0:
        return ""
    times = part / whole
    return f"{times:,.0f} x" if times >= 10 else f"{times:.2g} x"


def counted(amount: int, noun: str, *, plural: str | None = None) -> str:
    """Write how many there are of something: ``1 task``, ``2 tasks``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def difference(amount: float, write: Callable[[Any], str]) -> str:
    """Write a difference with its sign: ``+2.34 kiB``, ``-0.02 USD``.

    Examples
    --------
    >>> [difference(amount, nbytes) for amount in (2_400, -10, 0)]
    ['+2.34 kiB', '-10 B', '0 B']
    """
    written = write(abs(amount))
    if written.startswith("<"):
        return f"{written} {'more' if amount > 0 else 'less'}"
    sign = "+" if amount > 0 else "-" if amount < 0 else ""
    return sign + written


def listed(names: Sequence[str], *, most: int, total: int | None = None) -> str:
    """Write the first of some names, and how many more there are.

    Examples
    --------
    >>> listed(["tp", "t2m", "u", "v"], most=2)
    'tp, t2m and 2 more'
    """
    shown = names[:most]
    more = (len(names) if total is None else total) - len(shown)
    text = ", ".join(shown)
    return f"{text} and {more:,} more" if more > 0 else text


def headline(*, n_regions: int, n_boundaries: int, nbytes_moved: int, cost_usd: float) -> str:
    """Write a plan in one line: ``2 regions, 1 boundary value, 4.69 kiB to move, 0.02 USD``."""
    return ", ".join(
        (
            counted(n_regions, "region"),
            counted(n_boundaries, "boundary value"),
            f"{nbytes(nbytes_moved)} to move",
            usd(cost_usd),
        )
    )


def place(region: Region | None) -> str:
    """Say where data lie, or that nobody knows."""
    return "region unknown" if region is None else f"in {region}"


def leaves(which: str) -> str:
    """Say what of a source may leave its region; empty where all may."""
    return _LEAVES[which]


def objective(name: str) -> str:
    """Say what was kept least."""
    return _OBJECTIVES[name]


def baseline(name: str) -> str:
    """Say what another way to do the work is."""
    return "local: pull everything here" if name == "local" else name


def optimality(gap: float, solver: str) -> str:
    """Say how far a plan may be from the best one, and what found it.

    Parameters
    ----------
    gap : float
        Share of the plan's cost that another may save at most; 0.0 is proven optimal.
    solver : str
        What placed the tasks.

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
        Date of the oldest list price, to the day, month or year; or what is said instead.
    today : date
        The day on which this is read.

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
