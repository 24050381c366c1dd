"""Regions by asking S3, Google Cloud Storage and Azure: the only module that asks a cloud.

S3 answers an unsigned ``HEAD`` of a bucket with the header ``x-amz-bucket-region``,
also where it refuses or redirects. Google answers the bucket's resource, or its storage
layout to whoever may list it. Azure tells nobody; what DNS calls an account names
a datacentre. What is answered is checked like any text of a stranger's, and a
signature goes only to the host that its credentials were given for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from xr_locality.errors import RegionError
from xr_locality.regions.access import Access, Credentials
from xr_locality.regions.detection import Detection
from xr_locality.regions.detectors.hostnames import as_bucket, read_hostname
from xr_locality.regions.probe.cache import Answer, Answers, Question
from xr_locality.regions.probe.client import (
    Call,
    Exchange,
    UnreachableError,
    canonical_name,
    in_parallel,
    is_loopback,
)
from xr_locality.regions.probe.datacentres import region_of_storage_host
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.runtime.user_files import cache_directory

__all__ = ["SERVICES", "Probe", "ProbeDetector", "open_probe"]

#: Where each provider's own service answers.
SERVICES: Final[Mapping[str, str]] = {
    "s3": "https://s3.amazonaws.com",
    "gs": "https://storage.googleapis.com",
    "az": "https://{account}.blob.core.windows.net",
}
# Buckets of this part of AWS are unknown to the rest.
_CHINA: Final = ".amazonaws.com.cn"
# Names go into a path: nothing in them may end it, or leave it.
_NAMES: Final = {
    "s3": re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"),
    "gs": re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*"),
    "az": re.compile(r"[a-z0-9]{3,24}(?:-secondary)?"),
}
# Whoever has credentials may be answered what others are not.
_SIGNED: Final = frozenset({"gs", "s3"})
_LONGEST_NAME: Final = 255
_REGION_HEADER: Final = "x-amz-bucket-region"
# What S3-compatible servers answer that were told nothing.
_DEFAULT_REGION: Final = "us-east-1"

_Ask: TypeAlias = Callable[[Question, str, Exchange, "Access | None"], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question, and with what to ask it."""

    question: Question
    access: Access | None


