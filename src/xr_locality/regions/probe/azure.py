"""Region of a storage account of Azure, guessed from DNS.

Azure has no public request for an account's region. The canonical name of the account's host
names a datacentre.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from xr_locality.regions.access import Access
from xr_locality.regions.probe.cache import BucketRequest, ProbeAnswer
from xr_locality.regions.probe.client import ProbeConnection
from xr_locality.regions.probe.datacentres import region_of_storage_host

__all__ = ["AzureProbe"]


class AzureProbe:
    """Looks the host of a storage account up in DNS.

    Parameters
    ----------
    canonical_name : callable
        Returns the canonical name of a host.
    """

    def __init__(self, canonical_name: Callable[[str], str]) -> None:
        self._canonical_name = canonical_name

    def __call__(
        self, question: BucketRequest, base: str, exchange: ProbeConnection, access: Access | None
    ) -> ProbeAnswer:
        """Guess the region of an account from the canonical name of its host."""
        host = urlsplit(base).netloc
        try:
            name = self._canonical_name(host)
        except (OSError, UnicodeError):
            return ProbeAnswer(region=None, evidence=f"DNS knows no {host!r}", reached=False)
        region = region_of_storage_host(name)
        if region is None:
            return ProbeAnswer(region=None, evidence="Azure tells nobody where an account is")
        return ProbeAnswer(
            region=region, evidence=f"a guess from DNS, which calls {host!r} {name!r}"
        )
