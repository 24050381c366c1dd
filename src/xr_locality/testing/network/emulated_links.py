"""Properties of an emulated link, and counts of what crossed it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Final, Self, TypeAlias

from xr_locality.errors import ConfigurationError
from xr_locality.placement import network_links as measured
from xr_locality.regions.region import Region

__all__ = ["EmulatedLink", "LinkCounts", "Links", "Pair", "fill_in"]

#: From where to where.
Pair: TypeAlias = tuple[Region, Region]

#: Links as a user gives them: one for all pairs, or some by pair.
Links: TypeAlias = "EmulatedLink | Mapping[tuple[Region | str, Region | str], EmulatedLink]"

# 400 Mbit/s: several pairs at a time are within what a forwarder in Python does on
# one core; clouds do more.
_AT_MOST: Final = 50e6


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedLink:
    """One direction between two regions; the other direction is a link of its own.

    Attributes
    ----------
    delay_seconds : float
        How long a packet travels, one way.
    bytes_per_second : float
        IP packets with their headers; infinite for as fast as the machine can.
    loss : float
        Fraction of packets that get lost.

    Raises
    ------
    ConfigurationError
        If a figure makes no sense.

    Examples
    --------
    A round trip of 60 ms, if it is the same both ways, and 200 Mbit/s:

    >>> EmulatedLink(delay_seconds=0.03, bytes_per_second=25e6)
    EmulatedLink(delay_seconds=0.03, bytes_per_second=25000000.0, loss=0.0)
    """

    delay_seconds: float = 0.0
    bytes_per_second: float = math.inf
    loss: float = 0.0

    def __post_init__(self) -> None:
        if not (
            0 <= self.delay_seconds < math.inf and self.bytes_per_second > 0 and 0 <= self.loss < 1
        ):
            raise ConfigurationError(
                f"Cannot emulate {self!r}: a delay is not negative and finite, bytes a second "
                "are positive, a loss is at least 0 and below 1."
            )

    @classmethod
    def between(
        cls,
        source: Region | str,
        target: Region | str,
        *,
        at_most_bytes_per_second: float = _AT_MOST,
    ) -> Self:
        """Look a link up in the bundled table of measured networks.

        Parameters
        ----------
        source, target : Region or str
            From where to where.
        at_most_bytes_per_second : float, optional
            Faster ones are made so slow: clouds are faster than one machine that
            runs everything.
        """
        found = measured.link(Region.parse(source), Region.parse(target))
        return cls(
            delay_seconds=found.rtt_seconds / 2,
            bytes_per_second=min(found.bytes_per_second, at_most_bytes_per_second),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCounts:
    """What has crossed one link, one way, since the network started.

    Attributes
    ----------
    nbytes : int
        Bytes of IP packets delivered, with headers.
    payload_nbytes : int
        Of these what was inside TCP or UDP: with what was sent again, and the
        headers of TLS and of whatever else is spoken.
    packets : int
        Packets delivered.
    dropped : int
        Packets that were not: the queue was full, the link cut, or they got lost.
    """

    nbytes: int = 0
    payload_nbytes: int = 0
    packets: int = 0
    dropped: int = 0

    def __sub__(self, earlier: LinkCounts) -> LinkCounts:
        return LinkCounts(
            nbytes=self.nbytes - earlier.nbytes,
            payload_nbytes=self.payload_nbytes - earlier.payload_nbytes,
            packets=self.packets - earlier.packets,
            dropped=self.dropped - earlier.dropped,
        )


def fill_in(links: Links | None, regions: Iterable[Region]) -> dict[Pair, EmulatedLink]:
    """Give each ordered pair of regions its link.

    What is given for one way holds for the way back too, unless that is given as
    well; what is not given at all comes from the bundled table.

    Parameters
    ----------
    links : EmulatedLink or Mapping, optional
        One for all pairs, or some by pair.
    regions : iterable of Region
        All that take part.

    Raises
    ------
    ConfigurationError
        If a pair names a region that takes no part.
    """
    pairs = list(permutations(regions, 2))
    if isinstance(links, EmulatedLink):
        return dict.fromkeys(pairs, links)
    given = {
        (Region.parse(source), Region.parse(target)): link
        for (source, target), link in (links or {}).items()
    }
    if unknown := [pair for pair in given if pair not in set(pairs)]:
        listed = ", ".join(f"{str(source)!r} to {str(target)!r}" for source, target in unknown)
        raise ConfigurationError(f"The network has no link from {listed}.")
    return {
        (source, target): given.get((source, target))
        or given.get((target, source))
        or EmulatedLink.between(source, target)
        for source, target in pairs
    }
