"""What was measured, when and where: as values, and as JSON that can be committed."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

import psutil

from xr_locality.errors import ConfigurationError

__all__ = ["Machine", "MeasuredResults", "ScaleResult", "WayResult", "WorkResult"]

#: Packages whose versions may matter.
_PACKAGES: Final = (
    "xr-locality",
    "dask",
    "distributed",
    "dask-gateway",
    "xarray",
    "zarr",
    "numpy",
    "scipy",
    "s3fs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and when something was measured.

    Attributes
    ----------
    date : str
        Of the day, in UTC.
    processor, system : str
        What the machine says of itself.
    cores : int
        That this process may use.
    memory_nbytes : int
        Of the machine.
    versions : mapping of str to str
        By package.
    """

    date: str
    processor: str
    system: str
    cores: int
    memory_nbytes: int
    versions: Mapping[str, str]

    @classmethod
    def this(cls) -> Self:
        """Describe this machine, now."""
        return cls(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            processor=_processor(),
            system=f"{platform.system()} {platform.release().partition('-')[0]}",
            cores=len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
            memory_nbytes=psutil.virtual_memory().total,
            versions={
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in _PACKAGES},
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WayResult:
    """What one way to do some work took.

    Attributes
    ----------
    seconds : float
        That the user waited.
    nbytes : int
        Bytes that crossed between regions, all of them, as the network counted them.
    usd : float
        What they would cost at the shipped prices.
    """

    seconds: float
    nbytes: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkResult:
    """Some work, done in every way.

    Attributes
    ----------
    section, name, description : str
        What belongs together, and what it is.
    round_trip_seconds, bytes_per_second : float
        Of the network between each two regions.
    predicted_nbytes, bound_nbytes : int
        What the plan was to move, and what every plan moves at least.
    planned_nbytes : int
        What crossed where the plan said that something would cross, as the network counted
        it; the rest of the plan's bytes are graphs, heartbeats and the like.
    ways : mapping of str to WayResult
        By name.
    """

    section: str
    name: str
    description: str
    round_trip_seconds: float
    bytes_per_second: float
    predicted_nbytes: int
    bound_nbytes: int
    planned_nbytes: int
    ways: Mapping[str, WayResult]

    def times(self, way: str) -> float:
        """Divide the seconds of a way by the plan's."""
        return self.ways[way].seconds / self.ways["plan"].seconds

    def nbytes_times(self, way: str) -> float:
        """Divide the bytes of a way by the plan's."""
        return self.ways[way].nbytes / max(1, self.ways["plan"].nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleResult:
    """What placing a synthetic graph took.

    Attributes
    ----------
    shape : str
        Of the graph.
    n_regions, n_tasks : int
        Its size.
    stored_nbytes : int
        Bytes that its tasks read.
    seconds : float
        That placing took.
    peak_nbytes : int
        Memory that placing took at most, beside the problem's own.
    gap : float
        How far the placement may be above the best, as a share.
    moved_nbytes, alone_nbytes : int
        What crosses by the plan, and in the best single region.
    """

    shape: str
    n_regions: int
    n_tasks: int
    stored_nbytes: int
    seconds: float
    peak_nbytes: int
    gap: float
    moved_nbytes: int
    alone_nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredResults:
    """All that was measured in one go.

    Attributes
    ----------
    machine : Machine
        Where and when.
    command : str
        What measures it again.
    read_bytes_per_second : float
        Stored bytes that the machine's cores read from beside them, all together.
    works : tuple of WorkResult
        Work done in every way.
    scale : tuple of ScaleResult
        Placements of large graphs.
    """

    machine: Machine
    command: str
    read_bytes_per_second: float
    works: tuple[WorkResult, ...]
    scale: tuple[ScaleResult, ...]

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        Path(path).write_text(f"{text}\n", "utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ConfigurationError
            If there is no such file, or it holds something else.
        """
        try:
            read = json.loads(Path(path).read_text("utf-8"))
            return cls._from(read)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(
                f"{str(path)!r} holds no results ({type(error).__name__}: {error}). "
                "Write some: python -m benchmarks run --output FILE."
            ) from error

    @classmethod
    def _from(cls, read: dict[str, Any]) -> Self:
        works = []
        for each in read.pop("works"):
            ways = {name: WayResult(**way) for name, way in each.pop("ways").items()}
            works.append(WorkResult(ways=ways, **each))
        scale = tuple(ScaleResult(**each) for each in read.pop("scale"))
        machine = Machine(**read.pop("machine"))
        return cls(machine=machine, works=tuple(works), scale=scale, **read)


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
