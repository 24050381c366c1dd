"""Persisted values: chunks that stay in their regions, and how long their clusters live."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.typing import Key

from xr_locality.graph.persisted import HeldValue
from xr_locality.plan.model import PlanRecord
from xr_locality.plan.residency import Residency

if TYPE_CHECKING:
    from distributed import Future

    from xr_locality.endpoints import Connection
    from xr_locality.execution.gather import KeptResult
    from xr_locality.execution.session_resources import SessionResources

__all__ = ["Lifetime", "persisted_values"]


class Lifetime:
    """Token that persisted values share; the session closes when the last one is gone.

    Parameters
    ----------
    resources : SessionResources
        Resources of a session that nothing else closes before the process ends.
    """

    def __init__(self, resources: SessionResources) -> None:
        # At exit all resources are closed anyway, and no thread can be started.
        weakref.finalize(self, _close_in_thread, resources).atexit = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pull:
    """Call that brings one persisted value to this process."""

    resources: SessionResources
    connection: Connection
    future: Future[Any]
    lifetime: Lifetime | None

    def __call__(self) -> Any:
        return self.resources.pull(self.connection, self.future)


def persisted_values(
    kept: Mapping[Key, KeptResult],
    *,
    plan: PlanRecord,
    resources: SessionResources,
    lifetime: Lifetime | None,
) -> dict[Key, HeldValue]:
    """Make the values that stand for the results which stay in their regions.

    Parameters
    ----------
    kept : mapping of key to KeptResult
        The results, as the run left them.
    plan : PlanRecord
        The plan of the run.
    resources : SessionResources
        Resources of the session that ran it.
    lifetime : Lifetime or None
        Kept alive by the values; None if the session is closed by its user.
    """
    residency = Residency.of(plan.sources, plan.bundle.graph())
    return {
        key: HeldValue(
            region=each.region,
            future=each.future,
            pull=_Pull(
                resources=resources,
                connection=each.connection,
                future=each.future,
                lifetime=lifetime,
            ),
            nbytes=each.nbytes,
            kept=residency.of_key(key) if residency.kept else {},
            here=plan.client,
        )
        for key, each in kept.items()
    }


def _close_in_thread(resources: SessionResources) -> None:
    # The last reference may go on the session's own event loop, which closing waits for.
    if not resources.closed:
        threading.Thread(target=resources.close, name="xr-locality close").start()
