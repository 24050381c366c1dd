"""Tags as values: what a person or a catalog says of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from xr_locality.regions.model import Region
from xr_locality.regions.store import Store

__all__ = ["LEAVES", "Leaves", "Replica", "Tag"]

#: What may leave the region: anything, only values computed from the data, nothing.
Leaves: TypeAlias = Literal["always", "reduced", "never"]
LEAVES: Final[tuple[Leaves, ...]] = get_args(Leaves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A copy of the same data elsewhere."""

    store: Store
    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """Where a store is, who says so, and on what terms it may be read."""

    region: Region
    #: Who says so, for people: ``"tagged by hand"``, ``"catalog 'c.yaml', entry 'lens'"``.
    evidence: str
    #: Whether the reader pays for requests and egress; None if nobody said.
    requester_pays: bool | None = None
    leaves: Leaves = "always"
    replicas: tuple[Replica, ...] = ()
