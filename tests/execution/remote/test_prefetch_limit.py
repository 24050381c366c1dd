from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from dask._task_spec import DependenciesMapping, Task, TaskRef
from dask.local import get_sync
from dask.typing import Key

from xr_locality.execution.remote.prefetch_limit import limit_prefetch

N_PAIRS = 20


def one(*needed: Any) -> int:
    """Stand for any task."""
    return 1 + sum(each for each in needed if each is not None)


def task(key: Key, *needed: Key) -> Task:
    """Make a task that takes others."""
    return Task(key, one, *map(TaskRef, needed))


def pairs(*, shared: bool = True) -> dict[Key, Any]:
    """Make loads, each combined with a fetched value, and each also taken by another task."""
    tasks: dict[Key, Any] = {}
    for number in range(N_PAIRS):
        tasks["load", number] = task(("load", number))
        tasks["fetch", number] = task(("fetch", number))
        tasks["use", number] = task(("use", number), ("load", number), ("fetch", number))
        if shared:
            tasks["other", number] = task(("other", number), ("load", number))
    tasks["sum"] = task("sum", *(("use", number) for number in range(N_PAIRS)))
    return tasks


def delayed(
    tasks: Mapping[Key, Any], *, window: int, sends: tuple[Key, ...] = ()
) -> dict[Key, Any]:
    """Gate tasks whose loads are of ten bytes each."""
    return limit_prefetch(
        tasks,
        fetches=[key for key in tasks if key[0] == "fetch"],
        sends=sends,
        nbytes=lambda key: 10 if key[0] == "load" else 0,
        window=window,
    )


def most_held(tasks: Mapping[Key, Any], arrival: Callable[[int], int]) -> int:
    """Run loads as early as they may, fetches in an order of their own; count waiting loads."""
    dependencies = DependenciesMapping(dict(tasks))
    done: set[Key] = set()
    most = 0

    def run_what_can() -> None:
        ready = True
        while ready:
            ready = False
            for key in tasks:
                if key not in done and key[0] != "fetch" and dependencies[key] <= done:
                    done.add(key)
                    ready = True

    for number in sorted(range(N_PAIRS), key=arrival):
        run_what_can()
        held = [each for each in done if each[0] == "load" and ("use", each[1]) not in done]
        most = max(most, len(held))
        done.add(("fetch", number))
    run_what_can()
    assert done == set(tasks)
    return most


@pytest.mark.parametrize(
    "arrival", [lambda n: n, lambda n: -n, lambda n: n ^ 1], ids=["in order", "reverse", "swapped"]
)
def test_loads_do_not_run_ahead_beyond_the_window(arrival: Callable[[int], int]) -> None:
    """As many loads wait for their fetches as the window has room for, in whatever order."""
    assert most_held(pairs(), arrival) == N_PAIRS
    assert most_held(delayed(pairs(), window=40), arrival) <= 5


def test_values_stay_the_same() -> None:
    """A load that waits makes what it would have made."""
    tasks = pairs()
    assert get_sync(delayed(tasks, window=40), ["sum"]) == get_sync(tasks, ["sum"])


def test_nothing_changes_where_all_fit() -> None:
    """Where everything fits into the window, no task is added and none waits."""
    tasks = pairs()
    assert delayed(tasks, window=10 * N_PAIRS) == tasks


def test_a_value_larger_than_the_window_may_be_there() -> None:
    """One value may always be ahead, or loading and fetching would never overlap."""
    assert most_held(delayed(pairs(), window=1), lambda number: number) == 1


def test_what_leads_to_a_sent_value_never_waits() -> None:
    """A fetch may depend, by way of another region, on what this region sends."""
    tasks = pairs()
    tasks["mean"] = task("mean", *(("load", number) for number in range(N_PAIRS)))
    assert delayed(tasks, window=40, sends=("mean",)) == tasks


def test_loads_behind_other_tasks_wait_too() -> None:
    """It is the tasks without inputs that wait, however far they are from the fetch."""
    tasks = {
        key: Task(key, one, TaskRef(("raw", key[1]))) if key[0] == "load" else each
        for key, each in pairs().items()
    }
    tasks |= {("raw", number): task(("raw", number)) for number in range(N_PAIRS)}
    waiting = delayed(tasks, window=40)
    assert waiting["raw", N_PAIRS - 1].dependencies
    assert not waiting["raw", 0].dependencies
    assert most_held(waiting, lambda number: number) <= 5
