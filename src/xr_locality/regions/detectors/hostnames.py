"""Regions that names carry: of endpoints, of buckets, and what clients were told.

The name of a service that keeps a bucket where it is asked for settles the
region. A name of AWS's is only a hint: each of its endpoints answers for buckets
of other regions too, or says where they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from xr_locality.errors import RegionError
from xr_locality.regions.detection import Detection
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store

__all__ = ["HostnameDetector", "Named", "as_bucket", "host_of", "read_hostname"]

#: Whether a name settles the region, or is a hint that a live answer goes before.
Weight: TypeAlias = Literal["service", "hostname"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """Host names of one service; the group ``region`` is its region, if it is named."""

    host: re.Pattern[str]
    provider: str
    weight: Weight = "service"
    #: The region of all hosts that name none.
    region: str | None = None


def _pattern(host: str, provider: str, **facts: str) -> _Pattern:
    return _Pattern(host=re.compile(host), provider=provider, **facts)  # type: ignore[arg-type]


_LONGEST_HOST: Final = 255
_NAME: Final = r"(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+)"
_BUCKET: Final = r"(?P<bucket>[a-z0-9][a-z0-9._-]*[a-z0-9])"

# As the providers' lists of endpoints write them; those that are new or seldom may be missing.
_PATTERNS: Final = (
    # s3.us-west-2, s3-us-west-2 (the old form), s3.dualstack.…, s3-fips.…, with or without a
    # bucket or an access point in front.
    _pattern(
        rf"(?:.+\.)?s3(?:-accesspoint)?(?:-fips)?[.-](?:dualstack\.)?{_NAME}\.amazonaws\.com(?:\.cn)?",
        "aws",
        weight="hostname",
    ),
    _pattern(rf".+\.s3express-[a-z0-9-]+\.{_NAME}\.amazonaws\.com", "aws", weight="hostname"),
    _pattern(rf"(?:.+\.)?storage\.{_NAME}\.rep\.googleapis\.com", "gcp", weight="hostname"),
    _pattern(r"(?:.+\.)?(?P<region>[a-z]{3}\d)\.digitaloceanspaces\.com", "digitalocean"),
    _pattern(rf"(?:.+\.)?s3\.{_NAME}\.wasabisys\.com", "wasabi"),
    _pattern(r"(?:.+\.)?s3\.wasabisys\.com", "wasabi", region="us-east-1"),
    _pattern(rf"(?:.+\.)?s3\.{_NAME}\.backblazeb2\.com", "backblaze"),
    _pattern(
        rf"(?:.+\.)?(?:compat\.)?objectstorage\.{_NAME}\.(?:oraclecloud\.com|oci\.customer-oci\.com)",
        "oci",
    ),
    _pattern(
        r"(?:.+\.)?oss-(?P<region>[a-z]{2}-[a-z]+(?:-\d)?)(?:-internal)?\.aliyuncs\.com", "alibaba"
    ),
    _pattern(rf"(?:.+\.)?s3\.{_NAME}\.scw\.cloud", "scaleway"),
    _pattern(
        r"(?:.+\.)?s3\.(?P<region>[a-z]{2,4}(?:-[a-z0-9-]+)?)\.(?:io|perf)\.cloud\.ovh\.(?:net|us)",
        "ovh",
    ),
    _pattern(r"(?:.+\.)?(?P<region>[a-z]{2}-[a-z]+(?:-\d)?)\.linodeobjects\.com", "akamai"),
    _pattern(r"(?:.+\.)?(?P<region>[a-z]{3}\d)\.vultrobjects\.com", "vultr"),
    _pattern(r"(?:.+\.)?(?P<region>fsn1|nbg1|hel1)\.your-objectstorage\.com", "hetzner"),
    _pattern(r"(?P<region>[a-z0-9]+)\.osn\.(?:xsede|mghpcc)\.org", "osn"),
    # Cloudflare keeps a bucket in one jurisdiction or anywhere, and bills no egress.
    _pattern(r"(?:.+\.)?[0-9a-f]{32}\.(?P<region>eu|fedramp)\.r2\.cloudflarestorage\.com", "r2"),
    _pattern(r"(?:.+\.)?[0-9a-f]{32}\.r2\.cloudflarestorage\.com", "r2", region="auto"),
)

# A bucket's place in the web: the host with the bucket in front of it, or in the path.
_S3_HOST: Final = re.compile(
    # What stands before these is an access point, no bucket.
    rf"(?:{_BUCKET}\.)?s3(?!express|-(?:accesspoint|control|object-lambda|outposts))"
    r"[a-z0-9.-]*\.amazonaws\.com(?:\.cn)?"
)
_GCS_HOST: Final = re.compile(
    rf"(?:{_BUCKET}\.)?storage(?:\.[a-z0-9-]+\.rep)?\.(?:googleapis|cloud\.google)\.com"
)
_AZURE_HOST: Final = re.compile(
    r"(?P<account>[a-z0-9-]+)\.(?:z\d+\.)?(?:blob|dfs|web)\.(?:core\.[a-z.]+|storage\.azure\.net)"
)

# Access points and directory buckets name their region, in names of their own kind.
_ARN: Final = re.compile(r"arn:aws[a-z-]*:s3[a-z-]*:(?P<region>[a-z0-9-]*):\d*:.+")
_DIRECTORY_BUCKET: Final = re.compile(r".+--(?P<zone>[a-z]+)(?P<number>\d)-az\d--x-s3")
_ZONES: Final = {
    "afs": "af-south",
    "ape": "ap-east",
    "apne": "ap-northeast",
    "aps": "ap-south",
    "apse": "ap-southeast",
    "cac": "ca-central",
    "euc": "eu-central",
    "eun": "eu-north",
    "eus": "eu-south",
    "euw": "eu-west",
    "ilc": "il-central",
    "mec": "me-central",
    "mes": "me-south",
    "sae": "sa-east",
    "use": "us-east",
    "usw": "us-west",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the name of a host says."""

    #: Who runs it.
    provider: str
    #: None where the name is the provider's and carries no region.
    region: Region | None
    weight: Weight