class Probe:
    """Asks clouds for the regions of buckets, all at once and each in bounded time.

    Parameters
    ----------
    answers : Answers
        Where to keep what is answered.
    seconds : float, default 3.0
        How long one bucket may take.
    services : Mapping of str to str, optional
        Where each provider's own service answers.
    canonical_name : callable, optional
        What DNS calls a host.
    """

    def __init__(
        self,
        answers: Answers,
        *,
        seconds: float = 3.0,
        services: Mapping[str, str] = SERVICES,
        canonical_name: Callable[[str], str] = canonical_name,
    ) -> None:
        self._answers = answers
        self._seconds = seconds
        self._services = services
        self._canonical_name = canonical_name
        self._ask: Mapping[str, _Ask] = {"s3": _ask_s3, "gs": _ask_gcs, "az": self._ask_azure}

    def ask(self, stores: Iterable[Store]) -> None:
        """Ask for the buckets of some stores, those that were not asked for lately.

        Parameters
        ----------
        stores : iterable of Store
            Any; those that no cloud knows are passed by.
        """
        wanted: dict[Question, _Asked] = {}
        for store in stores:
            asked = self._asked(store)
            if isinstance(asked, _Asked) and self._answers.get(asked.question) is None:
                wanted.setdefault(asked.question, asked)
        calls = [self._call(asked) for asked in wanted.values()]
        for question, answer in zip(wanted, in_parallel(calls, seconds=self._seconds), strict=True):
            self._answers.put(question, answer)

    def remembered(self, store: Store) -> Answer | None:
        """Return what was answered for a store's bucket; ask nobody.

        Returns
        -------
        Answer or None
            None if it was not asked for, or can not be.
        """
        asked = self._asked(store)
        return self._answers.get(asked.question) if isinstance(asked, _Asked) else asked

    def _asked(self, store: Store) -> _Asked | Answer | None:
        """Make the question of a store; an answer where asking is of no use."""
        bucket = as_bucket(store)
        service, endpoint, access = bucket.protocol, bucket.endpoint_url, bucket.access
        if service not in self._ask:
            return None
        name = (bucket.account or "") if service == "az" else bucket.bucket
        if len(name) > _LONGEST_NAME or not _NAMES[service].fullmatch(name):
            thing = "storage account" if service == "az" else "bucket"
            shown = repr(name[:80]) if name else "nothing"
            return Answer(region=None, evidence=f"{shown} is no name of a {thing} to ask for")
        if service == "az" and endpoint is not None:
            return None
        if endpoint is None and access is not None and (access.host or "").endswith(_CHINA):
            endpoint = f"https://{access.host}"
        question = Question(
            service=service,
            endpoint=endpoint,
            name=name,
            signed=service in _SIGNED
            and _usable(access, self._base(service, endpoint)) is not None,
        )
        return _Asked(question=question, access=access)

    def _base(self, service: str, endpoint: str | None) -> str:
        return self._services[service] if endpoint is None else endpoint

    def _call(self, asked: _Asked) -> Call[Answer]:
        question = asked.question
        base = self._base(question.service, question.endpoint)
        base = base.replace("{account}", question.name)
        server = urlsplit(base).netloc
        ask = self._ask[question.service]

        def run(exchange: Exchange) -> Answer:
            try:
                return ask(question, base, exchange, asked.access)
            except UnreachableError as err:
                return Answer(region=None, evidence=f"{server!r}: {err}", reached=False)

        late = Answer(
            region=None,
            evidence=f"{server!r}: it did not answer in {self._seconds:g} s",
            reached=False,
        )
        return Call(server=server, run=run, late=late)

    def _ask_azure(
        self, question: Question, base: str, exchange: Exchange, access: Access | None
    ) -> Answer:
        host = urlsplit(base).netloc
        try:
            name = self._canonical_name(host)
        except (OSError, UnicodeError):
            return Answer(region=None, evidence=f"DNS knows no {host!r}", reached=False)
        region = region_of_storage_host(name)
        if region is None:
            return Answer(region=None, evidence="Azure tells nobody where an account is")
        return Answer(region=region, evidence=f"a guess from DNS, which calls {host!r} {name!r}")


class ProbeDetector:
    """Knows what a probe was answered; it asks nobody itself.

    Parameters
    ----------
    probe : Probe or None
        None knows nothing.
    """

    name = "probe"

    def __init__(self, probe: Probe | None = None) -> None:
        self._probe = probe

    def detect(self, store: Store) -> Detection | None:
        """Return what was answered for the bucket that `store` is in."""
        answer = None if self._probe is None else self._probe.remembered(store)
        if answer is None or answer.region is None:
            return None
        return Detection(
            region=answer.region,
            evidence=answer.evidence,
            how=self.name,
            requester_pays=answer.requester_pays,
        )


def _ask_s3(question: Question, base: str, exchange: Exchange, access: Access | None) -> Answer:
    server = urlsplit(base).netloc
    url = f"{base}/{question.name}"
    reply = exchange.send("HEAD", url)
    found = reply.headers.get(_REGION_HEADER)
    if found is None and (credentials := _usable(access, base)) is not None:
        region_name = (access and access.region_name) or _DEFAULT_REGION
        reply = exchange.send("HEAD", url, _signed("HEAD", url, credentials, region_name))
        found = reply.headers.get(_REGION_HEADER)
    if found is None:
        if reply.status == 404:
            return Answer(region=None, evidence=f"{server!r} knows no bucket {question.name!r}")
        return Answer(
            region=None, evidence=f"{server!r} answered {reply.status}, and no {_REGION_HEADER}"
        )
    evidence = f"{server!r} answered {_REGION_HEADER}: {_shown(found)}"
    own = question.endpoint is None or server.endswith(_CHINA)
    if not own and found == _DEFAULT_REGION and not is_loopback(server):
        return Answer(
            region=None, evidence=f"{evidence}, which such servers say that were told nothing"
        )
    region = _region("aws", found) if own else _region_of_stranger(server, found)
    if region is None:
        return Answer(region=None, evidence=f"{evidence}, which is no region")
    return Answer(region=region, evidence=evidence)


