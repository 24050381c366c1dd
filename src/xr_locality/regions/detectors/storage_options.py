"""Regions that are stated by whoever wrote how a store is to be opened.

Clients such as Icechunk's and obstore's must be told the region of a bucket, or they
cannot read it: what such a configuration says goes before the user's rules, as the
catalog's word does. What S3 clients of other kinds are told is only a hint.
"""

from __future__ import annotations

from xr_locality.errors import RegionError
from xr_locality.regions.detection import Detection
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store

__all__ = ["StatedDetector"]


class StatedDetector:
    """Knows a bucket's region from the configuration that its store is opened with."""

    name = "metadata"

    def detect(self, store: Store) -> Detection | None:
        """Return the region that is stated for a bucket of AWS's."""
        stated = store.access.stated_region if store.access else None
        if stated is None or store.protocol != "s3" or store.endpoint_url is not None:
            # At other services a region is one for signatures.
            return None
        try:
            region = Region(provider="aws", name=stated)
        except RegionError:
            return None
        return Detection(
            region=region, evidence=f"the store's configuration, region={stated!r}", how=self.name
        )