def read_hostname(host: str) -> Named | None:
    """Read the region that the name of an endpoint carries.

    Parameters
    ----------
    host : str
        With or without a port.

    Returns
    -------
    Named or None
        None where the name is nobody's that is known.

    Examples
    --------
    >>> read_hostname("bucket.s3.eu-central-1.amazonaws.com").region
    Region('aws:eu-central-1')
    >>> read_hostname("s3.us-west-004.backblazeb2.com").region
    Region('backblaze:us-west-004')
    """
    name = host.partition(":")[0].rstrip(".").lower()
    if len(name) > _LONGEST_HOST:
        return None
    for pattern in _PATTERNS:
        if (match := pattern.host.fullmatch(name)) is not None:
            found = match.groupdict().get("region") or pattern.region
            region = _region(pattern.provider, found)
            return Named(provider=pattern.provider, region=region, weight=pattern.weight)
    return None


def as_bucket(store: Store) -> Store:
    """Return the bucket that a web address of a cloud is; other stores as they are.

    Parameters
    ----------
    store : Store
        Such as ``https://bucket.s3.amazonaws.com/key``, or a bucket of Google's
        that is read through its S3-compatible endpoint.

    Returns
    -------
    Store

    Examples
    --------
    >>> as_bucket(Store.from_url("https://storage.googleapis.com/bucket/a.zarr")).url
    'gs://bucket/a.zarr'
    """
    if store.protocol == "s3" and store.endpoint_url is not None:
        if _GCS_HOST.fullmatch(urlsplit(store.endpoint_url).netloc):
            return replace(store, protocol="gs", endpoint_url=None)
        return store
    if store.protocol not in ("https", "http") or len(store.bucket) > _LONGEST_HOST:
        return store
    for protocol, pattern in (("s3", _S3_HOST), ("gs", _GCS_HOST)):
        if (match := pattern.fullmatch(store.bucket)) is not None:
            bucket, path = match["bucket"], store.path
            if bucket is None:
                bucket, _, path = path.partition("/")
            return Store(protocol=protocol, bucket=bucket, path=path, access=store.access)
    if (match := _AZURE_HOST.fullmatch(store.bucket)) is not None:
        container, _, path = store.path.partition("/")
        return Store(
            protocol="az",
            account=match["account"],
            bucket=container,
            path=path,
            access=store.access,
        )
    return store


def host_of(store: Store) -> str | None:
    """Return the host that serves a store, with its port; None where none is named."""
    if store.protocol in ("https", "http"):
        return store.bucket
    if store.endpoint_url is not None:
        return urlsplit(store.endpoint_url).netloc
    return None if store.access is None else store.access.host


class HostnameDetector:
    """Knows regions that names carry.

    Parameters
    ----------
    weight : {"service", "hostname"}
        Whether to know those that settle the region, or those that are hints;
        also the detector's name.
    """

    def __init__(self, weight: Weight) -> None:
        self.name: str = weight
        self._weight = weight

    def detect(self, store: Store) -> Detection | None:
        """Return the region that the store's names carry."""
        host = host_of(store)
        named = read_hostname(host) if host else None
        if named is not None:
            if named.region is None or named.weight != self._weight:
                return None
            return self._found(named.region, f"the host's name {host!r}")
        if self._weight == "service" or store.protocol != "s3" or store.endpoint_url is not None:
            # A region that a client of another service was told is one for its signatures.
            return None
        if (region := _named_by_bucket(store.bucket)) is not None:
            return self._found(region, f"the bucket's name {store.bucket!r}")
        told = store.access.region_name if store.access else None
        if (region := _region("aws", told)) is not None:
            return self._found(region, f"the client is told region_name={told!r}")
        return None

    def _found(self, region: Region, evidence: str) -> Detection:
        return Detection(region=region, evidence=evidence, how=self.name)


def _named_by_bucket(bucket: str) -> Region | None:
    if (match := _ARN.fullmatch(bucket)) is not None:
        # A multi-region access point names none.
        return _region("aws", match["region"])
    if (match := _DIRECTORY_BUCKET.fullmatch(bucket)) is not None:
        zone = _ZONES.get(match["zone"])
        return _region("aws", f"{zone}-{match['number']}") if zone else None
    return None


def _region(provider: str, name: str | None) -> Region | None:
    try:
        return Region(provider=provider, name=name) if name else None
    except RegionError:
        return None
