"""Connection to a cluster of a Dask Gateway, from its request to its end."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from xr_locality.endpoints.connection import Connection
from xr_locality.endpoints.endpoint import Endpoint
from xr_locality.endpoints.gateway.gateway_client import GatewayClient
from xr_locality.endpoints.ledger import LedgerRecord
from xr_locality.endpoints.scheduler import Route
from xr_locality.errors import EndpointError, LocalityWarning
from xr_locality.runtime.timeouts import timeouts

if TYPE_CHECKING:
    from xr_locality.regions import Region

__all__ = ["ClusterConnection"]

logger = logging.getLogger(__name__)


class ClusterConnection(Connection):
    """Connection to a cluster on a Dask Gateway, which is stopped on closing.

    Parameters
    ----------
    region, endpoint : Region, Endpoint
        The region that the cluster runs in; the gateway that starts it.
    server : GatewayClient
        Client of that gateway; the connection closes it.
    options : Mapping
        Cluster options that differ from the gateway's defaults.
    minimum, maximum : int
        Workers kept while nothing runs, and at most; if equal, their fixed number.
    """

    late_advice: ClassVar[str] = (
        "The gateway may be waiting for machines: raise start_timeout, or ask for less."
    )

    def __init__(
        self,
        *,
        region: Region,
        endpoint: Endpoint,
        server: GatewayClient,
        options: Mapping[str, Any],
        minimum: int,
        maximum: int,
    ) -> None:
        super().__init__(region=region, endpoint=endpoint)
        self._server = server
        self._options = options
        self._minimum = minimum
        self._maximum = maximum
        self._name = ""
        self._claims: list[int] = []
        self._floor: int | None = None
        self._threads = 1
        self._record: LedgerRecord | None = None
        self._scaling = asyncio.Lock()

    @property
    def threads_per_worker(self) -> int:
        """Number of tasks that one worker runs at once: option ``worker_cores``, else 1."""
        return self._threads

    async def ensure_workers(self, n: int) -> None:
        """Raise the adaptive floor so that a run meets no cold start after another.

        Parameters
        ----------
        n : int
            Number of workers that the run can use; the endpoint's maximum caps it.

        Raises
        ------
        EndpointError
            If the gateway does not answer.
        """
        self._claims.append(n)
        try:
            await asyncio.gather(self._scale(), self._claim(1))
        except BaseException:
            self._claims.remove(n)
            await self._claim(-1)
            raise

    async def restore(self, n: int) -> None:
        """Give back one claim of :meth:`ensure_workers`.

        A gateway that cannot be reached is logged, not raised: the run is over.

        Parameters
        ----------
        n : int
            The number claimed.
        """
        self._claims.remove(n)
        if not self.alive:
            return
        try:
            await asyncio.gather(self._scale(), self._claim(-1))
        except EndpointError as problem:
            logger.warning("Workers stay as they are for now: %s", problem)

    async def _reach(self, resources: AsyncExitStack) -> Route:
        server = self._server
        resources.push_async_callback(server.close)
        self._doing = "asking the gateway for its cluster options"
        options = await server.options(self._options)
        # Before the cluster is started: it would be of no use.
        await server.probe_proxy()
        cores = options.get("worker_cores")
        self._threads = max(1, int(cores)) if isinstance(cores, int | float) else 1
        self._doing = "asking the gateway for a new cluster"
        ledger = self._open_options.ledger
        if ledger is not None:
            self._record = ledger.add(region=str(self.region), gateway=server.address)
        # Shielded: a cancelled request might start a cluster whose name is not known.
        submitting = asyncio.create_task(
            server.submit(options), name=f"xr-locality: submit {self.region}"
        )
        resources.push_async_callback(self._stop, submitting)
        self._name = await asyncio.shield(submitting)
        if self._record is not None:
            self._record.set_cluster(self._name)
        self._doing = f"waiting for cluster {self._name!r} to start"
        report = await server.wait_until_running(self._name)
        # Now rather than once connected: workers take a while.
        await self._scale()
        return Route(
            address=report.scheduler_address, security=report.security, cluster_name=self._name
        )

    async def _check(self, deadline_seconds: float) -> None:
        from dask_gateway.client import ClusterStatus

        try:
            # A cluster stopped on the server goes unnoticed by its clients.
            report = await self._server.report(self._name)
        except EndpointError as problem:
            if problem.reached:
                raise
            # The server may be gone for a moment while its clusters go on.
            logger.info("Asking the scheduler itself: %s", problem)
            await super()._check(deadline_seconds)
            return
        if report.status is not ClusterStatus.RUNNING:
            raise self.failure(
                f"no longer runs cluster {self._name!r}, which is {report.status.name.lower()}",
                advice="It was stopped there, or by its idle timeout. Run again: "
                "a new one will be started.",
            )
        if self.client.status != "running":
            # The gateway learns of a scheduler's death only by and by; our client
            # has lost its connection, and tries to connect again for ever.
            await super()._check(deadline_seconds)

    async def _scale(self) -> None:
        """Set the number of workers at the gateway, if it has changed."""
        async with self._scaling:
            minimum, maximum = self._minimum, self._maximum
            floor = min(max(minimum, *self._claims, 1), maximum) if self._claims else minimum
            if floor == self._floor:
                return
            if minimum == maximum:
                await self._server.scale(self._name, maximum)
            else:
                await self._server.adapt(self._name, minimum=floor, maximum=maximum)
            self._floor = floor

    async def _stop(self, submitting: asyncio.Task[str]) -> None:
        await asyncio.wait({submitting}, timeout=timeouts().gateway_name)
        if not submitting.done():
            submitting.cancel()
            self._warn_of_leftover("A cluster without a known name", "no answer")
            return
        if submitting.cancelled():
            return
        if (problem := submitting.exception()) is not None:
            # Without an answer there may be a cluster: its record stays.
            if getattr(problem, "reached", True):
                self._delete_record()
            return
        name = submitting.result()
        if self._record is not None and self._record.entry.cluster is None:
            self._record.set_cluster(name)
        try:
            await self._server.stop(name)
        except EndpointError as error:
            self._warn_of_leftover(f"Cluster {name!r}", error)
        else:
            self._delete_record()

    def _delete_record(self) -> None:
        if self._record is not None:
            self._record.delete()

    def _warn_of_leftover(self, what: str, why: object) -> None:
        warnings.warn(
            f"{what} may still run in region {str(self.region)!r} on "
            f"{self.endpoint.describe()}. Stop it there, for it costs money. ({why})",
            LocalityWarning,
            stacklevel=2,
        )
