"""Regions in the replies of clouds, and the credentials that may be sent to one."""

from __future__ import annotations

from urllib.parse import urlsplit

from xr_locality.errors import RegionError
from xr_locality.regions.access import Access, Credentials
from xr_locality.regions.probe.client import is_loopback
from xr_locality.regions.region import Region

__all__ = ["quoted", "region_named", "usable_credentials"]


def region_named(provider: str, name: str) -> Region | None:
    """Return the region that a reply names; None if it is no region of the provider."""
    try:
        return Region(provider=provider, name=name)
    except RegionError:
        return None


def usable_credentials(access: Access | None, base: str) -> Credentials | None:
    """Return the credentials that were given for a host, if they may be sent to it.

    Only over HTTPS, or to this machine.
    """
    if access is None or access.anonymous or access.credentials is None:
        return None
    parts = urlsplit(base)
    if access.credentials.host != parts.netloc:
        return None
    if parts.scheme != "https" and not is_loopback(parts.netloc):
        return None
    return access.credentials


def quoted(text: str) -> str:
    """Quote the beginning of a text that a server wrote."""
    return repr(text[:80])
