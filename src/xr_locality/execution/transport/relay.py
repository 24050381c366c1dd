"""Relay of boundary values through this process, within a window of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key
from distributed import Future

from xr_locality.endpoints.connection import Connection
from xr_locality.errors import EndpointError
from xr_locality.execution import remote
from xr_locality.runtime.timeouts import timeouts

__all__ = ["ValueRelay"]


@dataclass(slots=True)
class _Scatterer:
    """Scatters values to one cluster: values queued meanwhile are sent together."""

    target: Connection
    queued: dict[Key, Any] = field(default_factory=dict)
    sent: dict[Key, asyncio.Future[Future[Any]]] = field(default_factory=dict)
    sending: asyncio.Task[None] | None = None

    async def send(self, name: Key, value: Any) -> Future[Any]:
        """Scatter a value, and return the Future that keeps it."""
        self.queued[name] = value
        self.sent[name] = asyncio.get_running_loop().create_future()
        if self.sending is None or self.sending.done():
            self.sending = asyncio.create_task(self._send())
        return await self.sent[name]

    async def _send(self) -> None:
        while self.queued:
            values, self.queued = self.queued, {}
            try:
                client = self.target.client
                # Not direct: of a gateway's cluster only the scheduler can be reached.
                held = await client.scatter(
                    values, hash=False, direct=False, timeout=timeouts().relay_worker
                )
                await getattr(client.scheduler, remote.NOTICE)(keys=list(values))
            except Exception as error:  # noqa: BLE001 - raised where the values are awaited
                for name in values:
                    self.sent.pop(name).set_exception(error)
                continue
            for name in values:
                waiter = self.sent.pop(name)
                if not waiter.done():
                    waiter.set_result(held[name])


@dataclass(slots=True, kw_only=True)
class ValueRelay:
    """Relay of the boundary values of one run.

    Values that have arrived and were not sent on yet fill the window of the value client;
    while it is full, no value is requested.
    """

    _scatterers: dict[int, _Scatterer] = field(default_factory=dict)
    #: Futures that keep the values on the clusters that fetch them.
    _relayed: dict[tuple[int, Key], Future[Any]] = field(default_factory=dict)

    async def relay(
        self,
        value_client: remote.ValueClient,
        wanted: Key,
        *,
        name: Key,
        targets: Iterable[Connection],
    ) -> tuple[int, bool]:
        """Relay one value from a cluster to others, still packed.

        Parameters
        ----------
        value_client : ValueClient
            Client of the cluster that computes it.
        wanted, name : key
            Its key there, and the one that it gets on the others.
        targets : iterable of Connection
            The clusters that fetch it.

        Returns
        -------
        nbytes : int
            Its bytes as serialised.
        is_receipt : bool
            Whether it is only the receipt of a staged value.

        Raises
        ------
        ConnectionError
            If a cluster is unreachable.
        Exception
            As raised by deserialising the value.
        """
        received = await value_client.get(wanted, lambda: True)
        assert received is not None
        try:
            for target in targets:
                scatterer = self._scatterers.setdefault(id(target), _Scatterer(target))
                try:
                    held = await scatterer.send(name, received.value)
                    self._relayed[id(target), name] = held
                except Exception as error:
                    # A client that has lost its scheduler may raise any error.
                    if not isinstance(error, OSError | TimeoutError) and _is_open(target):
                        raise
                    raise remote.LinkError(f"{type(error).__name__}: {error}", met=True) from error
        finally:
            value_client.release(received.nbytes)
        return received.nbytes, remote.is_receipt(received.value)

    def find_lost(self, target: Connection) -> set[Key]:
        """List the values on a cluster that were lost with their worker."""
        return {
            name
            for (identity, name), future in self._relayed.items()
            if identity == id(target) and future.status != "finished"
        }

    def close(self) -> None:
        """Release the relayed values; may be called twice."""
        for scatterer in self._scatterers.values():
            if scatterer.sending is not None:
                scatterer.sending.cancel()
        for future in self._relayed.values():
            future.release()
        self._relayed.clear()


def _is_open(connection: Connection) -> bool:
    try:
        return connection.client.status == "running"
    except EndpointError:
        return False
