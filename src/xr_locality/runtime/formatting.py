"""Amounts as text: bytes, US dollars, seconds, ratios, counts and lists of names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from dask.utils import format_bytes, format_time

__all__ = [
    "UNKNOWN",
    "counted",
    "difference",
    "listed",
    "nbytes",
    "ratio",
    "seconds",
    "usd",
    "usd_per_gb",
]

#: Stands for an amount that could not be estimated or measured.
UNKNOWN: Final = "unknown"


def nbytes(amount: int | None) -> str:
    """Write an amount of bytes: ``2.34 kiB``."""
    return UNKNOWN if amount is None else format_bytes(amount)


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
