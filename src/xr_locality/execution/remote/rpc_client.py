"""Client of another cluster's scheduler: pooled connections, retried when they break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from distributed.core import ConnectionPool, send_recv

__all__ = ["LinkError", "RpcClient"]

#: Seconds that a scheduler may take for its first answer.
FIRST_CONTACT_SECONDS = 10.0

#: Connections to one scheduler at most.
_CONNECTIONS = 16


def LinkError(message: str, *, met: bool) -> ConnectionError:  # noqa: N802 - stands for a class
    """Make the error of a link that does not answer.

    A built-in one, so that it can be unpickled anywhere; marked, so that it is not
    taken for an error that a value raised while it was unpickled.
    """
    error = ConnectionError(message) if met else ConnectionRefusedError(message)
    error.xr_locality_link = True  # type: ignore[attr-defined]
    return error


@dataclass
class RpcClient:
    """Client of a scheduler's handlers, over pooled connections.

    Parameters
    ----------
    address : str
        Address of the scheduler.
    connection_args : mapping
        How to connect to it.
    patience_seconds : float
        Seconds for which it may be unreachable.
    """

    address: str
    connection_args: Mapping[str, Any]
    patience_seconds: float
    #: Whether the scheduler has answered before; if it never did, it is unreachable.
    met: bool = False
    _pool: ConnectionPool | None = None

    async def call(self, operation: str, *, patient: bool = True, **arguments: Any) -> Any:
        """Send one request; retry while the scheduler is unreachable.

        Parameters
        ----------
        operation : str
            A handler's name.
        patient : bool, optional
            Whether the answer may take any time, as values may. TCP's own timeout ends
            a request over a dead connection.
        **arguments : Any
            The handler's.

        Raises
        ------
        ConnectionError
            If it does not answer in time; ConnectionRefusedError if it never has.
        """
        patience = self.patience_seconds if self.met else FIRST_CONTACT_SECONDS
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        pause = 0.1
        while True:
            try:
                async with asyncio.timeout_at(None if patient else deadline):
                    return await self.ask(operation, **arguments)
            except (OSError, TimeoutError) as error:
                if loop.time() + pause > deadline:
                    raise LinkError(
                        f"no answer to {operation!r} from the scheduler for {patience:g} s "
                        f"({type(error).__name__}: {error})",
                        met=self.met,
                    ) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def ask(self, operation: str, **arguments: Any) -> Any:
        """Send one request, without retries.

        Parameters
        ----------
        operation : str
            A handler's name.
        **arguments : Any
            The handler's.
        """
        async with self.asking(operation, **arguments) as (reply, _):
            return reply

    @asynccontextmanager
    async def asking(self, operation: str, **arguments: Any) -> AsyncIterator[tuple[Any, Any]]:
        """Send one request, without retries, and keep the connection for more messages.

        Parameters
        ----------
        operation : str
            A handler's name.
        **arguments : Any
            The handler's.

        Yields
        ------
        reply : object
            Its answer.
        comm : Comm
            The connection; closed if anything is raised in between.
        """
        pool = await self._opened()
        comm = await pool.connect(self.address, timeout=self.patience_seconds)
        try:
            reply = await send_recv(comm, op=operation, **arguments)
            self.met = True
            yield reply, comm
        except BaseException:
            # Later messages on it would be taken for the answer to another request.
            comm.abort()
            raise
        finally:
            pool.reuse(self.address, comm)

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> ConnectionPool:
        if self._pool is None:
            pool = self._pool = ConnectionPool(
                limit=_CONNECTIONS,
                deserialize=False,
                connection_args=dict(self.connection_args),
                timeout=self.patience_seconds,
            )
            await pool.start()
        return self._pool
