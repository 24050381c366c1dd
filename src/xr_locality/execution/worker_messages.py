"""Messages of workers about a run, as the client receives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dask.typing import Key

from xr_locality.regions.region import Region

__all__ = [
    "FetchFailure",
    "FetchedValue",
    "ReadCounts",
    "WorkerMessage",
    "parse_message",
    "parse_reads",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadCounts:
    """Stored bytes that a process of workers has read so far.

    Attributes
    ----------
    process : str
        Marks the process; several workers may share it.
    reads : tuple of (Region, Region, int)
        Region of the store, region that read, bytes in all.
    """

    process: str
    reads: tuple[tuple[Region, Region, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """A fetch task that got no answer from the region of its value.

    Attributes
    ----------
    source, target : Region
        The regions of the value and of the fetch task.
    key : key
        The key of the task on its scheduler.
    attempt : int
        The attempt of the source that was asked.
    tried : int
        How often the task has tried.
    met : bool
        Whether the scheduler of the source has ever answered this worker.
    relayed : bool
        Whether the value goes by way of the client.
    reason : str
        The error.
    """

    source: Region
    target: Region
    key: Key
    attempt: int
    tried: int
    met: bool
    relayed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedValue:
    """A boundary value that a fetch task has received.

    Attributes
    ----------
    source, target : Region
        The regions of the value and of the fetch task.
    relayed : bool
        Whether it came by way of the client.
    nbytes : int
        Its bytes as serialised.
    waited_seconds, moved_seconds : float
        Seconds until it was ready, and those of its transfer.
    """

    source: Region
    target: Region
    relayed: bool
    nbytes: int
    waited_seconds: float
    moved_seconds: float


WorkerMessage: TypeAlias = ReadCounts | FetchFailure | FetchedValue


def parse_message(message: Mapping[str, Any]) -> WorkerMessage:
    """Parse a message; workers send plain dicts, as they need not have this package."""
    if "reads" in message:
        return parse_reads(message["process"], message["reads"])
    source, target = Region.parse(message["source"]), Region.parse(message["target"])
    if "unreachable" in message:
        return FetchFailure(
            source=source,
            target=target,
            key=message["key"],
            attempt=message["attempt"],
            tried=message["tried"],
            met=message["met"],
            relayed=message["relayed"],
            reason=message["unreachable"],
        )
    return FetchedValue(
        source=source,
        target=target,
        relayed=message["relayed"],
        nbytes=message["nbytes"],
        waited_seconds=message["waited_seconds"],
        moved_seconds=message["moved_seconds"],
    )


def parse_reads(process: str, reads: list[tuple[str, str, int]]) -> ReadCounts:
    """Parse the counts of one process."""
    return ReadCounts(
        process=process,
        reads=tuple(
            (Region.parse(source), Region.parse(target), nbytes) for source, target, nbytes in reads
        ),
    )
