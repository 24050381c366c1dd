"""Events of a run, and the callbacks that receive them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeAlias

from xr_locality.regions.region import Region

__all__ = [
    "BytesMoved",
    "Callback",
    "Callbacks",
    "Progress",
    "RegionLost",
    "RegionOpened",
    "RegionOpening",
    "RegionReopened",
    "RegionStarting",
    "RelayBegun",
    "RunEvent",
    "RunFailed",
    "RunFinished",
    "TasksDone",
    "TasksSubmitted",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOpening:
    """The endpoint of a region is being opened."""

    what: ClassVar[str] = "opening"
    region: Region
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStarting:
    """A region that is being opened waits for something."""

    what: ClassVar[str] = "starting"
    region: Region
    endpoint: str
    doing: str
    seconds: float
    deadline_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOpened:
    """A region is open."""

    what: ClassVar[str] = "opened"
    region: Region
    endpoint: str
    seconds: float
    reused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksSubmitted:
    """A region was sent its partition; `tasks` counts it before optimisation."""

    what: ClassVar[str] = "submitted"
    region: Region
    tasks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksDone:
    """A region has done some of its tasks, counted after optimisation."""

    what: ClassVar[str] = "progress"
    region: Region
    done: float
    tasks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesMoved:
    """Bytes have crossed between two regions."""

    what: ClassVar[str] = "moved"
    source: Region
    target: Region
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayBegun:
    """Values between two regions go by way of this machine from here on."""

    what: ClassVar[str] = "relayed"
    source: Region
    target: Region
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionLost:
    """The cluster of a region does not answer any more."""

    what: ClassVar[str] = "lost"
    region: Region
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionReopened:
    """A new cluster of a lost region is open."""

    what: ClassVar[str] = "reopened"
    region: Region


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run has ended without an error."""

    what: ClassVar[str] = "finished"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run has ended with an error."""

    what: ClassVar[str] = "failed"
    error: BaseException


RunEvent: TypeAlias = (
    RegionOpening
    | RegionStarting
    | RegionOpened
    | TasksSubmitted
    | TasksDone
    | BytesMoved
    | RelayBegun
    | RegionLost
    | RegionReopened
    | RunFinished
    | RunFailed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Event of a run, as callbacks receive it.

    Attributes
    ----------
    run : str
        The run; empty before it has a name, while its clusters start.
    what : str
        What happened, see below.
    facts : mapping
        More about it.

    Notes
    -----
    In the order in which they usually happen:

    ``opening``
        A region's endpoint is being opened, which may start a cluster: ``region``, and
        ``endpoint`` in a few words.
    ``starting``
        What a region that is being opened waits for, when that changes and each second:
        ``region``, ``endpoint``, ``doing``, ``seconds``, ``deadline_seconds``.
    ``opened``
        It is open: ``region``, ``endpoint``, ``seconds``, and whether it was ``reused``.
    ``submitted``
        A region was sent its partition: ``region``, and ``tasks`` before optimisation, or
        None.
    ``progress``
        How far a region is: ``region``, ``tasks`` after optimisation, and how many are
        ``done``.
    ``moved``
        Bytes have crossed: ``source``, ``target``, ``nbytes``.
    ``relayed``
        Values from ``source`` to ``target`` go by way of this machine from here on:
        ``reason``.
    ``lost``
        A region does not answer any more, or its cluster is gone: ``region``, and the
        ``error``. The run reconnects to it, or opens it again once.
    ``reopened``
        It was opened again, and the unfinished rest of its part is ``submitted`` again:
        ``region``. Not reported where the same cluster was found again.
    ``finished``
        The run has ended well: ``seconds``.
    ``failed``
        It has not: ``error``, the exception that is raised.

    Regions are :class:`~xr_locality.Region`. Facts and kinds may be added: skip what you do
    not know.
    """

    run: str
    what: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Callback(Protocol):
    """Callable that takes one event of a run.

    Pass some as ``callbacks=[…]`` to :func:`xr_locality.compute`,
    :func:`xr_locality.persist` or the accessor's methods. They are called on a thread of
    xr-locality's and must return at once. One that raises does not break the run: it is
    called no more, and a :class:`~xr_locality.errors.LocalityWarning` says so at the end.

    Examples
    --------
    >>> crossed = []
    >>> def watch(event: Progress) -> None:
    ...     if event.what == "moved":
    ...         crossed.append(event.facts["nbytes"])
    >>> import dask.array as da, xr_locality as xl
    >>> int(xl.compute(da.ones(3, chunks=1).sum(), callbacks=[watch])[0])
    3
    """

    def __call__(self, event: Progress, /) -> object:
        """Take one event; the return value is ignored."""
        ...


@dataclass(slots=True, eq=False)
class Callbacks:
    """Callbacks of a run.

    Parameters
    ----------
    callbacks : tuple of Callback
        Called one after another.
    """

    callbacks: tuple[Callback, ...] = ()
    #: Errors of callbacks, by their number: these are called no more.
    broken: dict[int, Exception] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return len(self.broken) < len(self.callbacks)

    def report(self, event: RunEvent, *, run: str = "") -> None:
        """Call each callback with an event.

        Parameters
        ----------
        event : RunEvent
            What happened.
        run : str, optional
            The name of the run, once it has one.
        """
        if not self:
            return
        facts = {each.name: getattr(event, each.name) for each in fields(event)}
        public = Progress(run=run, what=event.what, facts=facts)
        for number, callback in enumerate(self.callbacks):
            if number in self.broken:
                continue
            try:
                callback(public)
            except Exception as error:  # User code may raise anything.
                self.broken[number] = error
                logger.warning(
                    "Callback %s failed at %r and is called no more",
                    name_of(callback),
                    event.what,
                    exc_info=True,
                )

    def complaints(self) -> list[str]:
        """Return a sentence about each callback that has failed."""
        return [
            f"Callback {name_of(self.callbacks[number])} raised {type(error).__name__}: {error}. "
            "It was called no more; the run was not affected."
            for number, error in sorted(self.broken.items())
        ]


def name_of(callback: Callback) -> str:
    """Name a callback, without its repr, which may hold anything."""
    return getattr(callback, "__qualname__", type(callback).__qualname__)
