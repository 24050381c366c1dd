"""Tags as values: what a person or a catalog says of a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, get_args

from xr_locality.regions.region import Region
from xr_locality.regions.store import Store

__all__ = ["LEAVES", "Leaves", "Replica", "Tag"]

#: What may leave the region: anything, only values computed from the data, nothing.
Leaves: TypeAlias = Literal["always", "reduced", "never"]
LEAVES: Final[tuple[Leaves, ...]] = get_args(Leaves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A copy of the same data elsewhere.

    It shows and pickles nothing of how it is opened, which may be secret.
    """

    store: Store
    region: Region
    #: What it is a copy of: what lies below that lies below `store` as well. None where
    #: nobody said.
    original: Store | None = None
    #: As it was written; may hold a token.
    url: str = field(default="", repr=False, compare=False)
    #: What its filesystem is opened with.
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    #: Opens it as the original was opened; None where zarr opens its URL.
    reopen: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.store, self.region, self.original)


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

    def about(self, store: Store) -> Tag:
        """Leave out the replicas that are copies of other stores.

        Parameters
        ----------
        store : Store
            One of several that the tag is about.

        Returns
        -------
        Tag
        """
        copies = tuple(each for each in self.replicas if each.original == store)
        return replace(self, replicas=copies)


def _rebuild(store: Store, region: Region, original: Store | None) -> Replica:
    return Replica(store=store, region=region, original=original)
