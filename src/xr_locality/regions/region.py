"""Regions as values: canonical names, aliases and parsing.

This is the only module that makes a region's canonical name, ``provider:name``
in lower case.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xr_locality.errors import RegionError
from xr_locality.regions.cloud_regions import KnownRegion, known_regions

__all__ = ["LOCAL", "Region"]

_LOCAL: Final = "local"
_LONGEST: Final = 63

_ALIASES: Final = {
    "amazon": "aws",
    "s3": "aws",
    "gcs": "gcp",
    "google": "gcp",
    "gs": "gcp",
    "az": "azure",
    "microsoft": "azure",
    "msft": "azure",
}

_WORD: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")

_COMPASS: Final = (
    "(?:north|south|east|west|central|northeast|northwest|northcentral"
    "|southeast|southwest|southcentral|westcentral)"
)
# New regions open faster than the table is renewed, so a name that follows its
# provider's own pattern is taken on trust. The compass words are spelt out
# because it is there that a slip of the finger would otherwise pass.
_PATTERNS: Final = {
    "aws": re.compile(rf"[a-z]{{2,4}}(?:-[a-z]{{2,4}})?-{_COMPASS}-\d{{1,2}}"),
    "gcp": re.compile(
        rf"(?:africa|asia|australia|europe|me|northamerica|southamerica|us)-{_COMPASS}\d{{1,2}}"
        r"|(?:asia|eur|nam)\d{1,2}"
    ),
    "azure": re.compile(rf"[a-z]{{2,}}?{_COMPASS}\d?|{_COMPASS}(?:us|india|asia|europe)\d?"),
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True, repr=False)
class Region:
    """A place with its own network and prices: a cloud region, a site, this machine.

    Regions compare, sort and hash by value and survive pickling. A region is
    not equal to its name: compare ``str(region)`` with text.

    Parameters
    ----------
    provider : str
        Who runs the place: ``aws``, ``gcp``, ``azure``, or any other word.
    name : str
        The provider's own name for it.

    Raises
    ------
    RegionError
        If the name is malformed, or none that a known provider uses.

    Examples
    --------
    >>> Region.parse("AWS us-west-2")
    Region('aws:us-west-2')
    >>> str(Region(provider="google", name="us-central1"))
    'gcp:us-central1'
    >>> Region.parse("gcp:us").contains(Region.parse("us-central1"))
    True
    """

    provider: str
    name: str

    def __post_init__(self) -> None:
        shown = f"{self.provider}:{self.name}"
        provider = _canonical_word(self.provider, shown=shown)
        provider = _ALIASES.get(provider, provider)
        name = _canonical_word(self.name, shown=shown)
        _check_known(provider, name, shown=shown)
        object.__setattr__(self, "provider", provider)
        object.__setattr__(self, "name", name)

    @classmethod
    def parse(cls, text: str | Region) -> Region:
        """Make a region from what a person or a catalog wrote.

        Parameters
        ----------
        text : str or Region
            ``"aws:us-west-2"``, ``"AWS us-west-2"``, ``"aws/us-west-2"``, a name
            alone where only one provider has it (``"us-west-2"``), or
            ``"local"``. Upper and lower case are the same. A region is handed
            back as it is.

        Returns
        -------
        Region

        Raises
        ------
        RegionError
            If the text is malformed, ambiguous, or no region of the provider.
        """
        if isinstance(text, Region):
            return text
        if not isinstance(text, str):
            raise RegionError(
                f"A region must be text such as 'aws:us-west-2', not {_shown(text)} "
                f"of type {type(text).__name__!r}.",
                value=_shown(text),
            )
        return _parse(text)

    @property
    def is_local(self) -> bool:
        """Whether this is the user's own machine."""
        return self.provider == _LOCAL

    @property
    def known(self) -> KnownRegion | None:
        """What the bundled table says of this region; None if it is not listed."""
        return known_regions().get(str(self))

    def contains(self, other: Region) -> bool:
        """Say whether this region is, or spans, another.

        Multi-regions (``gcp:us``) and dual-regions (``gcp:nam4``) contain the
        regions that they spread data over; each region contains itself.
        """
        if self == other:
            return True
        mine, theirs = self.known, other.known
        return mine is not None and theirs is not None and mine.contains(theirs)

    def overlaps(self, other: Region) -> bool:
        """Whether one of two regions is, or spans, the other.

        Examples
        --------
        >>> Region.parse("gcp:us-central1").overlaps(Region.parse("gcp:us"))
        True
        """
        return self.contains(other) or other.contains(self)

    def __str__(self) -> str:
        return _LOCAL if self.is_local else f"{self.provider}:{self.name}"

    def __repr__(self) -> str:
        return f"Region({str(self)!r})"


