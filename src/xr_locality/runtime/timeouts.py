"""Timeouts, waiting times and lifetimes of the whole package, in one replaceable value.

What a user sets (``start-timeout``, ``probe-timeout``, ``lease``) is in the settings
instead. Code that runs on clusters does not import this: it is sent the values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

__all__ = ["Timeouts", "replaced_timeouts", "timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each part waits, polls, or trusts an earlier answer; all in seconds."""

    # runtime
    #: For a cancelled or interrupted call to clean up, before it is left alone.
    cleanup: float = 15.0
    #: For the background event loop to end what still runs on it.
    loop_stop: float = 10.0

    # graph
    #: For one trial run of a function on small arrays; a slower function is not tried again.
    trial: float = 0.5

    # regions
    #: Lifetime of a bucket's region that a cloud has answered. Buckets are not moved.
    probe_found: float = 30 * 86_400.0
    #: Lifetime of the answer "no such bucket": the bucket may be created meanwhile.
    probe_unknown: float = 3_600.0
    #: Lifetime of a failed connection: a laptop that was offline is online again.
    probe_unreachable: float = 300.0
    #: Lifetime of an answer from an emulator on this machine, whose port may soon serve
    #: another emulator.
    probe_emulated: float = 5.0

    # endpoints
    #: For a cluster to start, where neither the user nor the configuration says.
    start: float = 300.0
    #: For the cheap requests before any cluster starts.
    preflight: float = 30.0
    #: Lifetime of a preflight answer that was requested while a plan was made.
    preflight_lifetime: float = 30.0
    #: For the other regions to fail too, after a first one failed, so that wrong
    #: passwords in two regions are reported together.
    open_grace: float = 2.0
    #: To connect to a running scheduler, and to connect again when the connection is lost.
    connect: float = 30.0
    #: For an open scheduler to answer. One that is taking in a graph of a million tasks
    #: does not answer for some 20.
    scheduler_answer: float = 60.0
    #: Lifetime of a scheduler's answer before a run: asking takes four round trips, and
    #: a run checks its regions from its start.
    scheduler_answer_lifetime: float = 10.0
    #: To close a client whose scheduler may be gone.
    client_close: float = 10.0
    #: For one request to a gateway, which holds a request for a new cluster for 20.
    gateway_request: float = 30.0
    #: Between two attempts of a request to a gateway.
    gateway_pause: float = 0.5
    #: For a gateway to name a cluster whose opening was cancelled, so that it can be stopped.
    gateway_name: float = 30.0
    #: For a scheduler to accept a lease: everything else works without one.
    lease_request: float = 15.0
    #: Age at which a ledger entry without a cluster's name is removed. The lease of its
    #: cluster, if there is one, has ended it by then.
    ledger_unnamed: float = 86_400.0
    #: By which two readings of one process's start time may differ.
    ledger_clock: float = 1.0

    # execution, on the client
    #: Between two looks at which regions are open.
    opening_poll: float = 0.1
    #: Between two reports of what an opening region waits for, though nothing has changed.
    opening_report: float = 1.0
    #: For an open scheduler to answer before a run uses it.
    run_check: float = 10.0
    #: Between two checks, during a run, of whether each region is still there.
    monitor_poll: float = 2.0
    #: For one attempt to reach a scheduler that seems lost.
    liveness_attempt: float = 5.0
    #: For a lost scheduler to be found again. A gateway's proxy is back a second after it
    #: died, a network after a few.
    liveness_return: float = 15.0
    #: For a gateway that does not answer to start a new cluster.
    reopen: float = 45.0
    #: Between two attempts to reopen.
    reopen_pause: float = 0.5
    #: For a scheduler and its workers to report their versions.
    version_answer: float = 30.0
    #: For a scheduler to answer, after a version check of it has failed.
    version_lost: float = 5.0
    #: Between two checks, during a run, of workers that joined late.
    late_workers_poll: float = 15.0
    #: For all trial reads of one region.
    trial_reads: float = 30.0
    #: For a scheduler to report its measurements.
    measurement: float = 10.0
    #: Between two measurements of a run's progress.
    progress_poll: float = 0.25
    #: For an object store to keep an audit record.
    audit_write: float = 30.0
    #: For a producer's scheduler to return, before the fetches from it fail; they are then
    #: tried again, ``retries`` times.
    producer_return: float = 10.0
    #: For a scheduler to register or remove plugins.
    plugin_request: float = 60.0
    #: For a cluster to have a worker that takes a relayed value.
    relay_worker: float = 300.0

    # execution, sent to clusters
    #: For a scheduler that has never answered to answer.
    first_contact: float = 10.0
    #: That a reply of few bytes waits for more values, while another reply is on its way.
    reply_linger: float = 0.02
    #: After which a reader or client that is gone is forgotten.
    reader_lifetime: float = 60.0
    #: Before a value is requested again that its workers did not deliver.
    value_retry: float = 0.2
    #: That the producer's scheduler waits for a value before it answers that there is none yet.
    value_poll: float = 10.0
    #: Between two checks of whether an awaited value is still wanted.
    wanted_poll: float = 1.0
    #: Between two checks of whether the producer's scheduler answers at all.
    producer_poll: float = 5.0
    #: Before a link is tried again that has not answered.
    link_retry: float = 0.2
    #: Between two reports of one process's read counters.
    counter_report: float = 1.0

    # display
    #: Between two drawings of the progress bars in a notebook.
    redraw: float = 0.2


_current = Timeouts()


def timeouts() -> Timeouts:
    """Return the timeouts in use."""
    return _current


@contextmanager
def replaced_timeouts(**changes: float) -> Iterator[Timeouts]:
    """Use other timeouts in this process until the context ends.

    Parameters
    ----------
    **changes : float
        Fields of :class:`Timeouts`, in seconds.

    Yields
    ------
    Timeouts

    Examples
    --------
    >>> with replaced_timeouts(preflight=1.0):
    ...     timeouts().preflight
    1.0
    """
    global _current  # noqa: PLW0603 - one value for the process, whatever the thread
    before = _current
    _current = replace(before, **changes)
    try:
        yield _current
    finally:
        _current = before
