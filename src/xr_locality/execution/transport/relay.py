"""Carries boundary values through this process, within a window of bytes."""

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

__all__ = ["Relay"]
#: Seconds that a cluster may take to have a worker that takes a value.
_WORKER_SECONDS = 300


@dataclass(slots=True)
class _Mailer:
    """Puts values on one cluster: what gathers while some are sent goes together."""

    target: Connection
    queued: dict[Key, Any] = field(default_factory=dict)
    sent: dict[Key, asyncio.Future[Future[Any]]] = field(default_factory=dict)
    sending: asyncio.Task[None] | None = None

    async def send(self, name: Key, value: Any) -> Future[Any]:
        """Put a value there, and get the Future that keeps it."""
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
                    values, hash=False, direct=False, timeout=_WORKER_SECONDS
                )
                await getattr(client.scheduler, remote.NOTICE)(keys=list(values))
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                for name in values:
                    self.sent.pop(name).set_exception(error)
                continue
            for name in values:
                waiter = self.sent.pop(name)
                if not waiter.done():
                    waiter.set_result(held[name])


@dataclass(slots=True, kw_only=True)
class Relay:
    """Carries the boundary values of one run that cannot go from region to region.

    What has come and has not gone on yet fills the window of the value_client that it came
    by, and nothing more is asked for while that is full.
    """

    _mailers: dict[int, _Mailer] = field(default_factory=dict)
    #: What keeps the values on the clusters that fetch them.
    _mailed: dict[tuple[int, Key], Future[Any]] = field(default_factory=dict)

    async def carry(
        self,
        value_client: remote.ValueClient,
        wanted: Key,
        *,
        name: Key,
        targets: Iterable[Connection],
    ) -> tuple[int, bool]:
        """Carry one value from a cluster to others, as it is packed.

        Parameters
        ----------
        value_client : ValueClient
            The way to the cluster that makes it.
        wanted, name : key
            Its key there, and the one that it gets on the others.
        targets : iterable of Connection
            The clusters that fetch it.

        Returns
        -------
        nbytes : int
            Its bytes as serialised.
        is_receipt : bool
            Whether it only tells where the value has been staged.

        Raises
        ------
        ConnectionError
            If one of them is out of reach.
        Exception
            What the value raised while it was deserialised.
        """
        received = await value_client.get(wanted, lambda: True)
        assert received is not None
        try:
            for target in targets:
                mailer = self._mailers.setdefault(id(target), _Mailer(target))
                try:
                    held = await mailer.send(name, received.value)
                    self._mailed[id(target), name] = held
                except Exception as error:
                    # A client that has lost its scheduler raises what it likes.
                    if not isinstance(error, OSError | TimeoutError) and _is_open(target):
                        raise
                    raise remote.LinkError(f"{type(error).__name__}: {error}", met=True) from error
        finally:
            value_client.release(received.nbytes)
        return received.nbytes, remote.is_receipt(received.value)

    def find_lost(self, target: Connection) -> set[Key]:
        """List what was put on a cluster and was lost with the worker that held it."""
        return {
            name
            for (identity, name), future in self._mailed.items()
            if identity == id(target) and future.status != "finished"
        }

    def close(self) -> None:
        """Let the clusters forget what they were sent; may be called twice."""
        for mailer in self._mailers.values():
            if mailer.sending is not None:
                mailer.sending.cancel()
        for future in self._mailed.values():
            future.release()
        self._mailed.clear()


def _is_open(connection: Connection) -> bool:
    try:
        return connection.client.status == "running"
    except EndpointError:
        return False
