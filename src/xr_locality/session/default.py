"""Default session: made from the configuration when no session was entered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from xr_locality import config

__all__ = ["DefaultSession"]


class _Closable(Protocol):
    @property
    def closed(self) -> bool: ...

    @property
    def of_parent(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=_Closable)


class DefaultSession(Generic[S]):
    """The session made from config, and the endpoints that it was made from.

    Parameters
    ----------
    make : callable
        Makes a session from the configuration.
    """

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[Mapping[str, Any], S] | None = None

    def get(self) -> S:
        """Return the default session; make a new one if the configured endpoints changed."""
        endpoints = config.read().endpoints
        with self._lock:
            if self._made is None or self._made[0] != endpoints or self._made[1].closed:
                if self._made is not None:
                    self._made[1].close()
                self._made = endpoints, self._make()
            return self._made[1]

    def forget_parents(self) -> None:
        """Drop the parent process's session; called in a forked child."""
        self._lock = threading.Lock()
        if self._made is not None and self._made[1].of_parent:
            self._made = None
