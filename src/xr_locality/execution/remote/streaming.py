"""Large values as streams: from a worker through its scheduler to a reader elsewhere.

A message of distributed's is read whole before anything is done with it, into memory of
its own. For values of hundreds of megabytes that takes a scheduler longer than to pass
them on. So a message says what will come, and the bytes follow on the same connection:
the scheduler passes on as many as its buffers hold, whatever the value's size, and the
reader reads them to where they stay.
"""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import dask
import numpy as np
from dask.typing import Key
from distributed.comm.core import CommClosedError
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol.serialize import Serialize, Serialized, serialize
from distributed.utils import ensure_memoryview

__all__ = ["BUFFERS_NBYTES", "GIVE", "LARGE_NBYTES", "Giver", "can_stream", "pass_on", "read_on"]

#: Name of the workers' handler; the number goes up when what is said changes.
GIVE = "xr-locality-give-1"

#: Values of more bytes are streamed.
LARGE_NBYTES = 16 * 2**20

#: Bytes that a scheduler holds of a value while it passes it on, half of them read while
#: the others are written.
BUFFERS_NBYTES = 4 * 2**20

#: Bytes that are read or written before others have their turn.
_TURN_NBYTES = 4 * 2**20


class Giver(WorkerPlugin):
    """Lets a worker give its large values as streams.

    Parameters
    ----------
    name : str
        The plugin's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: Any = None

    def setup(self, worker: Any) -> None:
        """Serve."""
        self.worker = worker
        worker.handlers[GIVE] = self.give

    def teardown(self, worker: Any) -> None:
        """Serve no more; another that was opened meanwhile goes on."""
        if worker.handlers.get(GIVE) == self.give:
            del worker.handlers[GIVE]

    async def give(self, comm: Any, key: Key) -> Any:
        """Handle: tell what a value is, then send its bytes."""
        if key not in self.worker.data or not can_stream(comm):
            return {"status": "unable"}
        value = Serialize(self.worker.data[key])
        header, frames = await asyncio.to_thread(serialize, value, on_error="raise")
        views: list[memoryview] = [ensure_memoryview(frame) for frame in frames]
        sizes = [view.nbytes for view in views]
        head = pickle.dumps((header, sizes))
        await comm.write({"status": "OK", "head": head, "nbytes": sum(sizes)})
        try:
            stream = _stream_of(comm)
            for view in views:
                for start in range(0, view.nbytes, _TURN_NBYTES):
                    await stream.write(view[start : start + _TURN_NBYTES])
        except BaseException:
            # Whatever else was written to it would be taken for the value.
            comm.abort()
            raise
        return Status.dont_reply


def can_stream(comm: Any) -> bool:
    """Whether bytes can follow a message: over TCP, with TLS or without, uncompressed."""
    return getattr(comm, "stream", None) is not None and not dask.config.get(
        "distributed.comm.compression", False
    )


def _stream_of(comm: Any) -> Any:
    """Get what carries the bytes of a connection: one that is closed has it no more."""
    stream = comm.stream
    if stream is None:
        raise CommClosedError("the connection was closed")
    return stream


async def pass_on(source: Any, reader: Any, nbytes: int) -> None:
    """Pass the bytes of a value on, and wait until the reader has confirmed them.

    Parameters
    ----------
    source, reader : Comm
        The connections to the worker that gives the value, and to whoever takes it.
    nbytes : int
        How many there are.

    Raises
    ------
    OSError
        If either is gone. Both are closed then, and what was passed on is of no use.
    """
    try:
        incoming, outgoing = _stream_of(source), _stream_of(reader)
        half = BUFFERS_NBYTES // 2
        buffers = [memoryview(bytearray(min(half, nbytes))) for _ in range(2)]
        writing = None
        for start in range(0, nbytes, half):
            buffers.reverse()
            part = buffers[0][: min(half, nbytes - start)]
            await incoming.read_into(part)
            if writing is not None:
                await writing
            writing = outgoing.write(part)
        if writing is not None:
            await writing
        await reader.read()
    except BaseException:
        # Whatever else was written to them would be taken for the value.
        source.abort()
        reader.abort()
        raise


async def read_on(head: bytes, comm: Any) -> Any:
    """Read the bytes of a value to where they stay, and confirm them.

    Parameters
    ----------
    head : bytes
        What the worker said of it.
    comm : Comm
        By which they come.

    Returns
    -------
    Serialized
        As if it had come in a message.

    Raises
    ------
    OSError
        If the connection breaks first.
    """
    header, sizes = pickle.loads(head)
    stream = _stream_of(comm)
    frames = []
    for size in sizes:
        frame = np.empty(size, "u1").data
        for start in range(0, size, _TURN_NBYTES):
            await stream.read_into(frame[start : start + _TURN_NBYTES])
        frames.append(frame)
    await comm.write("OK")
    return Serialized(header, frames)
