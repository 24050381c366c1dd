"""The region of a store: ways to know it, asked in order.

A tag set by hand goes first, then the catalog's metadata, then the user's
rules, then what the store itself gives away. Each answer keeps its evidence.
"""

from __future__ import annotations

import threading
from typing import Final

from xr_locality.errors import ConfigurationError
from xr_locality.regions.detection import Detection, Detector
from xr_locality.regions.machine import LocalDetector
from xr_locality.regions.rules import Rules, RulesDetector
from xr_locality.regions.store import Store
from xr_locality.regions.tagged import TagDetector

__all__ = ["Chain", "detectors", "register_detector", "unregister_detector"]

_lock: Final = threading.Lock()
# The detector of rules holds its place here; each chain puts in its own rules.
_DETECTORS: Final[list[Detector]] = [
    TagDetector("hand", kind="hand"),
    TagDetector("catalog", kind="catalog"),
    RulesDetector(Rules()),
    LocalDetector(),
]


def detectors() -> tuple[Detector, ...]:
    """Return the registered ways to know a region, in the order they are asked."""
    with _lock:
        return tuple(_DETECTORS)


def register_detector(detector: Detector, *, before: str | None = None) -> None:
    """Add a way to know a region.

    Parameters
    ----------
    detector : Detector
        Its name must be free.
    before : str, optional
        Name of the detector to ask just after it. By default it is asked last.

    Raises
    ------
    ConfigurationError
        If the name is taken, or nothing is called `before`.
    """
    with _lock:
        names = [each.name for each in _DETECTORS]
        if detector.name in names:
            raise ConfigurationError(
                f"There is a detector {detector.name!r} already. Unregister it first."
            )
        _DETECTORS.insert(len(names) if before is None else _position(before, names), detector)


def unregister_detector(name: str) -> None:
    """Remove a way to know a region.

    Parameters
    ----------
    name : str
        The detector's name.

    Raises
    ------
    ConfigurationError
        If no detector has that name.
    """
    with _lock:
        del _DETECTORS[_position(name, [each.name for each in _DETECTORS])]


def _position(name: str, names: list[str]) -> int:
    if name not in names:
        raise ConfigurationError(f"No detector is called {name!r}; there are {', '.join(names)}.")
    return names.index(name)


class Chain:
    """The registered detectors, with one user's rules among them.

    Parameters
    ----------
    rules : Rules, optional
        The user's rules; none by default.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self._detectors = tuple(
            RulesDetector(rules) if rules is not None and each.name == "rules" else each
            for each in detectors()
        )

    def detect(self, store: Store) -> Detection | None:
        """Return the first answer; None if nobody knows the region.

        Parameters
        ----------
        store : Store
            What is looked for.

        Returns
        -------
        Detection or None
        """
        for detector in self._detectors:
            if (detection := detector.detect(store)) is not None:
                return detection
        return None

    def conflicts(self, store: Store) -> tuple[Detection, ...]:
        """Return the later answers that contradict the first one.

        A region inside a multi-region does not contradict it, nor is it a
        contradiction that somebody knows more of a file than that it is here.

        Parameters
        ----------
        store : Store
            What is looked for.

        Returns
        -------
        tuple of Detection
            In the order of the chain; empty if all who know agree.
        """
        answers = [each.detect(store) for each in self._detectors]
        known = [answer for answer in answers if answer is not None]
        if not known:
            return ()
        first, *later = known
        return tuple(
            answer
            for answer in later
            if answer.how != LocalDetector.name
            and not first.region.contains(answer.region)
            and not answer.region.contains(first.region)
        )
