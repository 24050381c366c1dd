"""Hears what happens in a run, does something to it, and sees what is left of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import xr_locality as xl
from support.polling import until

OREGON = xl.Region.parse("aws:us-west-2")
IOWA = xl.Region.parse("gcp:us-central1")


def is_submitted(event: Any) -> bool:
    """Whether Iowa was sent its part."""
    return bool(event.what == "submitted" and event.facts["region"] == IOWA)


def has_crossed(event: Any) -> bool:
    """Whether Iowa has got a value of Oregon's."""
    return bool(
        event.what == "moved" and event.facts["source"] == OREGON and event.facts["target"] == IOWA
    )


class When:
    """A callback that acts once, when something has happened so often in a run.

    Parameters
    ----------
    act : callable
        What to do.
    happens : callable
        Whether an event is one to wait for.
    times : int
        How many of them.
    """

    def __init__(
        self,
        act: Callable[[], None],
        *,
        happens: Callable[[Any], bool] = is_submitted,
        times: int = 1,
    ) -> None:
        self._act = act
        self._happens = happens
        self._left = times
        self._thread: threading.Thread | None = None
        #: How often a region was lost.
        self.lost = 0

    def __call__(self, event: Any) -> None:
        """Hear what happens in the run."""
        self.lost += event.what == "lost"
        if self._happens(event):
            self._left -= 1
            if self._left == 0:
                self._thread = threading.Thread(target=self._act)
                self._thread.start()

    def join(self) -> None:
        """Wait until it is done, and see that it was."""
        assert self._thread is not None, "what was waited for did not happen often enough"
        self._thread.join()


def tasks_are_gone(session: xl.Session) -> bool:
    """Poll both schedulers until they hold no task."""

    def count(dask_scheduler: Any = None) -> int:
        return len(dask_scheduler.tasks)

    async def ask() -> int:
        assert session.resources.pool is not None
        counts = [
            await connection.client.run_on_scheduler(count)
            for connection in session.resources.pool.connections.values()
        ]
        return sum(counts)

    loop = session.resources.loop
    assert loop is not None
    return until(lambda: loop.run(ask()) == 0)
