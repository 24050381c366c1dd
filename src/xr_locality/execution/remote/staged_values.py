"""Boundary values that cross in an object store of the region that needs them."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import zlib
from contextlib import suppress
from traceback import clear_frames
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol.serialize import Serialize, deserialize, serialize
from distributed.utils import ensure_memoryview
from distributed.worker import get_worker

from xr_locality.execution.remote.conceal import conceal
from xr_locality.execution.remote.packing import pack

__all__ = ["StorePlugin", "is_receipt", "read_staged", "stage"]

#: Marks the receipt that is sent in place of a staged value; a plain tuple, as packed arrays are.
_STAGED = "xr-locality:staged"

#: Values of fewer bytes are sent themselves: a store takes as long to answer.
STAGED_NBYTES = 2**20

#: Object in the folder of a run; workers write there only while it exists.
OPEN = "open"

#: Values that a worker reads at a time.
_READS = 4

#: Bytes at the start of an object that hold the length of its header.
_LENGTH_NBYTES = 8


class StorePlugin(WorkerPlugin):
    """Access of the workers of one cluster to an object store.

    Parameters
    ----------
    name : str
        The plugin's name; unguessable.
    concealed : bytes
        The pickle of a URL and storage options, concealed.
    """

    def __init__(self, name: str, concealed: bytes) -> None:
        self.name = name
        self.concealed = concealed
        self._opened: tuple[Any, str] | None = None
        self._reading: asyncio.Semaphore | None = None

    def open(self, key: bytes) -> tuple[Any, str]:
        """Get the file system and the folder, opened on first use with the key of a task."""
        if self._opened is None:
            from fsspec.core import url_to_fs

            url, options = pickle.loads(conceal(self.concealed, key))
            self._opened = url_to_fs(url, **options)
        return self._opened

    async def read(self, receipt: Any, region: str, key: bytes) -> tuple[Any, int]:
        """Read a staged value, still packed; return it and its bytes."""
        if self._reading is None:
            self._reading = asyncio.Semaphore(_READS)
        async with self._reading:
            return await asyncio.to_thread(read_staged, receipt, region, self.open(key))


def stage(value: Any, stores: dict[str, tuple[str, bytes]], key: str) -> Any:
    """Run as a task: write a large value to stores in the regions that need it.

    Parameters
    ----------
    value : object
        The value.
    stores : dict of str to (str, bytes)
        For each region that needs it, the plugin that knows the store there, and the
        key that opens it.
    key : str
        The value's key.

    Returns
    -------
    object
        A receipt of what was written, or the packed value if it is small.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    try:
        return _stage(value, stores, key)
    except Exception as error:
        # A worker keeps what failed in a reference loop, and the loop what its frames hold.
        # CPython before 3.12.7 crashes when it collects a loop with a view of a view in it
        # (https://github.com/python/cpython/issues/77894).
        cause: BaseException | None = error
        while cause is not None:
            clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        raise


def _stage(value: Any, stores: dict[str, tuple[str, bytes]], key: str) -> Any:
    packed = pack(value)
    header, frames = serialize(Serialize(packed), on_error="raise")
    views: list[memoryview] = [ensure_memoryview(frame) for frame in frames]
    nbytes = sum(view.nbytes for view in views)
    if nbytes < STAGED_NBYTES:
        return packed
    head = pickle.dumps((header, [view.nbytes for view in views]))
    pieces: list[bytes | memoryview] = [len(head).to_bytes(_LENGTH_NBYTES), head, *views]
    check = 0
    for piece in pieces:
        check = zlib.crc32(piece, check)
    names = {}
    for region, (plugin, share) in stores.items():
        # The name cannot be guessed without the key of the store.
        name = hashlib.sha256(share + key.encode()).hexdigest()
        try:
            store: Any = get_worker().plugins[plugin]
            _write(store.open(share), name, pieces)
        except Exception as error:
            raise _failure(f"a value of {nbytes} bytes could not be written", error) from error
        names[region] = name
    return _STAGED, names, nbytes, check


def is_receipt(value: Any) -> bool:
    """Whether a fetched object is the receipt of a staged value."""
    return (
        type(value) is tuple
        and len(value) == 4
        and isinstance(value[0], str)
        and value[0] == _STAGED
    )


def read_staged(receipt: Any, region: str, opened: tuple[Any, str]) -> tuple[Any, int]:
    """Read a staged value, still packed; return it and its bytes.

    Raises
    ------
    OSError
        If it cannot be read, or is not what was written.
    """
    _, names, nbytes, check = receipt
    files, root = opened
    try:
        data = memoryview(files.cat_file(f"{root}/{names[region]}"))
        if zlib.crc32(data) != check:
            raise OSError(f"{data.nbytes} bytes were read that are not those that were written")
    except Exception as error:
        raise _failure(f"a value of {nbytes} bytes could not be read", error) from error
    start = _LENGTH_NBYTES + int.from_bytes(data[:_LENGTH_NBYTES])
    header, sizes = pickle.loads(data[_LENGTH_NBYTES:start])
    frames = []
    for size in sizes:
        # Each in a buffer of its own, aligned and writable, as they come over a connection.
        frames.append(memoryview(bytearray(data[start : start + size])))
        start += size
    return deserialize(header, frames), nbytes


def _write(opened: tuple[Any, str], name: str, pieces: list[Any]) -> None:
    files, root = opened
    path = f"{root}/{name}"
    try:
        with files.open(path, "wb") as file:
            for piece in pieces:
                file.write(piece)
    except BaseException:
        _remove(files, path)
        raise
    # The end of a run removes this mark first, then all objects in the folder.
    files.invalidate_cache()
    if not files.exists(f"{root}/{OPEN}"):
        _remove(files, path)
        raise OSError("the run has ended")


def _remove(files: Any, path: str) -> None:
    # An object that could not be written may not exist.
    with suppress(Exception):
        files.rm_file(path)


def _failure(what: str, error: Exception) -> OSError:
    """Make the error of a store: a built-in class, marked, as :func:`LinkError` is."""
    failure = OSError(f"{what} ({type(error).__name__}: {error})")
    failure.xr_locality_staging = True  # type: ignore[attr-defined]
    return failure
