"""All realistic programs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from support.realistic import chunked, joined, labelled, loose
from support.realistic.model import RealisticProgram

__all__ = ["PROGRAMS"]

#: Names are unique, as names of functions, and so in four modules too.
PROGRAMS: Final[Mapping[str, RealisticProgram]] = MappingProxyType(
    {each.name: each for module in (labelled, joined, chunked, loose) for each in module.PROGRAMS}
)
