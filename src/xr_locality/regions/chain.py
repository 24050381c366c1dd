"""The region of a store: ways to know it, asked in order.

A tag set by hand goes first, then the catalog's metadata and the store's, the user's
rules, the table of public buckets, names of services that settle it, a probe of the cloud, and
names that hint at it. Each answer keeps its evidence, and shows who contradicts it.
Only the probe uses a network, and only where nobody before it knows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Self

from xr_locality.config import Settings
from xr_locality.errors import ConfigurationError
from xr_locality.regions.detection import Detection, Detector
from xr_locality.regions.detectors.hostnames import HostnameDetector
from xr_locality.regions.detectors.local_files import LocalDetector
from xr_locality.regions.detectors.public_buckets import TableDetector
from xr_locality.regions.detectors.rules import Rules, RulesDetector
from xr_locality.regions.detectors.storage_options import StatedDetector
from xr_locality.regions.detectors.tags import TagDetector
from xr_locality.regions.lookup import Lookup
from xr_locality.regions.probe.prober import Probe, ProbeDetector, open_probe
from xr_locality.regions.store import Store
from xr_locality.regions.tag import LEAVES

__all__ = ["Chain", "detectors", "register_detector", "unregister_detector"]

_lock: Final = threading.Lock()
# The detectors of rules and probes hold their places here; each chain puts in its own.
_DETECTORS: Final[list[Detector]] = [
    TagDetector("hand", kind="hand"),
    TagDetector("catalog", kind="catalog"),
    StatedDetector(),
    RulesDetector(Rules()),
    TableDetector(),
    HostnameDetector("service"),
    ProbeDetector(),
    HostnameDetector("hostname"),
    LocalDetector(),
]
# What was written down once; a live answer goes before it, should there be one.
_WRITTEN_DOWN: Final = frozenset({"table", "service", "hostname"})


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
    """The registered detectors, with one user's rules and one probe among them.

    Parameters
    ----------
    rules : Rules, optional
        The user's rules; none by default.
    probe : Probe, optional
        Asks clouds for what nobody else knows; by default nobody is asked.
    verify : bool, default False
        Whether to ask also where somebody knows, so that contradictions show.
    """

    def __init__(
        self, rules: Rules | None = None, *, probe: Probe | None = None, verify: bool = False
    ) -> None:
        self._probe = probe
        self._verify = verify
        own: dict[str, Detector] = {ProbeDetector.name: ProbeDetector(probe)}
        if rules is not None:
            own[RulesDetector.name] = RulesDetector(rules)
        self._detectors = tuple(own.get(each.name, each) for each in detectors())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make the chain that the settings ask for.

        Parameters
        ----------
        settings : Settings
            Its rules, and whether and how long to probe.

        Returns
        -------
        Chain

        Raises
        ------
        ConfigurationError
            If a rule cannot be understood.
        """
        rules = Rules.parse(settings.rules)
        if settings.probe == "never":
            return cls(rules)
        probe = open_probe(seconds=settings.probe_timeout, directory=settings.cache_directory)
        return cls(rules, probe=probe, verify=settings.probe == "always")

    def ask(self, stores: Iterable[Store]) -> None:
        """Probe those stores whose region nobody knows, all at once.

        :meth:`detect` does it too, for one store: call this first with all that will
        be looked for, or they wait for each other.

        Parameters
        ----------
        stores : iterable of Store
            Any.
        """
        if self._probe is not None:
            self._probe.ask([store for store in stores if self._verify or not self._known(store)])

    def detect(self, store: Store) -> Detection | None:
        """Return the answer to believe; None if nobody knows the region.

        Parameters
        ----------
        store : Store
            What is looked for.

        Returns
        -------
        Detection or None
            With who contradicts it. Of what may leave, the strictest word counts,
            whoever said it, and that the reader pays counts from whoever knows.
        """
        self.ask([store])
        known = self._answers(store)
        if not known:
            return None
        first = known[0]
        paid = [answer.requester_pays for answer in known]
        if store.access is not None:
            paid.append(store.access.requester_pays)
        return replace(
            first,
            requester_pays=next((each for each in paid if each is not None), None),
            leaves=max((answer.leaves for answer in known), key=LEAVES.index),
            replicas=next((answer.replicas for answer in known if answer.replicas), ()),
            conflicts=tuple(answer for answer in known[1:] if _contradicts(answer, first)),
        )

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
            In the order in which they are believed; empty if all who know agree.
        """
        detection = self.detect(store)
        return () if detection is None else detection.conflicts

    def why_unknown(self, store: Store) -> str:
        """Say why nobody knows the region of a store, for people.

        Returns
        -------
        str
            ``"nobody knows"``, with what a probe was answered if there was one.
        """
        answer = None if self._probe is None else self._probe.remembered(store)
        return "nobody knows" if answer is None else f"nobody knows: {answer.evidence}"

    def look_up(self, store: Store) -> Lookup:
        """Return what is known of a store, also where that is not its region."""
        detection = self.detect(store)
        evidence = self.why_unknown(store) if detection is None else detection.evidence
        return Lookup(store=store, detection=detection, evidence=evidence)

    def _known(self, store: Store) -> bool:
        """Say whether somebody knows who is asked before the probe."""
        for detector in self._detectors:
            if detector.name == ProbeDetector.name:
                return False
            if detector.detect(store) is not None:
                return True
        return True

    def _answers(self, store: Store) -> list[Detection]:
        """List all answers, those to believe first."""
        answers = [each.detect(store) for each in self._detectors]
        known = [answer for answer in answers if answer is not None]
        live = [answer for answer in known if answer.how == ProbeDetector.name]
        written = [answer for answer in known if answer.how in _WRITTEN_DOWN]
        if live and written:
            known.remove(live[0])
            known.insert(known.index(written[0]), live[0])
        return known


def _contradicts(answer: Detection, first: Detection) -> bool:
    return answer.how != LocalDetector.name and not first.region.overlaps(answer.region)
