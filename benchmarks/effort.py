"""How much to measure: all that is promised, or enough to see that it still works."""

from __future__ import annotations

import os
from typing import Final, TypeVar

__all__ = ["FULL", "sizes"]

#: Whether to measure the largest graphs, and each way as often as a claim takes.
FULL: Final = bool(os.environ.get("XR_LOCALITY_BENCH_FULL"))

_Size = TypeVar("_Size")


def sizes(*quick: _Size, full: tuple[_Size, ...] = ()) -> list[_Size]:
    """List the sizes of some work, the last ones only where all is measured."""
    return [*quick, *(full if FULL else ())]
