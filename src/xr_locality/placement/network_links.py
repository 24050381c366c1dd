"""How fast bytes cross between two regions.

Figures are in ``data/interregion_network.csv``: measured between one virtual
machine in each region, so they hold for a worker and not for a cluster.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

from xr_locality.regions.cloud_regions import KnownRegion, known_regions
from xr_locality.regions.region import Region

__all__ = ["NetworkLink", "link"]

_BYTES_PER_GBIT: Final = 10**9 / 8
_SECONDS_PER_MS: Final = 1e-3

# The user's own line: the median of fixed lines worldwide was 94 Mbit/s in mid-2024
# (Speedtest Global Index); rounded, since the user's own is not known.
_LOCAL_BYTES_PER_SECOND: Final = 0.1 * _BYTES_PER_GBIT

# Least-squares line through the 6,612 measured round trips of the table against the
# great-circle distance of the regions (2026): 26 ms and 15 ms for each 1000 km. Light
# in fibre takes 9.8 ms.
_RTT_SECONDS: Final = 0.026
_RTT_SECONDS_PER_KM: Final = 15e-6
_EARTH_RADIUS_KM: Final = 6371.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLink:
    """The network between two regions, as one worker sees it."""

    #: What one worker in each region can move; infinite inside a region.
    bytes_per_second: float
    #: Round-trip time in seconds.
    rtt_seconds: float
    #: Where the figures come from, in a sentence fragment for a person.
    evidence: str
    #: Whether one of the figures was assumed; `evidence` then says which.
    guessed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    gbps: float | None
    rtt_ms: float | None


def link(source: Region, target: Region) -> NetworkLink:
    """Look up the network between two regions.

    A multi-region's figures are the medians over the regions that it contains.
    What was not measured is guessed: the throughput as the median of all pairs
    (for the user's own machine, a common line), the round trip from the distance,
    or as the median where a place is not known.

    Parameters
    ----------
    source : Region
        Where bytes leave.
    target : Region
        Where they arrive.

    Returns
    -------
    NetworkLink
    """
    if source.overlaps(target):
        return NetworkLink(bytes_per_second=math.inf, rtt_seconds=0.0, evidence="inside one region")
    rows = [
        _measured()[pair]
        for pair in ((a, b) for a in _members(source) for b in _members(target))
        if pair in _measured()
    ]
    gbps = _median(row.gbps for row in rows)
    rtt_ms = _median(row.rtt_ms for row in rows)
    missing = []
    if gbps is not None:
        bytes_per_second = gbps * _BYTES_PER_GBIT
    elif source.is_local or target.is_local:
        bytes_per_second = _LOCAL_BYTES_PER_SECOND
        missing.append("throughput of a common line")
    else:
        bytes_per_second = _typical().bytes_per_second
        missing.append("median throughput of all measured pairs")
    if rtt_ms is not None:
        rtt_seconds = rtt_ms * _SECONDS_PER_MS
    elif (km := _distance_km(source.known, target.known)) is not None:
        rtt_seconds = _RTT_SECONDS + _RTT_SECONDS_PER_KM * km
        missing.append(f"round trip over {km:,.0f} km")
    else:
        rtt_seconds = _typical().rtt_seconds
        missing.append("median round trip of all measured pairs")
    guesses = f"not measured, so {' and '.join(missing)}"
    return NetworkLink(
        bytes_per_second=bytes_per_second,
        rtt_seconds=rtt_seconds,
        evidence=guesses if missing else "measured between virtual machines, 2022 to 2026",
        guessed=bool(missing),
    )


def _members(region: Region) -> list[str]:
    """Name the measured places that a region spans: itself, or those it contains."""
    mine = region.known
    if mine is None or mine.kind == "region":
        return [str(region)]
    return [
        canonical
        for canonical, other in known_regions().items()
        if other.kind == "region" and mine.contains(other)
    ]


@cache
def _measured() -> Mapping[tuple[str, str], _Measured]:
    """Read the table, once."""
    table = resources.files("xr_locality").joinpath("data", "interregion_network.csv")
    return MappingProxyType(
        {
            (row["src"], row["dst"]): _Measured(
                gbps=float(row["throughput_gbps"]) if row["throughput_gbps"] else None,
                rtt_ms=float(row["rtt_ms"]) if row["rtt_ms"] else None,
            )
            for row in csv.DictReader(table.read_text("utf-8").splitlines())
        }
    )


@cache
def _typical() -> NetworkLink:
    rows = _measured().values()
    return NetworkLink(
        bytes_per_second=statistics.median(r.gbps for r in rows if r.gbps) * _BYTES_PER_GBIT,
        rtt_seconds=statistics.median(r.rtt_ms for r in rows if r.rtt_ms) * _SECONDS_PER_MS,
        evidence="medians of all measured pairs",
        guessed=True,
    )


def _median(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def _distance_km(one: KnownRegion | None, other: KnownRegion | None) -> float | None:
    """Return the great-circle distance; None where a place is not known."""
    if one is None or one.latitude is None or one.longitude is None:
        return None
    if other is None or other.latitude is None or other.longitude is None:
        return None
    north, south = math.radians(one.latitude), math.radians(other.latitude)
    east = math.radians(other.longitude - one.longitude)
    haversine = (
        math.sin((south - north) / 2) ** 2
        + math.cos(north) * math.cos(south) * math.sin(east / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(haversine))
