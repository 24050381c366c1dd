"""Sends the code of ``remote`` to clusters, so that nothing need be installed on them."""

from __future__ import annotations

from typing import Any

from xr_locality.execution import remote
from xr_locality.runtime.by_value import ByValue, pickle_by_value

__all__ = ["Shipped", "ship"]


class Shipped(ByValue):
    """Stands for an object of :mod:`xr_locality.execution.remote` until it is unpickled.

    Parameters
    ----------
    item : Any
        The object.
    """

    def __init__(self, item: Any) -> None:
        super().__init__(item, remote)


def ship(item: Any) -> bytes:
    """Pickle an object together with the code that it needs from ``remote``."""
    return pickle_by_value(item, remote)
