"""Compares ways to do the same work by taking turns.

A machine's speed changes by the minute: other work, heat, a busy host. So the
ways are run in turn, A B B A A B, and it is runs side by side that are
compared, by the median of their ratios.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import psutil

__all__ = ["Sample", "Samples", "median_ratio", "median_seconds", "take_turns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run took."""

    #: As the user waits.
    seconds: float
    #: Of this process and of all that descend from it, clusters among them. What
    #: others do on the machine changes it little.
    processor_seconds: float


#: The runs of each way; those at the same place were side by side.
Samples: TypeAlias = Mapping[str, list[Sample]]


def take_turns(
    ways: Mapping[str, Callable[[Any], Any]], *, make: Callable[[int], Any], rounds: int
) -> Samples:
    """Run each way once a round, the order turned round after each.

    Parameters
    ----------
    ways : mapping of str to callable
        By name; each takes what `make` made.
    make : callable
        Makes the work from a number that is never given twice, so that nothing
        can be cached. What this takes does not count.
    rounds : int
        Even, so that each way is as often the first as the last.

    Returns
    -------
    mapping of str to list of Sample
        By the names of the ways.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    order = list(ways)
    for turn in range(rounds):
        for place, name in enumerate(order):
            samples[name].append(_run(ways[name], make(1 + turn * len(order) + place)))
        order.reverse()
    return samples


def median_ratio(
    samples: Samples,
    way: str,
    *,
    over: str,
    of: Literal["seconds", "processor_seconds"] = "seconds",
) -> float:
    """Compare two ways by the median of the ratios of their runs side by side.

    Parameters
    ----------
    samples : mapping of str to list of Sample
        As `take_turns` returned them.
    way, over : str
        What is divided by what.
    of : {"seconds", "processor_seconds"}
        Of which of their numbers.

    Returns
    -------
    float
    """
    pairs = zip(samples[way], samples[over], strict=True)
    return statistics.median(getattr(one, of) / getattr(other, of) for one, other in pairs)


def median_seconds(samples: Samples, way: str) -> float:
    """Give the seconds that one way took, at the median."""
    return statistics.median(sample.seconds for sample in samples[way])


def _run(way: Callable[[Any], Any], work: Any) -> Sample:
    # What the run before has left is not this run's to sweep up.
    gc.collect()
    # To list the processes takes a while: not between the two looks at the clock.
    process = psutil.Process()
    processes = [process, *process.children(recursive=True)]
    processor_started = _processor_seconds(processes)
    started = time.perf_counter()
    way(work)
    seconds = time.perf_counter() - started
    return Sample(
        seconds=seconds, processor_seconds=_processor_seconds(processes) - processor_started
    )


def _processor_seconds(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)
