"""Private names of other projects by their modules, and stand-ins for names that are gone.

A stand-in can be imported, named in annotations and put into tables. Its first use, such as a
call or an ``isinstance`` check, raises an error that says which versions to install.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any, NoReturn

from xr_locality.errors import MissingDependencyError

__all__ = ["missing_name", "private_name"]


def private_name(module: str, name: str, *, verified: str) -> Any:
    """Import a private name of another project, or make a stand-in that refuses its use.

    Parameters
    ----------
    module, name : str
        Where the name is defined. The project is the first word of `module`.
    verified : str
        Version of the project that the name was last verified with.

    Returns
    -------
    Any
        The object, or a class whose use raises a
        :class:`~xr_locality.errors.MissingDependencyError`.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return _StandIn(name, (), {"missing": (module, verified)})


def missing_name(module: str, name: str, *, verified: str) -> MissingDependencyError:
    """Make the error that a lost private name is refused with."""
    project = module.partition(".")[0]
    try:
        installed = metadata.version(project)
    except metadata.PackageNotFoundError:
        return MissingDependencyError(
            f"{project} is not installed, and {name!r} of it is needed here. Install {project}.",
            package=project,
        )
    return MissingDependencyError(
        f"{project} {installed} has no {module}.{name}, a private name that xr-locality needs "
        f"and was last verified with {project} {verified}. Install {project} {verified}, or a "
        "newer xr-locality.",
        package=project,
        lacks=f"{module}.{name}",
        installed=installed,
        verified=verified,
    )


class _StandIn(type):
    """Type of the stand-ins: each use of one is refused."""

    missing: tuple[str, str]

    def _refuse(cls) -> NoReturn:
        module, verified = type.__getattribute__(cls, "missing")
        raise missing_name(module, cls.__name__, verified=verified)

    def __call__(cls, *args: object, **keywords: object) -> NoReturn:
        cls._refuse()

    def __instancecheck__(cls, instance: object) -> NoReturn:
        cls._refuse()

    def __subclasscheck__(cls, subclass: object) -> NoReturn:
        cls._refuse()

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("__"):
            # Introspection of any object, as by ``inspect`` and ``pickle``, is no use of it.
            raise AttributeError(name)
        cls._refuse()
