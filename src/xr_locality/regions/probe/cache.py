"""What probes found out, kept in memory and on disk until it expires.

Each answer is a file of its own, replaced as a whole: processes that run at the
same time cannot spoil each other's. A file names a bucket and its service, no
object in it and nothing secret.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from xr_locality.errors import LocalityError, LocalityWarning
from xr_locality.regions.probe.client import is_loopback
from xr_locality.regions.region import Region
from xr_locality.runtime.user_files import write_whole

__all__ = ["BucketRequest", "ProbeAnswer", "ProbeCache"]

logger = logging.getLogger(__name__)

_VERSION: Final = 1
_DAY: Final = 86_400.0
_FOUND_SECONDS: Final = 30 * _DAY
# Buckets are made, and permissions given, while somebody waits for it.
_UNKNOWN_SECONDS: Final = 3_600.0
# A laptop that was offline is online again.
_UNREACHABLE_SECONDS: Final = 300.0
# An emulator on this machine is started anew with other buckets, at the same port. It
# is asked again in no time, and what it says is not kept on disk.
_EMULATED_SECONDS: Final = 5.0
_MOST_FILE_NBYTES: Final = 16_384
_MOST_FILES: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRequest:
    """A bucket whose region somebody wants to know."""

    #: ``s3``, ``gs`` or ``az``.
    service: str
    #: None for the provider's own.
    endpoint: str | None
    #: Of the bucket, or the storage account.
    name: str
    #: Whether it is asked with a signature if need be.
    signed: bool = False

    @property
    def emulated(self) -> bool:
        """Whether a server on this machine is asked."""
        return self.endpoint is not None and is_loopback(urlsplit(self.endpoint).netloc)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What a service said, or why it said nothing."""

    #: None where it is not known.
    region: Region | None
    #: For people.
    evidence: str
    requester_pays: bool | None = None
    #: Whether anybody answered.
    reached: bool = True

    @property
    def lifetime_seconds(self) -> float:
        """How long it is believed."""
        if self.region is not None:
            return _FOUND_SECONDS
        return _UNKNOWN_SECONDS if self.reached else _UNREACHABLE_SECONDS


class ProbeCache:
    """Answers that have not expired; safe in threads and beside other processes.

    Parameters
    ----------
    directory : Path or None
        Where to keep them; None keeps them in memory only.
    now : callable, optional
        Tells the time, in seconds since 1970.
    """

    def __init__(self, directory: Path | None, *, now: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._memory: dict[BucketRequest, tuple[float, ProbeAnswer]] = {}

    def get(self, question: BucketRequest) -> ProbeAnswer | None:
        """Return the answer to a question; None if there is none, or it has expired."""
        with self._lock:
            kept = self._memory.get(question)
        if kept is None:
            kept = self._read(question)
            if kept is None:
                return None
            with self._lock:
                self._memory[question] = kept
        asked_at, answer = kept
        age = self._now() - asked_at
        # A clock may have been wrong: what was found out tomorrow is not believed.
        lifetime = _EMULATED_SECONDS if question.emulated else answer.lifetime_seconds
        return answer if -_DAY < age < lifetime else None

    def put(self, question: BucketRequest, answer: ProbeAnswer) -> None:
        """Keep an answer. A directory that cannot be written is passed over."""
        asked_at = self._now()
        with self._lock:
            self._memory[question] = asked_at, answer
        if self._directory is None or question.emulated:
            return
        try:
            self._write(self._directory, question, answer, asked_at)
        except OSError as err:
            logger.info("Answers of probes are not kept in %s: %s", self._directory, err)

    def _path(self, directory: Path, question: BucketRequest) -> Path:
        text = json.dumps(asdict(question), sort_keys=True)
        return directory / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def _read(self, question: BucketRequest) -> tuple[float, ProbeAnswer] | None:
        if self._directory is None or question.emulated:
            return None
        path = self._path(self._directory, question)
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_FILE_NBYTES)
        except OSError:
            return None
        try:
            return _parse(json.loads(content), question)
        except (ValueError, TypeError, KeyError, RecursionError, LocalityError) as err:
            logger.info("%s cannot be read: %s", path, type(err).__name__)
            _warn_once(self._directory)
            return None

    def _write(
        self, directory: Path, question: BucketRequest, answer: ProbeAnswer, asked_at: float
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {
            "version": _VERSION,
            "question": asdict(question),
            "asked_at": asked_at,
            "region": None if answer.region is None else str(answer.region),
            "evidence": answer.evidence,
            "requester_pays": answer.requester_pays,
            "reached": answer.reached,
        }
        write_whole(self._path(directory, question), json.dumps(content))
        self._prune(directory)

    def _prune(self, directory: Path) -> None:
        """Keep the directory from growing for ever: the oldest files go."""
        files = list(directory.iterdir())
        if len(files) <= _MOST_FILES:
            return
        dated = []
        for file in files:
            with suppress(OSError):
                dated.append((file.stat().st_mtime, file))
        for _, file in sorted(dated)[: len(dated) // 2]:
            with suppress(OSError):
                file.unlink()


def _parse(content: Any, question: BucketRequest) -> tuple[float, ProbeAnswer] | None:
    if content["version"] != _VERSION:
        return None
    if content["question"] != asdict(question):
        raise ValueError("It answers another question.")
    asked_at, evidence = content["asked_at"], content["evidence"]
    pays, reached, region = content["requester_pays"], content["reached"], content["region"]
    sound = (
        isinstance(asked_at, float)
        and math.isfinite(asked_at)
        and isinstance(evidence, str)
        and evidence.isprintable()
        and pays in (None, True, False)
        and isinstance(reached, bool)
    )
    if not sound:
        raise ValueError("It is not as it was written.")
    answer = ProbeAnswer(
        region=None if region is None else Region.parse(region),
        evidence=evidence,
        requester_pays=pays,
        reached=reached,
    )
    return asked_at, answer


_warned: Final[set[Path]] = set()


def _warn_once(directory: Path) -> None:
    if directory in _warned:
        return
    _warned.add(directory)
    warnings.warn(
        f"Some of what is kept in {str(directory)!r} cannot be read, and is asked again. "
        "It is safe to delete.",
        LocalityWarning,
        stacklevel=2,
    )
