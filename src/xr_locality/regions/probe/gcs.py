"""Region of a bucket from Google Cloud Storage.

The service answers the bucket's resource, or its storage layout to a user who may list it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from typing import Any
from urllib.parse import urlsplit

from xr_locality.regions.access import Access
from xr_locality.regions.probe.cache import BucketRequest, ProbeAnswer
from xr_locality.regions.probe.client import ProbeConnection
from xr_locality.regions.probe.replies import quoted, region_named, usable_credentials

__all__ = ["probe_gcs"]


def probe_gcs(
    question: BucketRequest, base: str, exchange: ProbeConnection, access: Access | None
) -> ProbeAnswer:
    """Request the location of a bucket, without credentials first."""
    server = urlsplit(base).netloc
    url = f"{base}/storage/v1/b/{question.name}"
    wanted = (
        f"{url}?fields=location,locationType,customPlacementConfig",
        # A user who may list a bucket may see this: so are most public buckets.
        f"{url}/storageLayout",
    )
    credentials = usable_credentials(access, base)
    headers: list[Mapping[str, str]] = [{}]
    if credentials is not None:
        headers.append({"authorization": f"Bearer {credentials.token}"})
    for sent, page in product(headers, wanted):
        reply = exchange.send("GET", page, sent)
        if reply.status not in (401, 403):
            break
    pays = True if reply.status == 400 and b"requester pays" in reply.body.lower() else None
    if reply.status == 404:
        return ProbeAnswer(region=None, evidence=f"{server!r} knows no bucket {question.name!r}")
    if reply.status != 200:
        said = ", since the reader must pay" if pays else ""
        return ProbeAnswer(
            region=None, evidence=f"{server!r} answered {reply.status}{said}", requester_pays=pays
        )
    resource = _json(reply.body)
    location = resource.get("location")
    if not isinstance(location, str):
        return ProbeAnswer(region=None, evidence=f"{server!r} answered without a location")
    evidence = f"{server!r} answered location: {quoted(location)}"
    region = region_named("gcp", location.lower())
    if region is None:
        return ProbeAnswer(region=None, evidence=f"{evidence}, which is no region")
    return ProbeAnswer(region=region, evidence=f"{evidence}{_spread(resource)}")


def _spread(resource: Mapping[str, Any]) -> str:
    """Name the two regions that a dual-region bucket is configured for."""
    placement = resource.get("customPlacementConfig")
    parts = placement.get("dataLocations") if isinstance(placement, Mapping) else None
    if not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        return ""
    return f", in {' and '.join(quoted(part) for part in parts[:2])}"


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, Mapping) else {}
