"""The user's own figures by pair of regions: ``"aws:* -> gcp:us-central1"``.

Either side is a region, every region of a provider (``"aws:*"``) or any region
(``"*"``). The most specific pair wins, the source's side first. Nothing crosses
inside a region, nor between a multi-region and a region in it: no figure holds there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from xr_locality.errors import ConfigurationError, raise_together
from xr_locality.regions.region import Region

__all__ = ["Overrides", "inside"]

Given = TypeVar("Given")
Figure = TypeVar("Figure")

_ANY: Final = "*"
_ARROW: Final = "->"


def inside(source: Region, target: Region) -> bool:
    """Say whether nothing crosses: one region, or a multi-region and a region in it."""
    return source.overlaps(target)


class Overrides(Generic[Figure]):
    """Figures by pair of regions, of which the most specific is found.

    Parameters
    ----------
    given : mapping of str to object
        Figures as the user wrote them, by pair.
    understand : callable
        Makes a figure of what the user wrote; raises ValueError with what is wrong.
    setting : str
        What the user knows them by, in messages.

    Raises
    ------
    ConfigurationError
        If a pair is none, or its figure is not understood.
    LocalityErrorGroup
        If several are.
    """

    __slots__ = ("_figures",)

    def __init__(
        self, given: Mapping[str, Given], understand: Callable[[Given], Figure], *, setting: str
    ) -> None:
        figures: dict[tuple[str, str], Figure] = {}
        problems = []
        for pair, value in given.items():
            try:
                sides = _sides(pair)
                figure = understand(value)
                if sides in figures:
                    raise ValueError(f"this pair has two {setting}")
            except ValueError as error:
                problems.append(
                    ConfigurationError(
                        f"Cannot use locality.{setting} of {pair!r}: {str(error).rstrip('.')}.",
                        pair=pair,
                    )
                )
            else:
                figures[sides] = figure
        raise_together(problems, message=f"The {setting} of xr-locality's settings cannot be used:")
        self._figures = MappingProxyType(figures)

    def __len__(self) -> int:
        return len(self._figures)

    def find(self, source: Region, target: Region) -> tuple[str, Figure] | None:
        """Find the most specific figure of a pair.

        Returns
        -------
        tuple of (str, object), or None
            The pair as it was given, in canonical names, and its figure.
        """
        if inside(source, target):
            return None
        for src in _patterns(source):
            for dst in _patterns(target):
                if (figure := self._figures.get((src, dst))) is not None:
                    return f"{src} {_ARROW} {dst}", figure
        return None


def _patterns(region: Region) -> tuple[str, ...]:
    """Name the sides that cover a region, most specific first."""
    return str(region), f"{region.provider}:{_ANY}", _ANY


def _sides(pair: str) -> tuple[str, str]:
    sides = pair.split(_ARROW)
    if len(sides) != 2:
        raise ValueError("it must be written 'source -> target'")
    source, target = (_side(text.strip()) for text in sides)
    if _ANY not in source + target and inside(Region.parse(source), Region.parse(target)):
        raise ValueError(
            "nothing crosses inside a region, nor between a multi-region and a region in it"
        )
    return source, target


def _side(text: str) -> str:
    provider, colon, name = text.partition(":")
    if text == _ANY or (colon and name == _ANY and provider.isalnum() and provider.islower()):
        return text
    return str(Region.parse(text))
