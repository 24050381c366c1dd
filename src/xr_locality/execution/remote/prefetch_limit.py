"""Keeps tasks from running far ahead of the boundary values that their takers wait for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dask._task_spec import DependenciesMapping, Task, TaskRef
from dask.core import reverse_dict
from dask.typing import Key

__all__ = ["gate"]


def gate(
    tasks: Mapping[Key, Any],
    *,
    fetches: Sequence[Key],
    sends: Collection[Key],
    nbytes: Callable[[Key], int],
    window: int,
) -> dict[Key, Any]:
    """Let tasks wait for fetches where they would otherwise run too far ahead.

    A value that is there long before the boundary value that it is combined with only
    fills memory. Fetches arrive about in their order. So values are put in the order of
    the fetches that their takers wait for, and one may be begun when all but `window`
    bytes of those before it can be used: its tasks without inputs wait for that fetch.

    Tasks that lead to a value sent elsewhere never wait: the fetch might depend on it,
    by way of another region.

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
        Those that wait take a gate, a task of ours that takes the fetch and makes nothing,
        so that the fetched value need not move to where they run.
    """
    tasks = dict(tasks)
    dependencies = DependenciesMapping(tasks)
    dependents = reverse_dict(dependencies)
    latest = _latest(fetches, dependents, dependencies)
    # Values made without a fetch, that tasks take which wait for one: until that has come.
    waits: dict[Key, int] = {}
    for key, place in latest.items():
        for needed in dependencies[key]:
            if needed not in latest and nbytes(needed):
                waits[needed] = max(waits.get(needed, 0), place)
    if sum(map(nbytes, waits)) <= window:
        return tasks
    free = _upstream([key for key in sends if key in tasks], dependencies)
    opens = _openings(waits, nbytes, window)
    gates: dict[int, Key] = {}
    gated: dict[Key, int] = {}
    for key, place in opens.items():
        for root in _upstream([key], dependencies):
            if not dependencies[root] and type(tasks[root]) is Task and root not in free:
                # One that several need is wanted by the first.
                gated[root] = min(gated.get(root, place), place)
    for root, place in gated.items():
        if place < 0:
            continue
        if place not in gates:
            gates[place] = ("locality-gate", place)
            tasks[gates[place]] = Task(gates[place], _nothing, TaskRef(fetches[place]))
        inner = tasks[root]
        tasks[root] = Task(root, _first, inner, TaskRef(gates[place]))
    return tasks


def _latest(
    fetches: Sequence[Key],
    dependents: Mapping[Key, Collection[Key]],
    dependencies: Mapping[Key, Collection[Key]],
) -> dict[Key, int]:
    """Tell the place of the last fetch that each task waits for; of none, nothing."""
    latest: dict[Key, int] = {}
    # The last first: what it reaches is settled.
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
    """Tell the place of the fetch that lets each value be begun; -1 for at once."""
    opens: dict[Key, int] = {}
    # Values that may be there and wait, by their places.
    ahead: deque[tuple[int, int]] = deque()
    held = 0
    opened = -1
    for key, place in sorted(waits.items(), key=lambda each: each[1]):
        size = nbytes(key)
        while ahead and held + size > window:
            before, let_go = ahead.popleft()
            held -= let_go
            opened = before
        opens[key] = opened
        ahead.append((place, size))
        held += size
    return opens


def _upstream(keys: Collection[Key], dependencies: Mapping[Key, Collection[Key]]) -> set[Key]:
    """Find all that some tasks need, themselves among them."""
    found: set[Key] = set()
    stack = list(keys)
    while stack:
        key = stack.pop()
        if key not in found:
            found.add(key)
            stack.extend(dependencies.get(key, ()))
    return found


def _nothing(value: Any) -> None:
    """Run as a task: take a value, make nothing of it."""


def _first(value: Any, gate: None) -> Any:
    """Run as a task: give the value of the task inside."""
    return value