def _ask_gcs(question: Question, base: str, exchange: Exchange, access: Access | None) -> Answer:
    server = urlsplit(base).netloc
    url = f"{base}/storage/v1/b/{question.name}"
    wanted = (
        f"{url}?fields=location,locationType,customPlacementConfig",
        # Whoever may list a bucket may see this, which is most of those that are public.
        f"{url}/storageLayout",
    )
    credentials = _usable(access, base)
    headers: list[Mapping[str, str]] = [{}]
    if credentials is not None:
        headers.append({"authorization": f"Bearer {credentials.token}"})
    for sent, page in product(headers, wanted):
        reply = exchange.send("GET", page, sent)
        if reply.status not in (401, 403):
            break
    pays = True if reply.status == 400 and b"requester pays" in reply.body.lower() else None
    if reply.status == 404:
        return Answer(region=None, evidence=f"{server!r} knows no bucket {question.name!r}")
    if reply.status != 200:
        said = ", since the reader must pay" if pays else ""
        return Answer(
            region=None, evidence=f"{server!r} answered {reply.status}{said}", requester_pays=pays
        )
    resource = _json(reply.body)
    location = resource.get("location")
    if not isinstance(location, str):
        return Answer(region=None, evidence=f"{server!r} answered without a location")
    evidence = f"{server!r} answered location: {_shown(location)}"
    region = _region("gcp", location.lower())
    if region is None:
        return Answer(region=None, evidence=f"{evidence}, which is no region")
    return Answer(region=region, evidence=f"{evidence}{_spread(resource)}")


def _spread(resource: Mapping[str, Any]) -> str:
    """Name the regions that a bucket of two regions was told to be spread over."""
    placement = resource.get("customPlacementConfig")
    parts = placement.get("dataLocations") if isinstance(placement, Mapping) else None
    if not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        return ""
    return f", in {' and '.join(_shown(part) for part in parts[:2])}"


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, Mapping) else {}


def _region(provider: str, name: str) -> Region | None:
    try:
        return Region(provider=provider, name=name)
    except RegionError:
        return None


def _region_of_stranger(server: str, name: str) -> Region | None:
    """Understand what a service says that is no provider's own.

    It may emulate any cloud; one that is known by its name has regions of its own.
    """
    if (named := read_hostname(server)) is not None:
        return _region(named.provider, name)
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        return None
    try:
        region = Region.parse(name)
    except RegionError:
        return _region("aws", name)
    return None if region.is_local else region


def _usable(access: Access | None, base: str) -> Credentials | None:
    """Return credentials that were given for a host, if it may be told of them."""
    if access is None or access.anonymous or access.credentials is None:
        return None
    parts = urlsplit(base)
    if access.credentials.host != parts.netloc:
        return None
    if parts.scheme != "https" and not is_loopback(parts.netloc):
        return None
    return access.credentials


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


def _shown(text: str) -> str:
    return repr(text[:80])


_probes: Final[dict[tuple[float, Path | None], Probe]] = {}


def open_probe(*, seconds: float, directory: str | None) -> Probe:
    """Return this process's probe, which remembers what it was answered.

    Parameters
    ----------
    seconds : float
        How long one bucket may take.
    directory : str, optional
        Where to keep answers; by default in the user's directory for caches.

    Returns
    -------
    Probe
    """
    base = cache_directory() if directory is None else Path(directory).expanduser()
    key = seconds, base
    if key not in _probes:
        answers = Answers(None if base is None else base / "regions")
        _probes.setdefault(key, Probe(answers, seconds=seconds))
    return _probes[key]
