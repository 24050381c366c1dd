"""Pickling of code by value, so that it runs where xr-locality is not installed."""

from __future__ import annotations

import pickle
import threading
from types import ModuleType
from typing import Any

import cloudpickle

__all__ = ["ByValue", "pickle_by_value"]

_lock = threading.Lock()


class ByValue:
    """Stands for a function or object until it is unpickled.

    Here it is called like the object; where it is unpickled, it is the object,
    whose code came along.

    Parameters
    ----------
    item : Any
        The object.
    source : module
        The module or package whose code goes with it.
    """

    def __init__(self, item: Any, source: ModuleType) -> None:
        self._item = item
        self._pickled = pickle_by_value(item, source)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object here."""
        return self._item(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)

    def __repr__(self) -> str:
        return getattr(self._item, "__name__", type(self._item).__name__)


def pickle_by_value(item: Any, source: ModuleType) -> bytes:
    """Pickle an object together with the code that it needs from a module or package.

    Parameters
    ----------
    item : Any
        The object.
    source : module
        Whose code goes with it.
    """
    with _lock:
        cloudpickle.register_pickle_by_value(source)
        try:
            pickled: bytes = cloudpickle.dumps(item)
        finally:
            cloudpickle.unregister_pickle_by_value(source)
    return pickled
