"""Events for those who watch a run, and who is told of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Callback", "Progress", "Watchers"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something that happened in a run.

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
    In the order in which a run tells them, as far as there is one:

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
        ``error`` that said so. It is looked for, and opened again once.
    ``reopened``
        It was opened again, and what is unfinished of its part is ``submitted`` again:
        ``region``. Not told where the same cluster was found again.
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
    """What watches a run: any callable that takes one event.

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
        """Take one event; what is returned is ignored."""
        ...


@dataclass(slots=True, eq=False)
class Watchers:
    """Those who are told of a run's events.

    Parameters
    ----------
    callbacks : tuple of Callback
        Called one after another.
    """

    callbacks: tuple[Callback, ...] = ()
    #: What callbacks have raised: these are called no more.
    broken: dict[int, Exception] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return len(self.broken) < len(self.callbacks)

    def tell(self, run: str, what: str, **facts: Any) -> None:
        """Tell of one event."""
        if not self:
            return
        event = Progress(run=run, what=what, facts=facts)
        for number, callback in enumerate(self.callbacks):
            if number in self.broken:
                continue
            try:
                callback(event)
            except Exception as error:  # A stranger's: it may raise anything.
                self.broken[number] = error
                logger.warning(
                    "Callback %s failed at %r and is called no more",
                    name_of(callback),
                    what,
                    exc_info=True,
                )

    def complaints(self) -> list[str]:
        """Say which callbacks have failed, in a sentence each."""
        return [
            f"Callback {name_of(self.callbacks[number])} raised {type(error).__name__}: {error}. "
            "It was called no more; the run was not affected."
            for number, error in sorted(self.broken.items())
        ]


def name_of(callback: Callback) -> str:
    """Name a callback, without its repr, which may hold anything."""
    return getattr(callback, "__qualname__", type(callback).__qualname__)
