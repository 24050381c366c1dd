"""Warnings of finders that fail: an unknown source instead of the end of a plan."""

from __future__ import annotations

import importlib.metadata
import warnings
from typing import Final

from xr_locality.errors import LocalityWarning
from xr_locality.regions.store import without_secrets
from xr_locality.sources.finder import SourceFinder

__all__ = ["warn_of_failure"]

# Kinds of failures that were reported: one plan looks at an object many times.
_reported: Final[set[tuple[str, type[object], str]]] = set()


def warn_of_failure(finder: SourceFinder, obj: object, error: Exception) -> None:
    """Warn that a finder failed on an object, once a process for each kind of failure.

    Parameters
    ----------
    finder : SourceFinder
        Ours or another package's.
    obj : object
        What it was asked about.
    error : Exception
        What it raised.
    """
    kind = type(obj)
    failure = f"{type(error).__name__}: {without_secrets(str(error))}"
    if (finder.name, kind, failure) in _reported:
        return
    _reported.add((finder.name, kind, failure))
    # The object that lacks an attribute is often inside of the one that was asked about.
    inner = getattr(error, "obj", None)
    inside = (
        f" (its {type(inner).__name__} of {_package(type(inner))})" if inner is not None else ""
    )
    warnings.warn(
        f"The source finder {finder.name!r} of {_package(type(finder))} failed on "
        f"{kind.__module__}.{kind.__qualname__} of {_package(kind)}{inside} with {failure}. "
        "The region of that source is unknown: set it with xr_locality.tag(obj, region). "
        "Another version of either package may agree with the other.",
        LocalityWarning,
        stacklevel=3,
    )


def _package(kind: type[object]) -> str:
    """Name the distribution of a class, and its version."""
    module = kind.__module__.partition(".")[0]
    names = importlib.metadata.packages_distributions().get(module, [])
    try:
        return f"{names[0]} {importlib.metadata.version(names[0])}"
    except (IndexError, importlib.metadata.PackageNotFoundError):
        return f"module {module!r}"
