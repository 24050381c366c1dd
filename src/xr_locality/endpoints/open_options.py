"""Options that a pool gives to the endpoints that it opens."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from xr_locality.endpoints.ledger import Ledger

__all__ = ["OPEN_OPTIONS", "OpenOptions"]


@dataclass(slots=True, kw_only=True)
class OpenOptions:
    """Options for opening an endpoint, and its present step.

    Attributes
    ----------
    lease_seconds : float or None
        Seconds without a sign of this process after which a cluster that it started ends.
    ledger : Ledger or None
        Ledger of the clusters that this process starts.
    doing : str
        The step that the opening waits for; written by the connection, read by the pool.
    """

    lease_seconds: float | None = None
    ledger: Ledger | None = None
    doing: str = field(default="", compare=False)


#: Options of the pool that runs the current task. Not an argument of ``Endpoint.open``:
#: they concern only clusters that we start, and other kinds of endpoint ignore them.
OPEN_OPTIONS: Final[ContextVar[OpenOptions | None]] = ContextVar(
    "xr_locality_open_options", default=None
)
