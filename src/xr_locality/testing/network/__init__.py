"""Emulated wide-area networks between regions on one machine."""

from xr_locality.testing.network.emulated_links import EmulatedLink, LinkCounts
from xr_locality.testing.network.measure import MeasuredLink
from xr_locality.testing.network.network import EmulatedNetwork

__all__ = ["EmulatedLink", "EmulatedNetwork", "LinkCounts", "MeasuredLink"]
