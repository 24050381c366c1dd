"""Limit of the values computed ahead of the boundary values they are combined with."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dask.core import reverse_dict
from dask.typing import Key

from xr_locality.execution.remote.compat import DependenciesMapping, Task, TaskRef

__all__ = ["limit_prefetch"]


def limit_prefetch(
    tasks: Mapping[Key, Any],
    *,
    fetches: Sequence[Key],
    sends: Collection[Key],
    nbytes: Callable[[Key], int],
    window: int,
) -> dict[Key, Any]:
    """Make tasks wait for fetches where they would otherwise run too far ahead.

    A value that is computed long before the boundary value that it is combined with only
    fills memory. Fetches finish about in their order. So values are put in the order of
    the fetches that their consumers wait for, and one may be computed when all but
    `window` bytes of the values before it can be used: its tasks without inputs wait for
    that fetch.

    Tasks that lead to a value sent to another region never wait: the fetch might depend
    on it, by way of that region.

    Parameters
    ----------
    tasks : mapping of key to task
        Optimised.
    fetches : sequence of key
        Tasks that fetch, in the order in which their values are made.
    sends : collection of key
        Values that other regions need.
    nbytes : callable
        Bytes of a key's value; 0 where they are not known.
    window : int
        Bytes that may wait.

    Returns
    -------
    dict of key to task
        Tasks that wait depend on a barrier: a task that takes the fetched value and returns
        None, so that the fetched value need not move to the workers where they run.
    """
    tasks = dict(tasks)
    dependencies = DependenciesMapping(tasks)
    dependents = reverse_dict(dependencies)
    latest = _latest(fetches, dependents, dependencies)
    # Values computed without a fetch whose consumers wait for one: until that has finished.
    waits: dict[Key, int] = {}
    for key, place in latest.items():
        for needed in dependencies[key]:
            if needed not in latest and nbytes(needed):
                waits[needed] = max(waits.get(needed, 0), place)
    if sum(map(nbytes, waits)) <= window:
        return tasks
    free = _upstream([key for key in sends if key in tasks], dependencies)
    opens = _openings(waits, nbytes, window)
    barriers: dict[int, Key] = {}
    delayed: dict[Key, int] = {}
    for key, place in opens.items():
        for root in _upstream([key], dependencies):
            if not dependencies[root] and type(tasks[root]) is Task and root not in free:
                # A root of several values is needed by the first of them.
                delayed[root] = min(delayed.get(root, place), place)
    for root, place in delayed.items():
        if place < 0:
            continue
        if place not in barriers:
            barriers[place] = ("locality-prefetch-limit", place)
            tasks[barriers[place]] = Task(barriers[place], _nothing, TaskRef(fetches[place]))
        inner = tasks[root]
        tasks[root] = Task(root, _first, inner, TaskRef(barriers[place]))
    return tasks


def _latest(
    fetches: Sequence[Key],
    dependents: Mapping[Key, Collection[Key]],
    dependencies: Mapping[Key, Collection[Key]],
) -> dict[Key, int]:
    """Map each task that waits for fetches to the place of the last of them."""
    latest: dict[Key, int] = {}
    # From the last to the first: a task that was reached keeps its place.
    for place in range(len(fetches) - 1, -1, -1):
        stack = [fetches[place]]
        while stack:
            key = stack.pop()
            if key not in latest:
                latest[key] = place
                stack.extend(dependents.get(key, ()))
    return latest


def _openings(
    waits: Mapping[Key, int], nbytes: Callable[[Key], int], window: int
) -> dict[Key, int]:
    """Map each value to the place of the fetch after which it may be computed; -1 for at once."""
    opens: dict[Key, int] = {}
    # Places and bytes of values that may wait in memory.
    ahead: deque[tuple[int, int]] = deque()
    held = 0
    opened = -1
    for key, place in sorted(waits.items(), key=lambda each: each[1]):
        size = nbytes(key)
        while ahead and held + size > window:
            before, freed = ahead.popleft()
            held -= freed
            opened = before
        opens[key] = opened
        ahead.append((place, size))
        held += size
    return opens


def _upstream(keys: Collection[Key], dependencies: Mapping[Key, Collection[Key]]) -> set[Key]:
    """Find the tasks that some tasks need, themselves among them."""
    found: set[Key] = set()
    stack = list(keys)
    while stack:
        key = stack.pop()
        if key not in found:
            found.add(key)
            stack.extend(dependencies.get(key, ()))
    return found


def _nothing(value: Any) -> None:
    """Run as a task: take a value and return None."""


def _first(value: Any, barrier: None) -> Any:
    """Run as a task: return the value of the inner task."""
    return value
