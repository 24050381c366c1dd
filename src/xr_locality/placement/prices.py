"""List prices of egress: what a provider bills for a GB that leaves a region.

Figures are in ``data/egress_prices.csv``; ``data/README.md`` tells where each
comes from. A provider bills what leaves, never what arrives, so the source's
provider decides. Looked up in this order, the first that is listed wins:

1. inside one region, or between a multi-region and a region in it: nothing leaves;
2. inside one provider: the exact pair, the source to any other region, the source
   to the target's price zone, the two price zones;
3. to another provider, a site or the user's own machine: the internet price of the
   source, its zone or its provider, by destination where the provider tells them apart;
4. a listed provider without such a figure: the median of its figures, a guess;
5. a provider that is not listed: free, a guess.

Volume tiers are left out: planning takes the first, dearest one.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

from xr_locality.regions.region import Region

__all__ = ["GB", "UNDATED", "Price", "list_price", "oldest", "retrieval_price"]

#: Bytes in the GB that prices and budgets are in.
GB: Final = 10**9

#: Stands for the date of a figure whose source gives none.
UNDATED: Final = "undated"

_BYTES_PER_UNIT: Final = {"GB": GB, "GiB": 2**30}
_INTERNET: Final = "internet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a GB costs that leaves one region for another."""

    #: US dollars per GB of 10**9 bytes, without volume discount.
    usd_per_gb: float
    #: Date of the figure, to the day, month or year; ``"undated"`` where its source
    #: gives none, None where the price comes from no list.
    as_of: str | None
    #: Where the figure comes from, in a sentence fragment for a person.
    evidence: str
    #: Whether the figure was not found but assumed; `evidence` then says why.
    guessed: bool = False


def list_price(source: Region, target: Region) -> Price:
    """Look up what a GB from one region to another costs.

    Parameters
    ----------
    source : Region
        Where the bytes leave, and whose provider bills them.
    target : Region
        Where they arrive.

    Returns
    -------
    Price
        Always one; ``guessed`` where no figure is listed.

    Examples
    --------
    >>> oregon, iowa = Region.parse("aws:us-west-2"), Region.parse("gcp:us-central1")
    >>> list_price(oregon, iowa).usd_per_gb
    0.09
    """
    if source == target:
        return Price(usd_per_gb=0.0, as_of=None, evidence="nothing leaves the region")
    if source.overlaps(target):
        whole, part = (source, target) if source.contains(target) else (target, source)
        return Price(
            usd_per_gb=0.0, as_of=None, evidence=f"nothing leaves {whole}, which holds {part}"
        )
    if source.is_local:
        return Price(usd_per_gb=0.0, as_of=None, evidence="no cloud bills what this machine sends")
    return _look_up(source, target) or _typical(source, target)


def retrieval_price(source: Region, target: Region) -> Price | None:
    """Look up what a multi-region bills for reads from a region in it.

    Egress it is not, since nothing leaves, and so no plan counts it; but Google bills it.

    Parameters
    ----------
    source : Region
        A multi-region.
    target : Region
        A region in it.

    Returns
    -------
    Price or None
        None where nothing is billed, or `target` is not in `source`.

    Examples
    --------
    >>> price = retrieval_price(Region.parse("gcp:us"), Region.parse("gcp:us-central1"))
    >>> round(price.usd_per_gb, 4)
    0.0186
    """
    if source == target or not source.contains(target):
        return None
    price = _look_up(source, target)
    return price if price is not None and price.usd_per_gb else None


def _look_up(source: Region, target: Region) -> Price | None:
    listed = _listed()
    return next((listed[row] for row in _rows(source, target) if row in listed), None)


def oldest(prices: Iterable[Price]) -> str | None:
    """Return the date of the oldest figure; an undated one counts as oldest.

    Returns
    -------
    str or None
        None where no price comes from a list.
    """
    dates = {price.as_of for price in prices if price.as_of is not None}
    return UNDATED if UNDATED in dates else min(dates, default=None)


def _rows(source: Region, target: Region) -> Iterator[tuple[str, str]]:
    """Name the table's rows that would price this pair, best first."""
    src, zone, anywhere = str(source), _zone(source), f"{source.provider}:*"
    if source.provider == target.provider:
        yield src, str(target)
        yield src, anywhere
        yield src, _zone(target)
        yield zone, _zone(target)
        return
    for internet in _internet(target):
        yield src, internet
        yield zone, internet
        yield anywhere, internet


def _zone(region: Region) -> str:
    known = region.known
    return f"{region.provider}-zone:{known.price_zone if known else 'unknown'}"


def _internet(target: Region) -> Iterator[str]:
    known = target.known
    if known is not None and known.country == "CN":
        yield f"{_INTERNET}:china"
    elif known is not None and known.country == "AU":
        yield f"{_INTERNET}:australia"
    elif known is not None and known.continent == "Asia":
        yield f"{_INTERNET}:asia"
    yield _INTERNET


@cache
def _listed() -> Mapping[tuple[str, str], Price]:
    """Read the first volume tier of the table, once."""
    text = resources.files("xr_locality").joinpath("data", "egress_prices.csv").read_text("utf-8")
    return MappingProxyType(
        {
            (row["src"], row["dst"]): Price(
                usd_per_gb=float(row["usd_per_gb"]) * GB / _BYTES_PER_UNIT[row["unit"]],
                as_of=row["as_of"],
                evidence=f"list price {row['src']} -> {row['dst']} ({row['source']})",
            )
            for row in csv.DictReader(text.splitlines())
            if row["tier_from_gb"] == "0"
        }
    )


@cache
def _typical(source: Region, target: Region) -> Price:
    """Guess the price of a pair that no row covers."""
    provider = source.provider
    between, internet = [], []
    for (src, dst), price in _listed().items():
        if src.partition(":")[0] not in (provider, f"{provider}-zone"):
            continue
        if dst == _INTERNET:
            internet.append(price)
        elif dst.startswith((f"{provider}:*", f"{provider}-zone:")):
            between.append(price)
    known = (provider == target.provider and between) or internet
    if not known:
        return Price(
            usd_per_gb=0.0,
            as_of=None,
            evidence=f"no egress price of {provider!r} is known; taken as free",
            guessed=True,
        )
    kind = "between regions" if known is between else "to the internet"
    return Price(
        usd_per_gb=statistics.median(price.usd_per_gb for price in known),
        as_of=oldest(known),
        evidence=(
            f"no list price {source} -> {target}; median of {len(known)} of {provider!r} {kind}"
        ),
        guessed=True,
    )
