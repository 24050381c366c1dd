"""Prober of buckets: regions from S3, Google Cloud Storage and Azure, within bounded time.

A server's reply is checked like any text from outside, and a signature goes only to the host
that its credentials were given for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from xr_locality.regions.access import Access
from xr_locality.regions.detection import Detection
from xr_locality.regions.detectors.hostnames import as_bucket
from xr_locality.regions.probe.azure import AzureProbe
from xr_locality.regions.probe.cache import BucketRequest, ProbeAnswer, ProbeCache
from xr_locality.regions.probe.client import (
    ProbeCall,
    ProbeConnection,
    UnreachableError,
    canonical_name,
    in_parallel,
)
from xr_locality.regions.probe.gcs import probe_gcs
from xr_locality.regions.probe.replies import usable_credentials
from xr_locality.regions.probe.s3 import CHINA, probe_s3
from xr_locality.regions.store import Store
from xr_locality.runtime.user_files import cache_directory

__all__ = ["SERVICES", "Probe", "ProbeDetector", "open_probe"]

#: Where each provider's own service answers.
SERVICES: Final[Mapping[str, str]] = {
    "s3": "https://s3.amazonaws.com",
    "gs": "https://storage.googleapis.com",
    "az": "https://{account}.blob.core.windows.net",
}
# Names go into a path: nothing in them may end it, or leave it.
_NAMES: Final = {
    "s3": re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"),
    "gs": re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*"),
    "az": re.compile(r"[a-z0-9]{3,24}(?:-secondary)?"),
}
# Whoever has credentials may be answered what others are not.
_SIGNED: Final = frozenset({"gs", "s3"})
_LONGEST_NAME: Final = 255

_Ask: TypeAlias = Callable[[BucketRequest, str, ProbeConnection, "Access | None"], ProbeAnswer]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question, and with what to ask it."""

    question: BucketRequest
    access: Access | None


class Probe:
    """Asks clouds for the regions of buckets, all at once and each in bounded time.

    Parameters
    ----------
    answers : ProbeCache
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
        answers: ProbeCache,
        *,
        seconds: float = 3.0,
        services: Mapping[str, str] = SERVICES,
        canonical_name: Callable[[str], str] = canonical_name,
    ) -> None:
        self._answers = answers
        self._seconds = seconds
        self._services = services
        self._ask: Mapping[str, _Ask] = {
            "s3": probe_s3,
            "gs": probe_gcs,
            "az": AzureProbe(canonical_name),
        }

    def ask(self, stores: Iterable[Store]) -> None:
        """Ask for the buckets of some stores, those that were not asked for lately.

        Parameters
        ----------
        stores : iterable of Store
            Any; those that no cloud knows are passed by.
        """
        wanted: dict[BucketRequest, _Asked] = {}
        for store in stores:
            asked = self._asked(store)
            if isinstance(asked, _Asked) and self._answers.get(asked.question) is None:
                wanted.setdefault(asked.question, asked)
        calls = [self._call(asked) for asked in wanted.values()]
        for question, answer in zip(wanted, in_parallel(calls, seconds=self._seconds), strict=True):
            self._answers.put(question, answer)

    def remembered(self, store: Store) -> ProbeAnswer | None:
        """Return what was answered for a store's bucket; ask nobody.

        Returns
        -------
        ProbeAnswer or None
            None if it was not asked for, or can not be.
        """
        asked = self._asked(store)
        return self._answers.get(asked.question) if isinstance(asked, _Asked) else asked

    def _asked(self, store: Store) -> _Asked | ProbeAnswer | None:
        """Make the question of a store; an answer where asking is of no use."""
        bucket = as_bucket(store)
        service, endpoint, access = bucket.protocol, bucket.endpoint_url, bucket.access
        if service not in self._ask:
            return None
        name = (bucket.account or "") if service == "az" else bucket.bucket
        if len(name) > _LONGEST_NAME or not _NAMES[service].fullmatch(name):
            thing = "storage account" if service == "az" else "bucket"
            shown = repr(name[:80]) if name else "nothing"
            return ProbeAnswer(region=None, evidence=f"{shown} is no name of a {thing} to ask for")
        if service == "az" and endpoint is not None:
            return None
        if endpoint is None and access is not None and (access.host or "").endswith(CHINA):
            endpoint = f"https://{access.host}"
        question = BucketRequest(
            service=service,
            endpoint=endpoint,
            name=name,
            signed=service in _SIGNED
            and usable_credentials(access, self._base(service, endpoint)) is not None,
        )
        return _Asked(question=question, access=access)

    def _base(self, service: str, endpoint: str | None) -> str:
        return self._services[service] if endpoint is None else endpoint

    def _call(self, asked: _Asked) -> ProbeCall[ProbeAnswer]:
        question = asked.question
        base = self._base(question.service, question.endpoint)
        base = base.replace("{account}", question.name)
        server = urlsplit(base).netloc
        ask = self._ask[question.service]

        def run(exchange: ProbeConnection) -> ProbeAnswer:
            try:
                return ask(question, base, exchange, asked.access)
            except UnreachableError as err:
                return ProbeAnswer(region=None, evidence=f"{server!r}: {err}", reached=False)

        late = ProbeAnswer(
            region=None,
            evidence=f"{server!r}: it did not answer in {self._seconds:g} s",
            reached=False,
        )
        return ProbeCall(server=server, run=run, late=late)


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
        answers = ProbeCache(None if base is None else base / "regions")
        _probes.setdefault(key, Probe(answers, seconds=seconds))
    return _probes[key]
