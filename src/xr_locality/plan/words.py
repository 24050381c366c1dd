"""How amounts are written wherever a plan or a report is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from dask.utils import format_bytes, format_time

from xr_locality.config import Budget
from xr_locality.placement.prices import UNDATED
from xr_locality.regions.model import Region

__all__ = [
    "UNKNOWN",
    "WHY",
    "baseline",
    "budget",
    "counted",
    "estimate",
    "headline",
    "listed",
    "nbytes",
    "objective",
    "optimality",
    "place",
    "prices",
    "ratio",
    "seconds",
    "usd",
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


def objective(name: str) -> str:
    """Say what was kept least."""
    return _OBJECTIVES[name]


def baseline(name: str) -> str:
    """Say what another way to do the work is."""
    return "local: pull everything here" if name == "local" else name


def optimality(gap: float, cost: float, lower_bound: float) -> str:
    """Say how far a plan may be from the best one.

    Parameters
    ----------
    gap : float
        0.0 is proven optimal.
    cost, lower_bound : float
        Of the plan and of any plan, in the objective's unit.
    """
    if gap == 0:
        return "proven optimal"
    if lower_bound <= 0:
        return "by a simple rule, not proven to be the best"
    # Rounded up, so that "at most" stays true; first without the error of floats.
    percent = round(100 * (cost / lower_bound - 1), 6)
    if percent > 100:
        return "by a simple rule, not proven to be the best"
    rounded = math.ceil(percent) if percent >= 10 else max(math.ceil(10 * percent), 1) / 10
    return f"at most {rounded:g} % above the optimum"


def prices(as_of: str) -> str:
    """Say how old the prices are: ``list prices, the oldest of 2024-09-25``."""
    if as_of == UNDATED:
        return "list prices, some of them undated"
    return f"list prices, the oldest of {as_of}" if as_of[:1].isdigit() else as_of


def budget(limit: Budget | None) -> str:
    """Write the most that a plan may move: ``at most 5.00 USD``."""
    if limit is None:
        return "no limit"
    return f"at most {usd(limit.usd) if limit.usd is not None else nbytes(limit.nbytes)}"