@lru_cache(maxsize=1024)
def _parse(text: str) -> Region:
    if not text.isprintable():
        raise RegionError(
            f"Malformed region {_shown(text)}: it holds control characters.", value=_shown(text)
        )
    stripped = text.strip(" ")
    provider, separator, name = stripped.partition(":")
    if not separator:
        provider, separator, name = stripped.partition("/")
    if not separator:
        provider, separator, name = stripped.partition(" ")
    if separator:
        return Region(provider=provider, name=name)
    word = _canonical_word(stripped, shown=text)
    if word == _LOCAL:
        return LOCAL
    found = [row for row in known_regions().values() if row.name == word]
    if len(found) == 1:
        return Region(provider=found[0].provider, name=word)
    if found:
        choices = tuple(row.canonical for row in found)
        raise RegionError(
            f"Ambiguous region {_shown(text)}: it may be {_either(choices)}. "
            "Write the provider too.",
            value=_shown(text),
            suggestions=choices,
        )
    choices = _closest(word, [_LOCAL, *(row.name for row in known_regions().values())])
    raise RegionError(
        f"Unknown region {_shown(text)}.{_did_you_mean(choices)} "
        "Write it as 'provider:name', such as 'aws:us-west-2'.",
        value=_shown(text),
        suggestions=choices,
    )


def _canonical_word(word: object, *, shown: str) -> str:
    """Bring a provider's or region's name to lower case, or say why it is none."""
    if isinstance(word, str) and word.isascii() and len(word) <= _LONGEST:
        lower = word.lower()
        if _WORD.fullmatch(lower):
            return lower
    raise RegionError(
        f"Malformed region {_shown(shown)}. Write it as 'provider:name', such as 'aws:us-west-2': "
        f"letters, digits, '.', '_' and '-', at most {_LONGEST} characters each.",
        value=_shown(shown),
    )


def _check_known(provider: str, name: str, *, shown: str) -> None:
    if provider == _LOCAL:
        if name != _LOCAL:
            raise RegionError(
                f"Unknown region {_shown(shown)}: this machine is 'local', without a name.",
                value=_shown(shown),
                suggestions=(_LOCAL,),
            )
        return
    pattern = _PATTERNS.get(provider)
    if pattern is None or f"{provider}:{name}" in known_regions() or pattern.fullmatch(name):
        return
    names = [row.name for row in known_regions().values() if row.provider == provider]
    choices = tuple(f"{provider}:{close}" for close in _closest(name, names))
    raise RegionError(
        f"Unknown region {_shown(shown)}: {provider!r} has none of that name."
        f"{_did_you_mean(choices)}",
        value=_shown(shown),
        suggestions=choices,
    )


def _closest(name: str, names: list[str]) -> tuple[str, ...]:
    return tuple(difflib.get_close_matches(name, names, n=3, cutoff=0.6))


def _did_you_mean(choices: tuple[str, ...]) -> str:
    return f" Did you mean {_either(choices)}?" if choices else ""


def _either(choices: tuple[str, ...]) -> str:
    return " or ".join(repr(choice) for choice in choices)


def _shown(value: object) -> str:
    """Show a wrong value in a message, however long it is."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


#: The user's own machine.
LOCAL: Final = Region(provider=_LOCAL, name=_LOCAL)
