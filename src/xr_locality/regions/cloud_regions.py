"""The bundled table of cloud regions: which exist, and where they are."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

__all__ = ["KnownRegion", "known_regions"]

# Member states on 2026-01-01. Google keeps the objects of a bucket in the
# multi-region ``eu`` inside them: not in London, not in Zurich.
_EUROPEAN_UNION: Final = frozenset(
    "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRegion:
    """One row of the table."""

    #: Canonical ``provider:name``.
    canonical: str
    provider: str
    name: str
    #: ``region``, ``multi-region``, ``dual-region`` or ``site``.
    kind: str
    city: str
    #: ISO 3166-1 alpha-2; empty where the region spans several.
    country: str
    continent: str
    price_zone: str
    #: In degrees; None where the region spans several cities.
    latitude: float | None
    longitude: float | None
    #: ``public``, ``restricted``, ``gov``, ``china`` or ``sovereign``.
    status: str

    def contains(self, other: KnownRegion) -> bool:
        """Say whether data of `other` also count as data of this region."""
        if self.canonical == other.canonical:
            return True
        if self.provider != other.provider or other.kind not in ("region", "dual-region"):
            return False
        if self.kind == "dual-region":
            return other.kind == "region" and other.name in self.city.split("+")
        if self.kind != "multi-region":
            return False
        if other.kind == "dual-region":
            table = known_regions()
            parts = [f"{other.provider}:{name}" for name in other.city.split("+")]
            return all(part in table and self.contains(table[part]) for part in parts)
        if self.name == "us":
            return other.country == "US"
        if self.name == "eu":
            return other.country in _EUROPEAN_UNION
        # Geographers put the Middle East in Asia, the provider does not.
        return other.continent == self.continent and other.price_zone != "middle-east"


@cache
def known_regions() -> Mapping[str, KnownRegion]:
    """Read the table, once.

    Returns
    -------
    Mapping[str, KnownRegion]
        Canonical name to facts, sorted by name.
    """
    text = resources.files("xr_locality").joinpath("data", "cloud_regions.csv").read_text("utf-8")
    rows = (_row(fields) for fields in csv.DictReader(text.splitlines()))
    return MappingProxyType({row.canonical: row for row in rows})


def _row(fields: Mapping[str, str]) -> KnownRegion:
    return KnownRegion(
        canonical=fields["canonical"],
        provider=fields["provider"],
        name=fields["region"],
        kind=fields["kind"],
        city=fields["city"],
        country=fields["country"],
        continent=fields["continent"],
        price_zone=fields["price_zone"],
        latitude=float(fields["latitude"]) if fields["latitude"] else None,
        longitude=float(fields["longitude"]) if fields["longitude"] else None,
        status=fields["status"],
    )
