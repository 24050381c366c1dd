"""A slow, long link to one address, without root: a TCP proxy that delays and paces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["ShapedLink"]

#: Bytes forwarded at a time.
_PIECE_NBYTES = 2**16

#: Seconds that a link sends ahead of its rate, so that timers that are late do not slow it.
_AHEAD_SECONDS = 0.01


class ShapedLink:
    """Forwards connections to an address with a round trip and a rate of its own.

    All connections share the rate, each way apart. TCP ends at the proxy, so its slow
    start and its losses are not emulated: an
    :class:`~xr_locality.testing.network.EmulatedNetwork`, which needs root, has both.

    Parameters
    ----------
    host, port : str, int
        Where to forward to.
    bytes_per_second : float
        What passes in a second, each way.
    rtt_seconds : float
        Round trip.

    Examples
    --------
    >>> with ShapedLink(  # doctest: +SKIP
    ...     "127.0.0.1", 8786, bytes_per_second=25e6, rtt_seconds=0.06
    ... ) as link:
    ...     xl.Session({"aws:us-west-2": f"tcp://127.0.0.1:{link.port}"})
    """

    def __init__(
        self, host: str, port: int, *, bytes_per_second: float, rtt_seconds: float
    ) -> None:
        self._arguments = (host, str(port), str(bytes_per_second), str(rtt_seconds))
        self._process: subprocess.Popen[str] | None = None
        #: Where to connect to.
        self.port = 0

    def start(self) -> None:
        """Listen, in a process of its own."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def close(self) -> None:
        """Break all connections; may be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass
class _Lane:
    """One way of the link, shared by all connections."""

    bytes_per_second: float
    delay_seconds: float
    free_at: float = 0.0

    def send(self, nbytes: int, now: float) -> float:
        """Take the lane for some bytes; return when the last of them arrives."""
        self.free_at = max(now, self.free_at) + nbytes / self.bytes_per_second
        return self.free_at + self.delay_seconds


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: _Lane) -> None:
    loop = asyncio.get_running_loop()
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await way.get()
            await asyncio.sleep(due - loop.time())
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while piece := await reader.read(_PIECE_NBYTES):
            way.put_nowait((lane.send(len(piece), loop.time()), piece))
            await asyncio.sleep(lane.free_at - loop.time() - _AHEAD_SECONDS)
    finally:
        way.put_nowait((loop.time() + lane.delay_seconds, b""))
        await delivering
        writer.close()


async def _serve(host: str, port: str, bytes_per_second: str, rtt_seconds: str) -> None:
    there, back = (_Lane(float(bytes_per_second), float(rtt_seconds) / 2) for _ in range(2))

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            _forward(reader, far_writer, there),
            _forward(far_reader, writer, back),
            return_exceptions=True,
        )

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # Until the parent process is gone.
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
