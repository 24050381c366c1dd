"""A run as its user sees it: waited for, with bars, callbacks, and warnings of what is odd."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, TypeAlias

from dask.base import get_annotations
from dask.typing import Key

from xr_locality.errors import ExecutionError, LocalityWarning
from xr_locality.execution.checks.preflight import Preflight
from xr_locality.execution.execute import execute_program
from xr_locality.execution.gather import KeptResult
from xr_locality.execution.metrics.audit import Audit
from xr_locality.execution.metrics.report import ReportRecord
from xr_locality.execution.progress import Callback, Callbacks
from xr_locality.execution.session_resources import SessionResources
from xr_locality.execution.transport.cluster_links import ClusterLinks
from xr_locality.plan.model import PlanRecord
from xr_locality.program.by_reference import hand_over_by_reference
from xr_locality.program.executable import Program
from xr_locality.program.read_replicas import read_replicas
from xr_locality.program.reopen_files import reopen_files
from xr_locality.regions.region import LOCAL, Region
from xr_locality.runtime.awaiting import Cancellation

__all__ = ["GivenWarnings", "MakeBars", "run_attended"]

#: Makes the progress bars of a plan that is about to run, or None for none.
MakeBars: TypeAlias = Callable[[PlanRecord], AbstractContextManager[Callback] | None]

#: What a session's user was warned of, and is not again: pairs of regions between which
#: values go by way of this machine, and this machine, that all is computed on it.
GivenWarnings: TypeAlias = set[tuple[Region, Region] | Region]


def run_attended(
    plan: PlanRecord,
    *,
    resources: SessionResources,
    callbacks: Sequence[Callback],
    audit: Audit,
    keep: dict[Key, KeptResult] | None,
    given: GivenWarnings,
    make_bars: MakeBars,
) -> tuple[dict[Any, Any], ReportRecord]:
    """Execute a plan and wait for its end.

    Parameters
    ----------
    plan : PlanRecord
        What to run.
    resources : SessionResources
        What it runs on.
    callbacks : sequence of Callback
        GivenWarnings of what happens.
    audit : Audit
        Its record, with the settings of the run.
    keep : dict of key to KeptResult, optional
        Filled with results that stay where they are made; None brings them here.
    given : set
        Warnings that the session has given; added to.
    make_bars : callable
        Makes progress bars, or none.

    Returns
    -------
    values : dict
        Of the keys that were asked for.
    report : ReportRecord
        What was measured.
    """
    settings, audit.plan = audit.settings, plan
    _warn_if_local(plan, resources, given)
    program = reopen_files(hand_over_by_reference(read_replicas(Program.of(plan))))
    pool, loop, links, preflight = resources.open_all()
    annotations = dict(get_annotations())
    cancellation = Cancellation.current()
    with ExitStack() as stack:
        bars = make_bars(plan)
        watching = list(callbacks)
        if bars is not None:
            watching.append(stack.enter_context(bars))
        reported = Callbacks(tuple(watching))
        execute = partial(
            execute_program,
            program,
            pool=pool,
            links=links,
            preflight=preflight,
            audit=audit,
            settings=settings,
            annotations=annotations,
            callbacks=reported,
            keep=keep,
        )
        try:
            outcome = loop.run(resources.until_closed(execute), cancellation=cancellation)
        except CancelledError as error:
            if cancellation is not None and cancellation.requested:
                raise
            raise ExecutionError(
                "The session was closed while it was computing. Make a new one."
            ) from error
        finally:
            _warn_of_doubts(preflight)
    _warn_of_relays(links, given)
    for complaint in reported.complaints():
        _warn(complaint)
    return outcome


def _warn_if_local(plan: PlanRecord, resources: SessionResources, given: GivenWarnings) -> None:
    """Warn, once in a session, that all data are pulled to this machine."""
    if resources.endpoints or plan.regions != (LOCAL,) or LOCAL in given:
        return
    pulled = [each for each in plan.sources if each.region not in (LOCAL, None)]
    if pulled:
        given.add(LOCAL)
        sources = ", ".join(f"{each.url} ({each.region})" for each in pulled)
        _warn(
            "No endpoint is configured: computing on this machine, which pulls "
            f"{sources}. Set locality.endpoints to compute beside the data."
        )


def _warn_of_doubts(preflight: Preflight) -> None:
    """Warn of differences in clusters that may break a run."""
    doubts, preflight.doubts = preflight.doubts, []
    for doubt in doubts:
        _warn(doubt)


def _warn_of_relays(links: ClusterLinks, given: GivenWarnings) -> None:
    """Warn, once in a session, between which regions this machine relays values."""
    for (source, target), why in links.unreachable.items():
        if (source, target) not in given:
            given.add((source, target))
            _warn(
                f"Workers of region {str(target)!r} do not reach region {str(source)!r}: "
                f"{why}. Values that cross from it to them go by way of this machine from "
                "now on in this session."
            )


def _warn(text: str) -> None:
    warnings.warn(text, LocalityWarning, stacklevel=_frames_of_ours())


def _frames_of_ours() -> int:
    """Count the frames from the caller up to the first that is not this package's."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(
        ("xr_locality", "contextlib")
    ):
        frame, level = frame.f_back, level + 1
    return level
