"""What a realistic program is, and how one is declared."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import xarray as xr

__all__ = ["RealisticProgram", "declared", "program"]

_Build: TypeAlias = Callable[[xr.Dataset, xr.Dataset], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisticProgram:
    """A program over two datasets, as a person would write it.

    Attributes
    ----------
    name : str
        Unique among the programs.
    topic : str
        The part of xarray or dask that it is about, such as ``groupby``.
    question : str
        What it asks of the data, in one sentence.
    build : callable
        Takes the two datasets of :func:`open_models` and makes the lazy object;
        computes nothing.
    needs : str or None
        An optional package that building it imports.
    p2p : bool
        Whether it rechunks or shuffles peer to peer: that runs on distributed
        clusters only, and in one of them.
    tolerance : str or None
        Why answers may differ in their last bits; None where they may not.
    """

    name: str
    topic: str
    question: str
    build: _Build
    needs: str | None = None
    p2p: bool = False
    tolerance: str | None = None

    @property
    def exact(self) -> bool:
        """Whether answers must be the same to the last bit."""
        return self.tolerance is None

    @property
    def available(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def program(
    topic: str, *, needs: str | None = None, p2p: bool = False, tolerance: str | None = None
) -> Callable[[_Build], RealisticProgram]:
    """Make a program of a function; its name and docstring are the program's.

    Parameters
    ----------
    topic, needs, p2p, tolerance
        See :class:`RealisticProgram`.

    Returns
    -------
    callable
        A decorator.
    """

    def declare(build: _Build) -> RealisticProgram:
        return RealisticProgram(
            name=build.__name__,
            topic=topic,
            question=(build.__doc__ or "").strip(),
            build=build,
            needs=needs,
            p2p=p2p,
            tolerance=tolerance,
        )

    return declare


def declared(namespace: Mapping[str, object]) -> tuple[RealisticProgram, ...]:
    """List the programs that a module declares, in its order.

    Parameters
    ----------
    namespace : Mapping
        The module's ``vars``.
    """
    return tuple(each for each in namespace.values() if isinstance(each, RealisticProgram))
