"""Client of a cluster's scheduler for results that are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from xr_locality.execution.remote.packing import receive, unpack
from xr_locality.execution.remote.rpc_client import RpcClient

__all__ = ["ResultClient"]

#: Seconds between two requests for a value that was lost, at first and at last.
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5

#: Bytes of one reply: the scheduler holds them while it passes them on.
_REPLY_NBYTES = 64 * 2**20

#: Replies on their way at a time.
_STREAMS = 2


@dataclass
class ResultClient:
    """Pulls values that are ready from a scheduler, and counts their bytes.

    Parameters
    ----------
    rpc : RpcClient
        Calls the scheduler.
    """

    rpc: RpcClient
    _window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STREAMS))

    async def pull(self, keys: Iterable[Key]) -> tuple[dict[Key, Any], dict[Key, int]]:
        """Pull some values; wait for a lost value until it has been computed again.

        Returns
        -------
        values : dict of key to object
        moved : dict of key to int
            Bytes of each value as serialised.
        """
        values: dict[Key, Any] = {}
        moved: dict[Key, int] = {}
        missing = list(dict.fromkeys(keys))
        pause = _FIRST_PAUSE
        while missing:
            # One alone is one batch, whatever its size.
            batches = [missing] if len(missing) == 1 else await self._batches(missing)
            for data in await asyncio.gather(*map(self._gather, batches)):
                for key, sent in data.items():
                    value, moved[key] = await receive(sent)
                    values[key] = unpack(value)
            missing = [key for key in missing if key not in values]
            if missing:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LAST_PAUSE)
        return values, moved

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        await self.rpc.close()

    async def _gather(self, keys: list[Key]) -> dict[Key, Any]:
        async with self._window:
            reply = await self.rpc.call("gather", keys=keys)
        # A reply without data means that a value was lost and is computed again.
        return reply.get("data") or {}

    async def _batches(self, keys: list[Key]) -> list[list[Key]]:
        """Group keys that are ready so that no reply is much larger than ``_REPLY_NBYTES``."""
        held = await self.rpc.call("who_has", patient=False, keys=keys)
        ready = [key for key in keys if held.get(key)]
        sizes = await self.rpc.call("nbytes", patient=False, keys=ready, summary=False)
        batches: list[list[Key]] = [[]]
        filled = 0
        for key in ready:
            size = sizes.get(key, 0)
            if batches[-1] and filled + size > _REPLY_NBYTES:
                batches.append([])
                filled = 0
            batches[-1].append(key)
            filled += size
        return [batch for batch in batches if batch]
