"""Check of a cluster before it is sent work: packages it has, sources it can read."""

from __future__ import annotations

import importlib.util
import pickle
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Readiness", "missing", "open_managed", "read_arrow", "read_file", "read_zarr"]

#: Reads at a time.
_AT_ONCE = 8

#: Characters of a storage library's message that are kept.
_MESSAGE_LENGTH = 300


def missing(modules: Iterable[str]) -> list[str]:
    """List the modules that cannot be imported here; none is imported.

    Parameters
    ----------
    modules : iterable of str
        Names without dots.
    """
    return [name for name in modules if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        # A module without a spec was made by hand, and can be imported.
        return False


class Readiness:
    """Check of one worker: its packages, and a small read of each source.

    Its ``repr`` shows none of the credentials that it holds.

    Parameters
    ----------
    modules : sequence of str
        Names of modules that must be installed.
    reads : sequence of bytes
        Pickled functions without arguments, each reading a little of one source. One by
        one, so that a package that is missing spoils only its own.
    seconds : float
        Seconds that all reads together may take.
    """

    def __init__(self, modules: Sequence[str], reads: Sequence[bytes], seconds: float) -> None:
        self._modules = modules
        self._reads = reads
        self._seconds = seconds

    def __call__(self) -> dict[str, Any]:
        """Run the check; never raises.

        Returns
        -------
        dict
            ``missing``: modules that are not installed; ``problems``: the type and message
            of each read that failed, by its number.
        """
        return {"missing": missing(self._modules), "problems": dict(self._try_all())}

    def __repr__(self) -> str:
        return f"<Readiness: {len(self._modules)} modules, {len(self._reads)} reads>"

    def _try_all(self) -> Mapping[int, tuple[str, str]]:
        waiting = list(enumerate(self._reads))
        problems: dict[int, tuple[str, str]] = {}
        answered: set[int] = set()

        def work() -> None:
            while waiting:
                try:
                    number, read = waiting.pop(0)
                except IndexError:
                    return
                problem = _try(read)
                if problem is not None:
                    problems[number] = problem
                answered.add(number)

        # Daemon threads: a read that hangs for ever must not keep the worker from ending.
        threads = [
            threading.Thread(target=work, daemon=True, name="xr-locality read")
            for _ in range(min(_AT_ONCE, len(waiting)))
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + self._seconds
        for thread in threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        late = set(range(len(self._reads))) - set(answered)
        waiting.clear()
        timed_out = ("TimeoutError", f"no answer within {self._seconds:g} seconds")
        return {**problems, **dict.fromkeys(late, timed_out)}


def _try(read: bytes) -> tuple[str, str] | None:
    try:
        pickle.loads(read)()
    except Exception as error:  # noqa: BLE001 - a storage library may raise anything
        return type(error).__name__, " ".join(str(error).split())[:_MESSAGE_LENGTH]
    return None


def read_zarr(array: Any, behind: bool) -> None:
    """Read one byte of a zarr array.

    Parameters
    ----------
    array : zarr.Array
        As the graph holds it.
    behind : bool
        Whether its metadata are stored apart from its chunks, to which references lead: then
        a chunk is read.
    """
    from zarr.abc.store import RangeByteRequest
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    if behind:
        key = array.metadata.encode_chunk_key((0,) * array.ndim)
    else:
        key = "zarr.json" if array.metadata.zarr_format == 3 else ".zarray"
    place = array.store_path / key
    found = sync(place.get(prototype=default_buffer_prototype(), byte_range=RangeByteRequest(0, 1)))
    # A chunk that holds nothing but the fill value is not stored.
    if found is None and not behind:
        raise FileNotFoundError(f"there is no {place.path!r}")


def read_file(fs: Any, path: str) -> None:
    """Read one byte of a file through fsspec."""
    fs.cat_file(path, start=0, end=1)


def read_arrow(fs: Any, path: str) -> None:
    """Read one byte of a file through pyarrow."""
    with fs.open_input_file(path) as file:
        file.read(1)


def open_managed(manager: Any) -> None:
    """Open what one of xarray's file managers opens: its header is read."""
    manager.acquire()
