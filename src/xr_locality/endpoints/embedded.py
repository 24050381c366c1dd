"""Cluster inside this process, for the region that is this machine.

Scheduler and worker share the session's event loop and talk through memory, so
scripts without a ``__main__`` guard work and nothing is copied. distributed's
``LocalCluster`` is not used: it cannot keep its HTTP server, with port 8787, off the
network.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dask.system import CPU_COUNT

from xr_locality.compat.distributed_internals import set_worker_client
from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.scheduler import Route
from xr_locality.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed import Client

    from xr_locality.regions import Region

__all__ = ["EmbeddedEndpoint"]

# distributed always opens an HTTP server for its metrics; this keeps it to itself.
_HTTP_ADDRESS: Final = "127.0.0.1:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedEndpoint(Endpoint):
    """Cluster inside this process, started when opened.

    Parameters
    ----------
    threads : int, optional
        How many tasks run at once. By default one for each CPU.

    Raises
    ------
    ConfigurationError
        If that is not a positive number.

    Examples
    --------
    >>> EmbeddedEndpoint(threads=2).describe()
    'embedded cluster'
    """

    #: How many tasks run at once; None is one for each CPU.
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigurationError(
                f"EmbeddedEndpoint: threads is {self.threads!r}. Give at least 1, "
                "or leave it out for one for each CPU.",
                key="threads",
            )

    @property
    def adopted(self) -> bool:
        """False: the cluster belongs to the session."""
        return False

    def describe(self) -> str:
        """Return the name; there is one in a process."""
        return "embedded cluster"

    async def preflight(self, *, region: Region, deadline_seconds: float | None = None) -> None:
        """Do nothing: this process is always reachable."""

    async def open(self, *, region: Region, deadline_seconds: float) -> Connection:
        """Start scheduler and worker; see :meth:`Endpoint.open`."""
        connection = _EmbeddedConnection(
            region=region, endpoint=self, threads=self.threads or CPU_COUNT
        )
        return await connection.open(deadline_seconds=deadline_seconds)


class _EmbeddedConnection(Connection):
    """Connection to a scheduler and a worker in this process."""

    def __init__(self, *, region: Region, endpoint: Endpoint, threads: int) -> None:
        super().__init__(region=region, endpoint=endpoint)
        self._threads = threads

    async def _keep_alive(self, client: Client) -> None:
        """Do nothing: the cluster ends with this process, and has no idle timeout."""

    async def _reach(self, resources: AsyncExitStack) -> Route:
        from distributed import Client, Scheduler, Worker
        from distributed.utils import silence_logging_cmgr

        from xr_locality.endpoints.task_threads import TaskThreads

        # As LocalCluster does: otherwise each start prints a page.
        resources.enter_context(silence_logging_cmgr(logging.WARNING))
        self._doing = "starting a scheduler in this process"
        scheduler = Scheduler(
            protocol="inproc://", dashboard=False, dashboard_address=_HTTP_ADDRESS
        )
        resources.push_async_callback(scheduler.close, reason="xr-locality is done with it")
        await scheduler
        self._doing = "starting a worker in this process"
        worker = Worker(
            scheduler.address,
            nthreads=self._threads,
            executor=TaskThreads(self._threads, thread_name_prefix="Dask-Default-Threads"),  # type: ignore[no-untyped-call]
            dashboard=False,
            dashboard_address=_HTTP_ADDRESS,
        )
        # The limit counts the memory of the whole process, the user's own arrays too: a
        # worker that is paused because of the arrays would wait for ever.
        worker.memory_manager.memory_pause_fraction = False
        resources.push_async_callback(worker.close, reason="xr-locality is done with it")
        await worker
        # A task that computes makes its worker a client, which would become the default
        # one of the user's own process.
        client = await resources.enter_async_context(
            Client(
                scheduler.address, asynchronous=True, set_as_default=False, direct_to_workers=True
            )
        )
        set_worker_client(worker, client)
        return Route(address=scheduler.address)
