"""Errors and warnings that xr-locality raises on purpose.

::

    LocalityError
    ├── ConfigurationError (ValueError)        settings that cannot be understood
    ├── RegionError (ValueError)               a malformed name, or a region that is not known
    ├── SourceError (ValueError)               data that cannot be found or read
    ├── PlacementError (ValueError)            no region may run a task
    │   └── BudgetError                        the plan moves more than ``max_egress``
    ├── EndpointError (ConnectionError)        a region's scheduler cannot be reached or used
    ├── ExecutionError (RuntimeError)          a run broke after it had started
    │   └── TransferError (ConnectionError)    a boundary value could not be moved
    ├── MissingDependencyError (ImportError)   an optional package is not installed
    └── LocalityErrorGroup (ExceptionGroup, ValueError)   several of these at once
    LocalityWarning (UserWarning)

Each class keeps the built-in parent that a caller may already handle, carries
its facts as attributes, and survives pickling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

__all__ = [
    "BudgetError",
    "ConfigurationError",
    "EndpointError",
    "ExecutionError",
    "LocalityError",
    "LocalityErrorGroup",
    "LocalityWarning",
    "MissingDependencyError",
    "PlacementError",
    "RegionError",
    "SourceError",
    "TransferError",
    "raise_together",
]


class LocalityWarning(UserWarning):
    """Warning: the result of a guess, or a slow way, that the user can improve."""


class LocalityError(Exception):
    """Base of every error that xr-locality raises on purpose.

    Parameters
    ----------
    message : str
        What failed, where, and how to solve it.
    **facts : object
        The subclass's attributes for a handler. Values must pickle and hold no secret.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        #: The facts that are known, by name.
        self.facts: dict[str, Any] = {
            name: value for name, value in facts.items() if value is not None
        }
        self.__dict__.update(facts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], self.facts), {"__notes__": self._notes()}

    def _notes(self) -> list[str]:
        return list(self.__dict__.get("__notes__", []))


def _rebuild(cls: type[LocalityError], message: str, facts: dict[str, Any]) -> LocalityError:
    return cls(message, **facts)


