"""Run a plan without clusters: every partition as it would be submitted, in one process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from dask.local import get_sync
from dask.typing import Key

from xr_locality.compat.dask_graph import Task, TaskRef
from xr_locality.display.plans import Plan
from xr_locality.endpoints.connection import Connection
from xr_locality.execution import remote
from xr_locality.execution.submission import submit, wanted_key
from xr_locality.execution.transport.cluster_links import OpenLink
from xr_locality.plan.model import Partition
from xr_locality.program.executable import Program, RegionProgram
from xr_locality.program.read_replicas import read_replicas
from xr_locality.regions.region import Region

__all__ = ["run_here", "run_program", "submitted"]


def submitted(plan: Plan) -> dict[Region, dict[Key, Any]]:
    """List the tasks that each region's scheduler would run.

    Optimised as the scheduler would optimise them, with keys of the run. Not to be
    called from a coroutine.

    Parameters
    ----------
    plan : Plan
        What :func:`xr_locality.plan` made; its endpoints may be only named.

    Returns
    -------
    dict of Region to dict of key to task
        Fetches of boundary values take them from the partition that makes them.
    """
    return {
        each.region: _submit(each).tasks | _fetches(each.partition)
        for each in read_replicas(Program.of(plan)).regions
    }


def run_here(plan: Plan) -> tuple[Any, ...]:
    """Run a plan, with the replicas that it reads, in this process.

    See :func:`run_program`.

    Examples
    --------
    >>> import dask.array as da, xr_locality as xl
    >>> here, there = da.ones(4, chunks=2), da.ones(4, chunks=1) * 2
    >>> here, there = xl.tag(here, "aws:us-west-2"), xl.tag(there, "gcp:us-central1")
    >>> run_here(xl.plan(here.sum() - there.sum(), endpoints={
    ...     "aws:us-west-2": None, "gcp:us-central1": None
    ... }))
    (np.float64(-4.0),)
    """
    return run_program(read_replicas(Program.of(plan)))


def run_program(program: Program) -> tuple[Any, ...]:
    """Run a program in this process, on dask's synchronous scheduler.

    All partitions are run as one graph, in which a fetch takes its value from the
    partition that makes it. Nothing is serialised, started or measured. Not to be
    called from a coroutine.

    Parameters
    ----------
    program : Program
        The endpoints of its plan may be only named.

    Returns
    -------
    tuple
        The planned objects, computed.

    Raises
    ------
    ValueError
        If a partition takes a key that no task makes.
    RuntimeError
        If partitions wait for each other for ever.
    """
    tasks: dict[Key, Any] = {}
    names: dict[Key, Key] = {}
    for each in program.regions:
        sent = _submit(each)
        tasks |= sent.tasks | _fetches(each.partition)
        names |= sent.names
    values = get_sync(tasks, list(names.values()))
    return program.plan.bundle.assemble(dict(zip(names, values, strict=True)))


@dataclass(slots=True)
class _Recorder:
    """Stands for a client: keeps what its scheduler would run."""

    tasks: dict[Key, Any] = field(default_factory=dict)
    #: The names that results have there, by the plan's keys.
    names: dict[Key, Key] = field(default_factory=dict)

    def get(self, expression: Any, keys: list[Key], *, sync: bool) -> list[SimpleNamespace]:
        """Do what a scheduler does with an expression, but run nothing."""
        assert not sync
        self.tasks |= expression.__dask_graph__()
        return [SimpleNamespace(key=key) for key in keys]


def _submit(program: RegionProgram) -> _Recorder:
    client = _Recorder()
    connection = cast(Connection, SimpleNamespace(client=client))
    partition = program.partition
    links = {
        boundary.source: OpenLink(name=str(boundary.source), share=b"", relayed=False)
        for boundary in partition.fetches
    }
    submission = submit(program, connection, run=_run(partition), links=links, annotations={})
    outputs = asyncio.run(submission).outputs
    client.names = {key: future.key for key, future in outputs.items()}
    return client


def _fetches(partition: Partition) -> dict[Key, Task]:
    """Make tasks that take the values which other partitions send."""
    fetches = {}
    for boundary in partition.fetches:
        key = remote.rename(boundary.key, _run(partition))
        sent = wanted_key(boundary, str(boundary.source), relayed=False)
        fetches[key] = Task(key, remote.unpack, TaskRef(sent))
    return fetches


def _run(partition: Partition) -> str:
    # One scheduler for all partitions: their keys differ by the region.
    return str(partition.region)
