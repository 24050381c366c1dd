"""Events of a run, and the instructions with which its state machine answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dask.typing import Key

from xr_locality.regions.region import Region

__all__ = [
    "Cancel",
    "Computed",
    "Event",
    "Failed",
    "Fetched",
    "Finish",
    "Gather",
    "Gathered",
    "Instruction",
    "Lost",
    "Release",
    "Reopen",
    "Reopened",
    "Submit",
    "Submitted",
    "Unreached",
    "Vanished",
    "Verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A region was sent what was left of its partition, which takes these values."""

    region: Region
    attempt: int
    fetches: frozenset[Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """A result is ready in a region."""

    region: Region
    key: Key
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A boundary value has arrived in a region.

    Attributes
    ----------
    region, key : Region, key
        The region that fetched, and the value.
    attempt : int
        The region's attempt that fetched it.
    copy : int
        How often the attempt had lost the value before.
    """

    region: Region
    key: Key
    attempt: int = 0
    copy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """A boundary value that had arrived was lost with its worker, and is fetched again.

    Attributes are those of :class:`Fetched`; `copy` is that of the lost value.
    """

    region: Region
    key: Key
    attempt: int = 0
    copy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """A fetch has had no answer from a region.

    Attributes
    ----------
    region, key
        Who fetches, and what.
    source, attempt : Region, int
        Whose value it is, and of which attempt it was asked for.
    tried : int
        How often the fetch has tried, each time with patience.
    error : BaseException
        What to end the run with.
    """

    region: Region
    key: Key
    source: Region
    attempt: int
    tried: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Results have arrived at the client."""

    region: Region
    keys: tuple[Key, ...]
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A region's cluster is gone, or has forgotten us and what it was sent."""

    region: Region
    attempt: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened:
    """A region takes tasks again: from a new cluster, or the same to which we came back."""

    region: Region
    anew: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A region's task failed, or nothing more can be done about the region."""

    region: Region
    error: BaseException


Event: TypeAlias = (
    Submitted | Computed | Fetched | Vanished | Unreached | Gathered | Lost | Reopened | Failed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Send a region its partition, or what is left of it."""

    region: Region
    attempt: int
    outputs: frozenset[Key]
    sends: frozenset[Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopen:
    """Reconnect to a region; to a new cluster only if `anew`."""

    region: Region
    anew: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Check whether a region is still there: if not it is lost, if so this error ends the run."""

    region: Region
    attempt: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """Bring a result to the client."""

    region: Region
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Release boundary values of a region, made or fetched, that are not needed any more."""

    region: Region
    sends: frozenset[Key]
    fetches: frozenset[Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop a region's work on the run."""

    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """End the run, with an error or without."""

    error: BaseException | None = None


Instruction: TypeAlias = Submit | Reopen | Verify | Gather | Release | Cancel | Finish
