"""Stores inside zarr's stores, and zarr's own event loop.

``WrapperStore`` and ``MemoryStore`` name no public attribute for what they hold, and zarr
offers no public function that runs a coroutine in its event loop: one in another loop
cannot use the connections of its stores. Last verified with zarr 3.1.6 and 3.4.2.

Where a name is gone, an ``AttributeError`` or ``ImportError`` is raised: the search for
sources reports the store as a source of unknown region with one warning, and stored bytes
are unknown.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

__all__ = ["memory_contents", "run_in_loop", "wrapped_store"]

T = TypeVar("T")


def wrapped_store(store: Any) -> Any:
    """Return the store inside a ``WrapperStore``."""
    return store._store


def memory_contents(store: Any) -> Mapping[str, Any]:
    """Return the values of a ``MemoryStore`` by key."""
    contents: Mapping[str, Any] = store._store_dict
    return contents


def run_in_loop(coroutine: Coroutine[Any, Any, T], *, seconds: float) -> T:
    """Run a coroutine in zarr's event loop, and wait for its value."""
    from zarr.core.sync import sync

    return sync(coroutine, timeout=seconds)
