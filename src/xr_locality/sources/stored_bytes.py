"""Ask stores how many bytes they hold: only when somebody wants to know, and once."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable
from typing import Any, Final

from xr_locality.compat.zarr import run_in_loop

__all__ = ["MOST_CHUNKS", "ask_once", "generic_nbytes", "is_metadata", "n_pieces"]

logger = logging.getLogger(__name__)

#: A listing answers a thousand names at a time: ten requests at most.
MOST_CHUNKS: Final = 10_000

_METADATA: Final = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
# Where each object must be asked for by itself, so many are, and the rest is taken
# to be like them.
_MOST_ASKED: Final = 100
_AT_ONCE: Final = 10
_SECONDS: Final = 60.0


def ask_once(name: str, ask: Callable[[], int | None]) -> Callable[[], int | None]:
    """Make a question that is asked at most once, and never fails.

    Parameters
    ----------
    name : str
        What it is about, for the log.
    ask : callable
        Returns bytes, or None where unknown. It may raise anything.
    """

    @functools.cache
    def answer() -> int | None:
        try:
            return ask()
        except Exception as err:  # noqa: BLE001  # A store may raise anything; this only helps.
            # Not its text: storage libraries put signed URLs there.
            logger.info("No stored size of %s: %s", name, type(err).__name__)
            return None

    return answer


def is_metadata(key: str) -> bool:
    """Whether a key of a zarr store holds metadata, and not a chunk."""
    return key.rpartition("/")[2] in _METADATA


def n_pieces(array: Any) -> int:
    """Count the objects that a zarr array is stored in, if none is left out."""
    pieces = array.shards or array.chunks
    return math.prod(
        math.ceil(size / piece) for size, piece in zip(array.shape, pieces, strict=True) if piece
    )


def generic_nbytes(store: Any, path: str) -> int | None:
    """Ask a zarr store of any kind for the bytes below a path.

    Parameters
    ----------
    store : zarr.abc.store.Store
        One with an answer of its own is asked for it. Of others the keys are
        listed, and up to a hundred objects asked for their sizes.
    path : str
        An array's.

    Returns
    -------
    int or None
        None where the store cannot list, or holds too many objects.
    """
    if not store.supports_listing:
        return None
    return run_in_loop(_generic_nbytes(store, path), seconds=_SECONDS)


async def _generic_nbytes(store: Any, path: str) -> int | None:
    from zarr.abc.store import Store

    if type(store).getsize_prefix is not Store.getsize_prefix:
        return int(await store.getsize_prefix(path))
    keys: list[str] = []
    async for key in store.list_prefix(f"{path}/" if path else ""):
        if not is_metadata(key):
            keys.append(key)
        if len(keys) > MOST_CHUNKS:
            return None
    asked = keys[:: math.ceil(len(keys) / _MOST_ASKED)] if keys else []
    free = asyncio.Semaphore(_AT_ONCE)

    async def size(key: str) -> int:
        async with free:
            return int(await store.getsize(key))

    sizes = await asyncio.gather(*map(size, asked))
    return round(sum(sizes) * len(keys) / len(asked)) if asked else 0
