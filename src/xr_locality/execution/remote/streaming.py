"""Streams of large values: from a worker through its scheduler to a reader elsewhere.

distributed reads a message whole before it is handled, into newly allocated memory. For
values of hundreds of megabytes that takes a scheduler longer than to pass them on. So a
message announces the value, and its bytes follow on the same connection: the scheduler
passes on as many as its buffers hold, whatever the size of the value, and the reader
reads them straight into their final memory.
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

from xr_locality.execution.remote.compat import byte_stream

__all__ = [
    "BUFFERS_NBYTES",
    "LARGE_NBYTES",
    "STREAM",
    "ValueStreamer",
    "can_stream",
    "pass_on",
    "read_on",
]

#: Name of the workers' handler; the number goes up with each change of the protocol.
STREAM = "xr-locality-stream-2"

#: Values of more bytes are streamed.
LARGE_NBYTES = 16 * 2**20

#: Bytes of a value that a scheduler holds while it passes it on; one half is read while
#: the other is written.
BUFFERS_NBYTES = 4 * 2**20

#: Bytes read or written before other coroutines of the event loop run.
_TURN_NBYTES = 4 * 2**20


class ValueStreamer(WorkerPlugin):
    """Worker plugin that sends large values as streams.

    Parameters
    ----------
    name : str
        The plugin's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker: Any = None

    def setup(self, worker: Any) -> None:
        """Add the handler."""
        self.worker = worker
        worker.handlers[STREAM] = self.stream

    def teardown(self, worker: Any) -> None:
        """Remove the handler, unless a newer plugin has replaced it."""
        if worker.handlers.get(STREAM) == self.stream:
            del worker.handlers[STREAM]

    async def stream(self, comm: Any, key: Key) -> Any:
        """Handle: send the header of a value, then its bytes."""
        if key not in self.worker.data or not can_stream(comm):
            return {"status": "unable"}
        value = Serialize(self.worker.data[key])
        header, frames = await asyncio.to_thread(serialize, value, on_error="raise")
        views: list[memoryview] = [ensure_memoryview(frame) for frame in frames]
        sizes = [view.nbytes for view in views]
        head = pickle.dumps((header, sizes))
        await comm.write({"status": "OK", "head": head, "nbytes": sum(sizes)})
        try:
            out = _stream_of(comm)
            for view in views:
                for start in range(0, view.nbytes, _TURN_NBYTES):
                    await out.write(view[start : start + _TURN_NBYTES])
        except BaseException:
            # The reader would take anything else that is written for the value.
            comm.abort()
            raise
        return Status.dont_reply


def can_stream(comm: Any) -> bool:
    """Whether bytes can follow a message: over TCP, with TLS or without, uncompressed."""
    return byte_stream(comm) is not None and not dask.config.get(
        "distributed.comm.compression", False
    )


def _stream_of(comm: Any) -> Any:
    """Get the byte stream of a connection; a closed one has none."""
    stream = byte_stream(comm)
    if stream is None:
        raise CommClosedError("the connection was closed")
    return stream


async def pass_on(source: Any, reader: Any, nbytes: int) -> None:
    """Pass the bytes of a value on, and wait until the reader has confirmed them.

    Parameters
    ----------
    source, reader : Comm
        The connections to the worker that sends the value, and to its reader.
    nbytes : int
        How many there are.

    Raises
    ------
    OSError
        If either connection breaks. Both are closed then, and the value is incomplete.
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
        # Either end would take anything else that is written for the value.
        source.abort()
        reader.abort()
        raise


async def read_on(head: bytes, comm: Any) -> Any:
    """Read the bytes of a value into their final memory, and confirm them.

    Parameters
    ----------
    head : bytes
        The header that the worker sent.
    comm : Comm
        The connection that carries them.

    Returns
    -------
    Serialized
        As distributed makes it from a message.

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
