"""What is found in a graph, and what a way to find it must offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from xr_locality.regions.store import Store

__all__ = ["UNKNOWN", "Found", "SourceFinder", "Walk", "no_size"]

#: The protocol of stores of which only the kind of object that reads them is known.
UNKNOWN: Final = "unknown"


def no_size() -> int | None:
    """Say that nobody knows how many bytes are stored."""
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
    #: Bytes of one value of it, as it is stored when decompressed: what reads it may decode
    #: packed numbers to wider ones. None where unknown.
    itemsize: int | None = None
    #: Part of the array's chunks that lies here, where chunks lie in several stores.
    share: float | None = None
    #: Whether a task only names it, by a text among its arguments: a link may be no more.
    named: bool = False
    #: Asks the store for the stored (compressed) bytes of the whole array, once.
    #: It contacts the network; None where unknown or too many chunks to list.
    stored_nbytes: Callable[[], int | None] = field(default=no_size, repr=False, compare=False)

    @classmethod
    def at(cls, store: Store, *, detail: str = "") -> Found:
        """Make one of which no more is known than where it is."""
        return cls(store=store, group=store, detail=detail)

    @classmethod
    def unknown(cls, obj: object, *, detail: str) -> Found:
        """Make one of which only the type of the object that reads it is known.

        Parameters
        ----------
        obj : object
            What reads. Another object of its type may read from elsewhere.
        detail : str
            What is known of it, for people.
        """
        kind = type(obj)
        bucket = f"{kind.__module__}.{kind.__qualname__}"
        return cls.at(Store(protocol=UNKNOWN, bucket=bucket, path=f"{id(obj):x}"), detail=detail)

    def inside(self, path: str, **changes: Any) -> Found:
        """Go down to a part of the location, such as a variable of a file.

        Parameters
        ----------
        path : str
            From this location.
        **changes
            Fields of the part.
        """
        return replace(self, store=self.store / path, **changes)

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
    :func:`xr_locality.sources.finder_registry.register_finder`, or name it in a package's
    entry points, in the group ``xr_locality.finders``. It must be cheap, since
    it is shown every object of a graph that is not plain data, and must not
    contact a network or import what reads: whose objects a graph holds is
    imported. Metadata that only tell where chunks lie may be read, once, if the
    first chunk is read through them as well. A finder with an attribute `calls`,
    names of classes, is shown the tasks too whose functions are objects of such a
    class.
    :class:`xr_locality.testing.finders.SourceFinderTests` tests one.
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
            Anything that a graph may hold but plain data and tasks.
        walk : callable
            Looks into an object inside `obj`.

        Returns
        -------
        iterable of Found or None
            None if `obj` is not of this kind; empty if it is, and reads nothing.
        """
        ...
