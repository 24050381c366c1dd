"""What a pool says to whatever it opens, beside the region and the deadline."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from xr_locality.endpoints.ledger import Ledger

__all__ = ["TERMS", "Terms"]


@dataclass(slots=True, kw_only=True)
class Terms:
    """The terms under which an endpoint is opened.

    Attributes
    ----------
    lease_seconds : float or None
        Seconds after which a cluster of ours ends when we are not heard of.
    ledger : Ledger or None
        Where clusters of ours are noted.
    doing : str
        What the opening waits for; written by whoever opens, read by whoever shows it.
    """

    lease_seconds: float | None = None
    ledger: Ledger | None = None
    doing: str = field(default="", compare=False)


#: Those of the pool whose task this is. Not an argument of ``Endpoint.open``: it
#: concerns only clusters that we start, and endpoints of others need not know of it.
TERMS: Final[ContextVar[Terms | None]] = ContextVar("xr_locality_terms", default=None)
