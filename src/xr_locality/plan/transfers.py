"""Everything that crosses between regions, grouped, and listed only when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, overload

from dask.typing import Key

from xr_locality.regions.region import Region

__all__ = ["Crossings", "Transfer", "Transfers", "Why"]

Why: TypeAlias = Literal["boundary", "remote-read", "result", "upload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One crossing: from where to where, what, how many bytes, and why.

    Attributes
    ----------
    source, target : Region
        The regions that the bytes leave and enter.
    key : key or str
        A task's key; the URL of a source for a remote read.
    nbytes : int
        Estimated bytes.
    why : {"boundary", "remote-read", "result", "upload"}
        A value between partitions, stored bytes read from another region, a
        result on its way to the client, an array embedded in the graph.
    """

    source: Region
    target: Region
    key: Key
    nbytes: int
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """What crosses between two regions for one reason.

    Attributes
    ----------
    source, target : Region
        The regions that the bytes leave and enter.
    why : {"boundary", "remote-read", "result", "upload"}
        As for a :class:`Transfer`.
    keys : sequence of key
        What crosses.
    nbytes : int
        Bytes of all of it.
    sizes : callable
        Estimates the bytes of each.
    """

    source: Region
    target: Region
    why: Why
    keys: Sequence[Key] = field(repr=False)
    nbytes: int
    sizes: Callable[[], Sequence[int]] = field(repr=False)

    def transfers(self) -> Iterator[Transfer]:
        """List what crosses, one by one."""
        for key, nbytes in zip(self.keys, self.sizes(), strict=True):
            yield Transfer(
                source=self.source, target=self.target, key=key, nbytes=int(nbytes), why=self.why
            )


class Transfers(Sequence[Transfer]):
    """A sequence of transfers, made one by one when it is gone through.

    Parameters
    ----------
    groups : sequence of Crossings
        What they are made of.
    """

    def __init__(self, groups: Sequence[Crossings]) -> None:
        self.groups = tuple(groups)

    def __len__(self) -> int:
        return sum(len(group.keys) for group in self.groups)

    def __iter__(self) -> Iterator[Transfer]:
        for group in self.groups:
            yield from group.transfers()

    @overload
    def __getitem__(self, index: int) -> Transfer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Transfer, ...]: ...
    def __getitem__(self, index: int | slice) -> Transfer | tuple[Transfer, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            one == two for one, two in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Transfers: {len(self)} in {len(self.groups)} groups>"

    def moved(self) -> dict[tuple[Region, Region], int]:
        """Sum the bytes by pair of regions, sorted."""
        moved: dict[tuple[Region, Region], int] = {}
        for group in self.groups:
            pair = (group.source, group.target)
            moved[pair] = moved.get(pair, 0) + group.nbytes
        return dict(sorted(moved.items()))