class ConfigurationError(LocalityError, ValueError):
    """A setting cannot be understood."""

    #: The setting, as the user wrote it.
    key: str | None
    #: The file or catalog entry that holds it.
    where: str | None
    #: The file.
    path: str | None
    #: The URL of a rule or an entry.
    url: str | None
    #: The region that it is for.
    region: str | None
    #: The pair of regions that it is for.
    pair: str | None
    #: The kind of authentication.
    auth: object
    #: The cluster option whose value is wrong.
    option: str | None
    #: Cluster options that the gateway does not offer.
    unknown: tuple[str, ...] | None
    #: Cluster options that it offers.
    offered: tuple[str, ...] | None
    #: Names that are similar.
    suggestions: tuple[str, ...] | None

    def __init__(
        self,
        message: str,
        *,
        key: str | None = None,
        where: str | None = None,
        path: str | None = None,
        url: str | None = None,
        region: str | None = None,
        pair: str | None = None,
        auth: object = None,
        option: str | None = None,
        unknown: tuple[str, ...] | None = None,
        offered: tuple[str, ...] | None = None,
        suggestions: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(
            message,
            key=key,
            where=where,
            path=path,
            url=url,
            region=region,
            pair=pair,
            auth=auth,
            option=option,
            unknown=unknown,
            offered=offered,
            suggestions=suggestions,
        )


class RegionError(LocalityError, ValueError):
    """A region's name is malformed, or the region of an object is not known."""

    #: The malformed name.
    value: str | None
    #: Names that are similar.
    suggestions: tuple[str, ...] | None
    #: The region.
    region: str | None
    #: The regions, where one was expected.
    regions: tuple[str, ...] | None
    #: The source whose region is not known.
    url: str | None
    #: The sources whose region is not known.
    urls: tuple[str, ...] | None
    #: The catalog entry that holds the name.
    where: str | None

    def __init__(
        self,
        message: str,
        *,
        value: str | None = None,
        suggestions: tuple[str, ...] | None = None,
        region: str | None = None,
        regions: tuple[str, ...] | None = None,
        url: str | None = None,
        urls: tuple[str, ...] | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(
            message,
            value=value,
            suggestions=suggestions,
            region=region,
            regions=regions,
            url=url,
            urls=urls,
            where=where,
        )


class SourceError(LocalityError, ValueError):
    """Data cannot be found, read or moved as asked."""

    #: The source.
    url: str | None
    #: The region that should read it, or that it may not leave.
    region: str | None
    #: The kind of the problem.
    kind: str | None

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        region: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message, url=url, region=region, kind=kind)


class PlacementError(LocalityError, ValueError):
    """No region may run a task."""

    #: The region that a task is pinned to.
    region: str | None
    #: The regions that a task is pinned to.
    regions: tuple[str, ...] | None

    def __init__(
        self,
        message: str,
        *,
        region: str | None = None,
        regions: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(message, region=region, regions=regions)


class BudgetError(PlacementError):
    """A plan would move more than ``max_egress`` allows; nothing was started."""

    #: Bytes that would cross.
    nbytes: int | None
    #: Their price in USD.
    usd: float | None
    #: Source, target and bytes of each pair of regions.
    moved: tuple[tuple[str, str, int], ...]

    def __init__(
        self,
        message: str,
        *,
        nbytes: int | None = None,
        usd: float | None = None,
        moved: tuple[tuple[str, str, int], ...] = (),
        region: str | None = None,
        regions: tuple[str, ...] | None = None,
    ) -> None:
        LocalityError.__init__(
            self, message, region=region, regions=regions, nbytes=nbytes, usd=usd, moved=moved
        )


class EndpointError(LocalityError, ConnectionError):
    """A region's scheduler is missing, cannot be reached, or refuses the credentials."""

    #: The region.
    region: str | None
    #: The endpoint, without secrets.
    endpoint: str | None
    #: The scheduler's address.
    address: str | None
    #: The key of the task that was lost.
    key: object
    #: False where nothing answered, so that a retry may help.
    reached: bool
    #: The end of the log of a process that failed to start.
    log: str | None
    #: The package whose versions differ, or that a cluster lacks.
    package: str | None
    #: Its version on this machine, and there; None where it is not installed.
    here: str | None
    there: str | None

    def __init__(
        self,
        message: str,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        address: str | None = None,
        key: object = None,
        reached: bool = True,
        log: str | None = None,
        package: str | None = None,
        here: str | None = None,
        there: str | None = None,
    ) -> None:
        super().__init__(
            message,
            region=region,
            endpoint=endpoint,
            address=address,
            key=key,
            reached=reached,
            log=log,
            package=package,
            here=here,
            there=there,
        )


class ExecutionError(LocalityError, RuntimeError):
    """A run broke after it had started."""

    #: The region where it broke.
    region: str | None
    #: The exception that ended the run, if a task raised KeyboardInterrupt or SystemExit.
    raised: str | None

    def __init__(
        self,
        message: str,
        *,
        region: str | None = None,
        raised: str | None = None,
    ) -> None:
        super().__init__(message, region=region, raised=raised)


class TransferError(ExecutionError, ConnectionError):
    """A boundary value could not be moved between two regions."""

    #: The region that has the value.
    source: str | None
    #: The region that needs it.
    target: str | None
    #: The key of the value.
    key: object
    #: The endpoint of the source, without secrets.
    endpoint: str | None
    #: Whether a connection had been made.
    met: bool | None

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        target: str | None = None,
        key: object = None,
        endpoint: str | None = None,
        met: bool | None = None,
    ) -> None:
        LocalityError.__init__(
            self, message, source=source, target=target, key=key, endpoint=endpoint, met=met
        )


class MissingDependencyError(LocalityError, ImportError):
    """An optional package is needed and not installed."""

    #: The package.
    package: str | None
    #: Its version, where an unsuitable one is installed.
    installed: str | None
    #: The private name that it lacks, with its module. ``name`` is ImportError's.
    lacks: str | None
    #: The version that the name was last verified with.
    verified: str | None
    #: The packages, where there are several.
    missing: tuple[str, ...] | None
    #: The extra of xr-locality that brings them.
    extra: str | None

    def __init__(
        self,
        message: str,
        *,
        package: str | None = None,
        installed: str | None = None,
        lacks: str | None = None,
        verified: str | None = None,
        missing: tuple[str, ...] | None = None,
        extra: str | None = None,
    ) -> None:
        super().__init__(
            message,
            package=package,
            installed=installed,
            lacks=lacks,
            verified=verified,
            missing=missing,
            extra=extra,
        )


class LocalityErrorGroup(LocalityError, ExceptionGroup, ValueError):
    """Several independent problems, found before anything was started.

    Handle it with ``except*``, as an ``ExceptionGroup``, or as a ``ValueError``.
    """

    def __new__(cls, message: str, exceptions: Sequence[Exception]) -> Self:
        """Make the group, its message listing the problems."""
        listed = "".join(f"\n  - {problem}" for problem in exceptions)
        return ExceptionGroup.__new__(cls, message + listed, exceptions)

    def __init__(self, message: str, exceptions: Sequence[Exception]) -> None:
        self.facts: dict[str, Any] = {}
        self._title = message

    def derive(self, excs: Sequence[Exception]) -> LocalityErrorGroup:  # type: ignore[override]
        """Make a group of some of these errors, as ``except*`` does."""
        return LocalityErrorGroup(self._title, excs)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._title, self.exceptions), {"__notes__": self._notes()}


def raise_together(problems: Sequence[Exception], *, message: str) -> None:
    """Raise one problem as it is, several as a group, none not at all.

    Parameters
    ----------
    problems : sequence of Exception
        Independent problems, in the order in which to show them.
    message : str
        First line of the group: what was being checked.

    Raises
    ------
    LocalityErrorGroup
        If there is more than one problem.
    """
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise LocalityErrorGroup(message, problems)
