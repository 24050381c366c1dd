"""What it costs that bytes move between regions: in USD, bytes or seconds.

The one place where a move is priced: the solver, the plan and the report all ask
a :class:`CostModel`, so that what is shown is what was kept least.

Nothing crosses inside a region, nor between a multi-region (``gcp:us``) and a region
in it: there a move costs nothing, by whatever it is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from xr_locality.config import LinkSetting
from xr_locality.placement.network_links import NetworkLink, link
from xr_locality.placement.overrides import Overrides, inside
from xr_locality.placement.prices import GB, Price, list_price, oldest
from xr_locality.placement.problem import Prices
from xr_locality.regions.region import Region

__all__ = ["GB", "Cost", "CostModel", "NetworkLink", "Price"]

#: Prices ``(source, target, nbytes)``; what it measures is the run's objective.
Cost: TypeAlias = Callable[[Region, Region, int], float]


class CostModel:
    """Prices moves between regions, by list prices and the user's own.

    Parameters
    ----------
    overrides : Mapping[str, float], optional
        USD per GB by pair, ``"aws:us-west-2 -> gcp:us-central1"``. Either side may
        also be every region of a provider, ``"aws:*"``, or any region, ``"*"``. The
        most specific pair wins, the source's side first.
    links : Mapping[str, LinkSetting], optional
        Throughputs and round trips by pair, in the same way; what is None stays as
        it was measured or guessed.

    Raises
    ------
    ConfigurationError
        If a key is no pair of regions, or a price no number of at least 0.
    LocalityErrorGroup
        If several are wrong.

    Examples
    --------
    >>> oregon, iowa = Region.parse("aws:us-west-2"), Region.parse("gcp:us-central1")
    >>> CostModel().usd(oregon, iowa, 50 * GB)
    4.5
    >>> CostModel({"aws:* -> gcp:us-central1": 0.02}).usd(oregon, iowa, 50 * GB)
    1.0
    >>> from xr_locality.config import LinkSetting
    >>> slow = {"* -> *": LinkSetting(bytes_per_second=50e6, rtt_seconds=0.5)}
    >>> CostModel(links=slow).seconds(oregon, iowa, GB)
    20.0
    >>> CostModel(links=slow).duration(oregon, iowa, GB)
    20.5
    """

    __slots__ = ("_links", "_own_links", "_own_prices", "_prices")

    def __init__(
        self,
        overrides: Mapping[str, float] | None = None,
        *,
        links: Mapping[str, LinkSetting] | None = None,
    ) -> None:
        self._own_prices = Overrides(overrides or {}, _understood, setting="prices")
        self._own_links = Overrides(links or {}, _as_given, setting="links")
        self._prices: dict[tuple[Region, Region], Price] = {}
        self._links: dict[tuple[Region, Region], NetworkLink] = {}

    def __repr__(self) -> str:
        return f"CostModel({len(self._own_prices)} own prices, {len(self._own_links)} own links)"

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

    def link(self, source: Region, target: Region) -> NetworkLink:
        """Say how fast bytes go from one region to another, and how that is known."""
        pair = source, target
        found = self._links.get(pair)
        if found is None:
            found = self._links[pair] = self._own_link(source, target, link(source, target))
        return found

    def usd(self, source: Region, target: Region, nbytes: int) -> float:
        """Price a move in US dollars; `nbytes` is in bytes."""
        return self.price(source, target).usd_per_gb * nbytes / GB

    def nbytes(self, source: Region, target: Region, nbytes: int) -> float:
        """Price a move at its bytes: 0 inside a region."""
        return 0.0 if inside(source, target) else float(nbytes)

    def seconds(self, source: Region, target: Region, nbytes: int) -> float:
        """Price a move in seconds on the way, at what one worker in each region can move.

        Round trips are left out: they do not add up by bytes, see :meth:`duration`.
        """
        if not nbytes or inside(source, target):
            return 0.0
        return nbytes / self.link(source, target).bytes_per_second

    def duration(self, source: Region, target: Region, nbytes: int) -> float:
        """Return how long a move takes, with one round trip, in seconds."""
        if not nbytes or inside(source, target):
            return 0.0
        return self.rtt_seconds(source, target) + self.seconds(source, target, nbytes)

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

    def prices(self, name: Literal["usd", "bytes", "seconds"], places: Sequence[Region]) -> Prices:
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
        rates: Mapping[str, tuple[Callable[[Region, Region], float], float]] = {
            "usd": (lambda *pair: self.price(*pair).usd_per_gb / 1e-10, 1e-10 / GB),
            "bytes": (lambda *_: 1.0, 1.0),
            "seconds": (lambda *pair: 1e15 / self.bytes_per_second(*pair), 1e-15),
        }
        rate, unit = rates[name]
        apart = np.array([[not inside(a, b) for b in places] for a in places], dtype=bool).reshape(
            len(places), len(places)
        )
        objective = np.zeros(apart.shape, dtype=np.int64)
        for row, column in np.argwhere(apart).tolist():
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
        found = self._own_prices.find(source, target)
        if found is None:
            return None
        pair, usd_per_gb = found
        return Price(usd_per_gb=usd_per_gb, as_of=None, evidence=f"your own price {pair}")

    def _own_link(self, source: Region, target: Region, known: NetworkLink) -> NetworkLink:
        """Put the user's own figures in the place of those that are known."""
        found = self._own_links.find(source, target)
        if found is None:
            return known
        pair, setting = found
        throughput, rtt = setting.bytes_per_second, setting.rtt_seconds
        both = throughput is not None and rtt is not None
        own = "throughput" if rtt is None else "round trip"
        return replace(
            known,
            bytes_per_second=known.bytes_per_second if throughput is None else throughput,
            rtt_seconds=known.rtt_seconds if rtt is None else rtt,
            evidence=f"your own link {pair}"
            if both
            else f"your own {own} {pair}; else {known.evidence}",
            guessed=known.guessed and not both,
        )


def _understood(usd_per_gb: float) -> float:
    if not (math.isfinite(usd_per_gb) and usd_per_gb >= 0):
        raise ValueError(f"{usd_per_gb!r} is no price; it must be USD per GB, 0 or more")
    return usd_per_gb


def _as_given(setting: LinkSetting) -> LinkSetting:
    return setting
