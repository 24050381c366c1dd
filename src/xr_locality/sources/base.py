"""What is found in a graph, and what a way to find it must offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from xr_locality.regions.store import Store

__all__ = ["Found", "SourceFinder", "Walk"]


def _unknown() -> int | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A storage location that tasks read from."""

    #: Where the bytes lie.
    store: Store
    #: What the location belongs to, such as an array's zarr hierarchy; else itself.
    group: Store
    #: For people: ``"zarr array 'tp'"``.
    detail: str = ""
    #: Bytes of the whole array in memory; None where unknown.
    array_nbytes: int | None = None
    #: Asks the store for the stored (compressed) bytes of the whole array, once.
    #: It contacts the network; None where unknown or too many chunks to list.
    stored_nbytes: Callable[[], int | None] = field(default=_unknown, repr=False, compare=False)

    @classmethod
    def at(cls, store: Store, *, detail: str = "") -> Found:
        """Make one of which no more is known than where it is."""
        return cls(store=store, group=store, detail=detail)

    @property
    def url(self) -> str:
        """URL of the location; never with credentials."""
        return self.store.url

    @property
    def group_url(self) -> str:
        """URL of what the location belongs to; never with credentials."""
        return self.group.url


#: Looks into an object that a finder holds out, with all finders.
Walk: TypeAlias = Callable[[object], tuple[Found, ...]]


@runtime_checkable
class SourceFinder(Protocol):
    """One kind of object that reads from storage.

    Write one in a file of its own and hand it to
    :func:`xr_locality.sources.finders.register_finder`. It must be cheap, since
    it is shown every object of a graph that is not plain data, and must not
    contact a network.
    """

    @property
    def name(self) -> str:
        """A word that no other finder has."""
        ...

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """List the locations that `obj` reads from.

        Parameters
        ----------
        obj : object
            Anything that a graph may hold.
        walk : callable
            Looks into an object inside `obj`.

        Returns
        -------
        iterable of Found or None
            None if `obj` is not of this kind; empty if it is, and reads nothing.
        """
        ...
