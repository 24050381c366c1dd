"""Every error and warning that xr-locality raises on purpose.

::

    LocalityError
    ├── ConfigurationError (ValueError)        settings that cannot be understood
    ├── RegionError (ValueError)               a region's name, or a region nobody knows
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
    """Something was guessed or will be slow, and the user can mend it."""


class LocalityError(Exception):
    """Base of every error that xr-locality raises on purpose.

    Parameters
    ----------
    message : str
        What failed, where, and what to do.
    **facts : Any
        What a handler may want to know; kept as attributes. Values must pickle
        and must hold no secret.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        #: The keyword arguments given, by name.
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        # Only called for names that are not found the usual way.
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], self.facts), {"__notes__": self._notes()}

    def _notes(self) -> list[str]:
        return list(self.__dict__.get("__notes__", []))


def _rebuild(cls: type[LocalityError], message: str, facts: dict[str, Any]) -> LocalityError:
    return cls(message, **facts)


class ConfigurationError(LocalityError, ValueError):
    """A setting cannot be understood."""


class RegionError(LocalityError, ValueError):
    """A region's name is malformed, or the region of something is not known."""


class SourceError(LocalityError, ValueError):
    """Data cannot be found, read or moved as asked."""


class PlacementError(LocalityError, ValueError):
    """No region may run a task."""


class BudgetError(PlacementError):
    """A plan would move more than ``max_egress`` allows; nothing was started."""


class EndpointError(LocalityError, ConnectionError):
    """A region's scheduler is missing, cannot be reached, or refused us."""


class ExecutionError(LocalityError, RuntimeError):
    """A run broke after it had started."""


class TransferError(ExecutionError, ConnectionError):
    """A boundary value could not be moved between two regions."""


class MissingDependencyError(LocalityError, ImportError):
    """An optional package is needed and not installed."""


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
        Heads the group: what was being checked.

    Raises
    ------
    LocalityErrorGroup
        If there is more than one problem.
    """
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise LocalityErrorGroup(message, problems)
