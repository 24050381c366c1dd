"""Private names of zarr: each is there, and is what the library takes it for."""

from __future__ import annotations

import zarr
from zarr.storage import MemoryStore, WrapperStore

from xr_locality.compat.zarr import memory_contents, run_in_loop, wrapped_store


def test_wrapper_and_memory_give_back_what_they_hold() -> None:
    """The inner store is the same object, and its keys are those of an array."""
    inner = MemoryStore()
    assert wrapped_store(WrapperStore(inner)) is inner
    zarr.create_array(inner, name="a", shape=(2,), chunks=(1,), dtype="i1")[:] = 1
    assert {"a/zarr.json", "a/c/0", "a/c/1"} <= set(memory_contents(inner))


def test_loop_runs_a_coroutine() -> None:
    """The value of a coroutine is returned."""

    async def answer() -> int:
        return 7

    assert run_in_loop(answer(), seconds=10) == 7
