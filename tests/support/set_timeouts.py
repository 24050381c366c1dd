"""Type of the fixture that replaces timeouts until a test ends."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SetTimeouts"]


class SetTimeouts(Protocol):
    """Replaces fields of ``xr_locality.runtime.timeouts.Timeouts``, in seconds."""

    def __call__(self, **changes: float) -> None:
        """Replace some fields until the test ends."""
