"""Counts the stored bytes that workers read, where they are read."""

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

#: Log topic on which workers tell what they have moved, as fetches do.
_TOPIC = "xr-locality"

#: Seconds between two messages of one process.
_TELL_SECONDS = 1.0


class CountingStore(WrapperStore):  # type: ignore[type-arg]
    """A store of zarr's that counts the bytes it hands out.

    Parameters
    ----------
    store : zarr.abc.store.Store
        What is read.
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
        async for key, value in self._store._get_many(requests):
            _count(self._label, value)
            yield key, value


def collect_reads(run: str) -> tuple[str, list[tuple[str, str, int]]]:
    """Run on a worker: tell, and forget, what its process has read for a run.

    Returns
    -------
    process : str
        Workers of one process tell the same, or nothing.
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
    """Add a value's bytes to what the process has read, and tell of it now and then."""
    if value is None:
        return
    ledger = _ledger()
    with ledger.lock:
        ledger.totals[label] = total = ledger.totals.get(label, 0) + len(value)
        now = time.monotonic()
        due = now - ledger.told.get(label, float("-inf")) >= _TELL_SECONDS
        if due:
            ledger.told = {label: now}
    if not due:
        return
    try:
        worker = get_worker()
    except ValueError:
        return
    run, source, target = label
    told = {"run": run, "process": ledger.process, "reads": [(source, target, total)]}
    worker.loop.add_callback(worker.log_event, _TOPIC, told)


def _ledger() -> Any:
    """Get what the process has read: in a module, as what came by value has none to keep it in."""
    name = "_xr_locality_reads"
    ledger: Any = sys.modules.get(name)
    if ledger is None:
        made: Any = ModuleType(name)
        made.process, made.lock = uuid.uuid4().hex, threading.Lock()
        made.totals, made.told = {}, {}
        ledger = sys.modules.setdefault(name, made)
    return ledger
