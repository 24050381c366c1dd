"""Shipping of the code of :mod:`~xr_locality.execution.remote` to clusters, by value."""

from __future__ import annotations

import pickle
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from xr_locality.execution import remote
from xr_locality.runtime.by_value import ByValue, pickle_by_value

__all__ = ["Shipped", "ShippedPlugin", "ship"]


class Shipped(ByValue):
    """Stand-in for an object of :mod:`xr_locality.execution.remote` until it is unpickled.

    Parameters
    ----------
    item : Any
        The object.
    """

    def __init__(self, item: Any) -> None:
        super().__init__(item, remote)


class ShippedPlugin(WorkerPlugin):
    """Stand-in for a worker plugin of :mod:`xr_locality.execution.remote`.

    Parameters
    ----------
    plugin : LinkPlugin, StorePlugin or ValueStreamer
        The plugin; its name is kept.
    """

    def __init__(
        self, plugin: remote.LinkPlugin | remote.StorePlugin | remote.ValueStreamer
    ) -> None:
        self.name = plugin.name
        self._pickled = ship(plugin)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self._pickled,)


def ship(item: Any) -> bytes:
    """Pickle an object together with the code that it needs from ``remote``."""
    return pickle_by_value(item, remote)
