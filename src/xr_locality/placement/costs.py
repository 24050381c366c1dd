"""What it costs that bytes move between regions: in USD, bytes or seconds.

The one place where a move is priced: the solver, the plan and the report all ask
a :class:`CostModel`, so that what is shown is what was kept least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import numpy as np

from xr_locality.errors import ConfigurationError, RegionError, raise_together
from xr_locality.placement.links import Link, link
from xr_locality.placement.prices import GB, Price, list_price, oldest
from xr_locality.placement.problem import Prices
from xr_locality.regions.model import Region

__all__ = ["GB", "Cost", "CostModel", "Link", "Price"]

#: Prices ``(source, target, nbytes)``; what it measures is the run's objective.
Cost: TypeAlias = Callable[[Region, Region, int], float]

_ANY: Final = "*"
_ARROW: Final = "->"


class CostModel:
    """Prices moves between regions, by list prices and the user's own.

    Parameters
    ----------
    overrides : Mapping[str, float], optional
        USD per GB by pair, ``"aws:us-west-2 -> gcp:us-central1"``. Either side may
        also be every region of a provider, ``"aws:*"``, or any region, ``"*"``. The
        most specific pair wins, the source's side first.

    Raises
    ------
    ConfigurationError
        If an override is no pair of regions, or its price no number of at least 0.
    LocalityErrorGroup
        If several are.

    Examples
    --------
    >>> oregon, iowa = Region.parse("aws:us-west-2"), Region.parse("gcp:us-central1")
    >>> CostModel().usd(oregon, iowa, 50 * GB)
    4.5
    >>> CostModel({"aws:* -> gcp:us-central1": 0.02}).usd(oregon, iowa, 50 * GB)
    1.0
    """

    __slots__ = ("_links", "_overrides", "_prices")

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        self._overrides = _understood(overrides or {})
        self._prices: dict[tuple[Region, Region], Price] = {}
        self._links: dict[tuple[Region, Region], Link] = {}

    def __repr__(self) -> str:
        return f"CostModel({len(self._overrides)} overrides)"

    def price(self, source: Region, target: Region) -> Price:
        """Say what a GB from one region to another costs, and how that is known.

        Parameters
        ----------
        source : Region
            Where the bytes leave, and whose provider bills them.
        target : Region
            Where they arrive; ``local`` is paid as the internet.

        Returns
        -------
        Price
        """
        pair = source, target
        price = self._prices.get(pair)
        if price is None:
            price = self._prices[pair] = self._overridden(source, target) or list_price(*pair)
        return price

    def link(self, source: Region, target: Region) -> Link:
        """Say how fast bytes go from one region to another, and how that is known."""
        pair = source, target
        found = self._links.get(pair)
        if found is None:
            found = self._links[pair] = link(source, target)
        return found

    def usd(self, source: Region, target: Region, nbytes: int) -> float:
        """Price a move in US dollars; `nbytes` is in bytes."""
        return self.price(source, target).usd_per_gb * nbytes / GB

    def nbytes(self, source: Region, target: Region, nbytes: int) -> float:
        """Price a move at its bytes: 0 inside a region."""
        return 0.0 if source == target else float(nbytes)

    def seconds(self, source: Region, target: Region, nbytes: int) -> float:
        """Price a move in seconds, as one worker in each region would make it alone."""
        if source == target or not nbytes:
            return 0.0
        found = self.link(source, target)
        return found.rtt_seconds + nbytes / found.bytes_per_second

    def bytes_per_second(self, source: Region, target: Region) -> float:
        """Return what one worker in each region can move, in bytes per second."""
        return self.link(source, target).bytes_per_second

    def rtt_seconds(self, source: Region, target: Region) -> float:
        """Return the round-trip time between two regions, in seconds."""
        return self.link(source, target).rtt_seconds

    def objective(
        self, name: Literal["usd", "bytes", "seconds"]
    ) -> Callable[[Region, Region, int], float]:
        """Return the method that prices ``(source, target, nbytes)`` by an objective."""
        return {"usd": self.usd, "bytes": self.nbytes, "seconds": self.seconds}[name]

    def prices(
        self, name: Literal["usd", "bytes", "seconds"], places: Sequence[Region]
    ) -> Prices:
        """Return what a byte costs between places, by an objective, in whole units.

        Parameters
        ----------
        name : {"usd", "bytes", "seconds"}
            Seconds are those of bytes on their way, without round trips.
        places : sequence of Region
            Of which one may contain another: nothing crosses between these.

        Returns
        -------
        Prices
            In units of 1e-10 USD per GB, bytes, or 1e-15 seconds per byte.
        """
        rate, unit = {
            "usd": (lambda *pair: self.price(*pair).usd_per_gb / 1e-10, 1e-10 / GB),
            "bytes": (lambda *pair: 1.0, 1.0),
            "seconds": (lambda *pair: 1e15 / self.bytes_per_second(*pair), 1e-15),
        }[name]
        apart = np.array(
            [[not (a.contains(b) or b.contains(a)) for b in places] for a in places], dtype=bool
        ).reshape(len(places), len(places))
        objective = np.zeros(apart.shape, dtype=np.int64)
        for row, column in zip(*apart.nonzero(), strict=True):
            objective[row, column] = round(rate(places[row], places[column]))
        return Prices(objective=objective, ties=apart.astype(np.int64), unit=unit)

    def as_of(self, pairs: Iterable[tuple[Region, Region]]) -> str | None:
        """Return the date of the oldest list price that these pairs are paid by.

        Parameters
        ----------
        pairs : iterable of (Region, Region)
            Source and target of each move.

        Returns
        -------
        str or None
            ``"2024-09-25"``, ``"2023-06"`` or ``"undated"``; None where no list price
            is used.
        """
        return oldest(self.price(source, target) for source, target in pairs)

    def _overridden(self, source: Region, target: Region) -> Price | None:
        if source == target:
            return None
        for src in _patterns(source):
            for dst in _patterns(target):
                usd_per_gb = self._overrides.get((src, dst))
                if usd_per_gb is not None:
                    return Price(
                        usd_per_gb=usd_per_gb,
                        as_of=None,
                        evidence=f"your own price {src} {_ARROW} {dst}",
                    )
        return None


def _patterns(region: Region) -> tuple[str, ...]:
    """Name the sides of an override that cover a region, most specific first."""
    return str(region), f"{region.provider}:{_ANY}", _ANY


def _understood(overrides: Mapping[str, float]) -> Mapping[tuple[str, str], float]:
    understood: dict[tuple[str, str], float] = {}
    problems = []
    for pair, usd_per_gb in overrides.items():
        try:
            sides = _sides(pair)
            if not (math.isfinite(usd_per_gb) and usd_per_gb >= 0):
                raise _refused(
                    pair, f"{usd_per_gb!r} is no price; it must be USD per GB, 0 or more"
                )
            if sides in understood:
                raise _refused(pair, "this pair has two prices")
        except ConfigurationError as error:
            problems.append(error)
        else:
            understood[sides] = usd_per_gb
    raise_together(problems, message="The prices of xr-locality's settings cannot be used:")
    return MappingProxyType(understood)


def _sides(pair: str) -> tuple[str, str]:
    sides = pair.split(_ARROW)
    if len(sides) != 2:
        raise _refused(pair, "it must be written 'source -> target'")
    source, target = (_side(pair, text.strip()) for text in sides)
    if source == target and _ANY not in source:
        raise _refused(pair, "nothing is paid inside a region")
    return source, target


def _side(pair: str, text: str) -> str:
    provider, colon, name = text.partition(":")
    if text == _ANY or (colon and name == _ANY and provider.isalnum() and provider.islower()):
        return text
    try:
        return str(Region.parse(text))
    except RegionError as error:
        raise _refused(pair, str(error)) from error


def _refused(pair: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot use the price of {pair!r} in locality.prices: {why.rstrip('.')}.", pair=pair
    )
