"""Regions of public buckets, from the bundled table.

The table was collected from what people wrote of their buckets, and some of it
is old: a rule of the user's and a live answer go before it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, cast

from xr_locality.regions.detection import Detection
from xr_locality.regions.detectors.hostnames import as_bucket, host_of
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store

__all__ = ["PublicBucket", "TableDetector", "find_public_bucket", "public_buckets"]

#: How a bucket is reached, where anybody said so: with an approval, a login, through a CDN.
Reached: TypeAlias = Literal["controlled", "account", "cdn-origin"]

# Protocol, and bucket, storage account or host.
_Key: TypeAlias = tuple[str, str]

_HOST: Final = "https-host"
_PAYS: Final[Mapping[str, bool | None]] = {"yes": True, "no": False, "unknown": None}
_REACHED: Final[Mapping[str, str]] = {
    "controlled": "access must be approved",
    "account": "needs a login",
    "cdn-origin": "behind a CDN, whose origin this is",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicBucket:
    """One row of the table."""

    #: ``s3``, ``gs``, ``az``, or ``https-host`` for the host of a service or a site.
    protocol: str
    #: The bucket's name, the storage account's, or the host's.
    name: str
    region: Region
    #: Whether the reader pays; None where the source leaves it out.
    requester_pays: bool | None
    #: Who says so, such as a file of a public registry.
    source: str
    #: What stands in the reader's way; None where nothing is said.
    access: Reached | None

    @property
    def evidence(self) -> str:
        """Why it is believed, for people."""
        reached = f"; {_REACHED[self.access]}" if self.access else ""
        return f"the table of public buckets ({self.source}{reached})"


@cache
def public_buckets() -> Mapping[_Key, PublicBucket]:
    """Read the table, once.

    Returns
    -------
    Mapping
        Protocol and name to row, sorted.
    """
    text = resources.files("xr_locality").joinpath("data", "public_buckets.csv").read_text("utf-8")
    rows = (_row(fields) for fields in csv.DictReader(text.splitlines()))
    return MappingProxyType({(row.protocol, row.name): row for row in rows})


def find_public_bucket(store: Store) -> PublicBucket | None:
    """Find the row that a store lies in.

    Parameters
    ----------
    store : Store
        A row for a bucket holds at the provider itself, not for a bucket of that
        name at another service; a row for a host holds for all that it serves.

    Returns
    -------
    PublicBucket or None
    """
    bucket = as_bucket(store)
    keys: list[_Key] = []
    if bucket.protocol in ("s3", "gs") and bucket.endpoint_url is None:
        keys.append((bucket.protocol, bucket.bucket))
    elif bucket.protocol == "az" and bucket.endpoint_url is None and bucket.account is not None:
        keys.append(("az", bucket.account))
    if (host := host_of(store)) is not None:
        keys.append((_HOST, host.partition(":")[0]))
    rows = public_buckets() if keys else {}
    return next((rows[key] for key in keys if key in rows), None)


class TableDetector:
    """Knows the regions of public buckets."""

    name = "table"

    def detect(self, store: Store) -> Detection | None:
        """Return what the table says of the bucket that `store` is in."""
        row = find_public_bucket(store)
        if row is None:
            return None
        return Detection(
            region=row.region,
            evidence=row.evidence,
            how=self.name,
            requester_pays=row.requester_pays,
            access=row.access,
        )


def _row(fields: Mapping[str, str]) -> PublicBucket:
    return PublicBucket(
        protocol=fields["protocol"],
        name=fields["bucket_or_account"],
        region=Region.parse(fields["region"]),
        requester_pays=_PAYS[fields["requester_pays"]],
        source=fields["source"],
        access=cast(Reached, fields["access"]) if fields["access"] else None,
    )
