"""Zarr store that counts the stored bytes that a worker reads."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Iterable
from types import ModuleType
from typing import Any

from distributed.worker import get_worker
from zarr.storage import WrapperStore

__all__ = ["CountingStore", "collect_reads"]

#: Log topic on which workers report the bytes that they read, as fetch tasks do.
_TOPIC = "xr-locality"

#: Seconds between two messages of one process.
_REPORT_SECONDS = 1.0


class CountingStore(WrapperStore):  # type: ignore[type-arg]
    """A store of zarr's that counts the bytes it returns.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store to read.
    label : tuple of str
        The run, the region that the store is in, the region that reads.
    """

    def __init__(self, store: Any, label: tuple[str, str, str]) -> None:
        super().__init__(store)
        self._label = label

    def _with_store(self, store: Any) -> CountingStore:
        return type(self)(store, self._label)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read one value, and count it."""
        value = await self._store.get(key, prototype, byte_range)
        _count(self._label, value)
        return value

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[Any]) -> Any:
        """Read parts of values, and count them."""
        values = await self._store.get_partial_values(prototype, key_ranges)
        for value in values:
            _count(self._label, value)
        return values

    async def _get_many(self, requests: Iterable[Any]) -> AsyncGenerator[Any, None]:
        async for key, value in super()._get_many(requests):
            _count(self._label, value)
            yield key, value


def collect_reads(run: str) -> tuple[str, list[tuple[str, str, int]]]:
    """Run on a worker: return, and forget, the bytes that its process has read for a run.

    Returns
    -------
    process : str
        Marks the process; several workers may share it.
    reads : list of (str, str, int)
        Region of the store, region that read, bytes in all.
    """
    ledger = _ledger()
    with ledger.lock:
        labels = [label for label in ledger.totals if label[0] == run]
        reads = [(source, target, ledger.totals[_, source, target]) for _, source, target in labels]
        for label in labels:
            del ledger.totals[label]
    return ledger.process, reads


def _count(label: tuple[str, str, str], value: Any) -> None:
    """Add the bytes of a value to the count of the process; report it at most once a second."""
    if value is None:
        return
    ledger = _ledger()
    with ledger.lock:
        ledger.totals[label] = total = ledger.totals.get(label, 0) + len(value)
        now = time.monotonic()
        due = now - ledger.reported.get(label, float("-inf")) >= _REPORT_SECONDS
        if due:
            ledger.reported = {label: now}
    if not due:
        return
    try:
        worker = get_worker()
    except ValueError:
        return
    run, source, target = label
    message = {"run": run, "process": ledger.process, "reads": [(source, target, total)]}
    worker.loop.add_callback(worker.log_event, _TOPIC, message)


def _ledger() -> Any:
    """Get the counts of this process; kept in a module, as code sent by value has none."""
    name = "_xr_locality_reads"
    ledger: Any = sys.modules.get(name)
    if ledger is None:
        made: Any = ModuleType(name)
        made.process, made.lock = uuid.uuid4().hex, threading.Lock()
        made.totals, made.reported = {}, {}
        ledger = sys.modules.setdefault(name, made)
    return ledger
