"""Region of a bucket from S3, or from a service with its interface.

S3 answers an unsigned ``HEAD`` of a bucket with the header ``x-amz-bucket-region``, also
where it refuses or redirects. Other services answer a signed one only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from xr_locality.errors import RegionError
from xr_locality.regions.access import Access, Credentials
from xr_locality.regions.detectors.hostnames import read_hostname
from xr_locality.regions.probe.cache import BucketRequest, ProbeAnswer
from xr_locality.regions.probe.client import ProbeConnection, is_loopback
from xr_locality.regions.probe.replies import quoted, region_named, usable_credentials
from xr_locality.regions.region import Region

__all__ = ["CHINA", "probe_s3"]

#: End of the hosts of AWS in China, whose buckets are unknown to the rest.
CHINA: Final = ".amazonaws.com.cn"
_REGION_HEADER: Final = "x-amz-bucket-region"
# The region that S3-compatible servers name when none is configured.
_DEFAULT_REGION: Final = "us-east-1"


def probe_s3(
    question: BucketRequest, base: str, exchange: ProbeConnection, access: Access | None
) -> ProbeAnswer:
    """Request the region of a bucket with ``HEAD``, signed if the unsigned request fails."""
    server = urlsplit(base).netloc
    url = f"{base}/{question.name}"
    reply = exchange.send("HEAD", url)
    found = reply.headers.get(_REGION_HEADER)
    if found is None and (credentials := usable_credentials(access, base)) is not None:
        region_name = (access and access.region_name) or _DEFAULT_REGION
        reply = exchange.send("HEAD", url, _signed("HEAD", url, credentials, region_name))
        found = reply.headers.get(_REGION_HEADER)
    if found is None:
        if reply.status == 404:
            return ProbeAnswer(
                region=None, evidence=f"{server!r} knows no bucket {question.name!r}"
            )
        return ProbeAnswer(
            region=None, evidence=f"{server!r} answered {reply.status}, and no {_REGION_HEADER}"
        )
    evidence = f"{server!r} answered {_REGION_HEADER}: {quoted(found)}"
    own = question.endpoint is None or server.endswith(CHINA)
    if not own and found == _DEFAULT_REGION and not is_loopback(server):
        return ProbeAnswer(
            region=None, evidence=f"{evidence}, which such servers say that were told nothing"
        )
    region = region_named("aws", found) if own else _region_of_stranger(server, found)
    if region is None:
        return ProbeAnswer(region=None, evidence=f"{evidence}, which is no region")
    return ProbeAnswer(region=region, evidence=evidence)


def _region_of_stranger(server: str, name: str) -> Region | None:
    """Return the region that a service which is not AWS's own names.

    It may emulate any cloud; one that is known by its host name has regions of its own.
    """
    if (named := read_hostname(server)) is not None:
        return region_named(named.provider, name)
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        return None
    try:
        region = Region.parse(name)
    except RegionError:
        return region_named("aws", name)
    return None if region.is_local else region


def _signed(method: str, url: str, credentials: Credentials, region_name: str) -> Mapping[str, str]:
    """Sign a request as botocore does; without it, which comes with s3fs, leave it unsigned."""
    try:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials as BotoCredentials
    except ImportError:
        return {}
    request = AWSRequest(method=method, url=url)
    key = BotoCredentials(credentials.key, credentials.secret, credentials.token)
    S3SigV4Auth(key, "s3", region_name).add_auth(request)
    return dict(request.headers.items())
