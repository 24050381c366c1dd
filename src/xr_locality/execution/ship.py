"""Sends code to clusters by value, so that nothing need be installed on them."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import cloudpickle

from xr_locality.execution import remote

__all__ = ["Shipped", "ship"]

_lock = threading.Lock()


class Shipped:
    """Stands for an object of :mod:`xr_locality.execution.remote` until it is unpickled.

    Here it is called like the object; where it is unpickled, it is the object,
    whose code came along.

    Parameters
    ----------
    item : Any
        The object.
    """

    def __init__(self, item: Any) -> None:
        self._item = item
        self._pickled = ship(item)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object here."""
        return self._item(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)

    def __repr__(self) -> str:
        return getattr(self._item, "__name__", type(self._item).__name__)


def ship(item: Any) -> bytes:
    """Pickle an object together with the code that it needs from ``remote``."""
    with _lock:
        cloudpickle.register_pickle_by_value(remote)
        try:
            pickled: bytes = cloudpickle.dumps(item)
        finally:
            cloudpickle.unregister_pickle_by_value(remote)
    return pickled
