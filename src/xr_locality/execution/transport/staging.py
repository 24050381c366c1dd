"""The object stores in which a session stages boundary values, and their tidying up."""

from __future__ import annotations

import asyncio
import datetime
import logging
import pickle
import secrets
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dask.typing import Key

from xr_locality.endpoints.connection import Connection
from xr_locality.errors import ConfigurationError, LocalityWarning, TransferError
from xr_locality.execution import remote
from xr_locality.execution.remote.staged_values import OPEN
from xr_locality.execution.ship import ShippedPlugin
from xr_locality.plan.model import Partition, PlanRecord
from xr_locality.regions.region import Region

__all__ = ["PREFIX", "Staging", "StoreAccess", "Stores"]

logger = logging.getLogger(__name__)

#: How often the deletion of a folder is tried, and seconds between two tries.
_DELETIONS, _PAUSE_SECONDS = 5, 0.2

#: Folders of ours begin with this, the date and a hyphen.
PREFIX = "xr-locality-staged-"

#: Name and key of the plugin by which a cluster's workers reach a store.
StoreAccess: TypeAlias = tuple[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What a partition needs to know of the stores that values are staged in.

    Attributes
    ----------
    own : StoreAccess or None
        Where it reads what it fetches.
    beside : mapping of key to mapping of str to StoreAccess
        For each value that it sends, the stores of the regions that need it.
    """

    own: StoreAccess | None
    beside: Mapping[Key, Mapping[str, StoreAccess]]


@dataclass(slots=True, kw_only=True)
class Staging:
    """The stores that one run stages values in.

    Parameters
    ----------
    stores : mapping of str to mapping
        As configured: region to ``url`` and ``storage_options``.
    """

    stores: Mapping[str, Mapping[str, Any]] = field(repr=False)
    #: Of this run, in each store.
    _folder: str = field(init=False)
    _regions: tuple[Region, ...] = ()
    _plugins: list[tuple[Connection, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        today = datetime.datetime.now(datetime.UTC).date()
        self._folder = f"{PREFIX}{today}-{secrets.token_hex(16)}"
        self.stores = {str(Region.parse(name)): store for name, store in self.stores.items()}

    def check(self, regions: Iterable[Region]) -> None:
        """Raise unless each region that values are sent to has a store.

        Raises
        ------
        ConfigurationError
            If one has none.
        """
        missing = [
            repr(str(region)) for region in sorted(set(regions)) if str(region) not in self.stores
        ]
        if missing:
            raise ConfigurationError(
                f"transfer='stage' needs an object store in {', '.join(missing)}. "
                "Set locality.staging, or use another transfer.",
                key="locality.staging",
            )

    async def open(self, regions: Iterable[Region]) -> None:
        """Begin: make the run's folder in the stores of some regions.

        Raises
        ------
        TransferError
            If a store cannot be written.
        """
        for region in sorted(regions):
            try:
                await asyncio.to_thread(self._mark, region)
                self._regions += (region,)
            except Exception as error:
                raise TransferError(
                    f"The store that stages values for region {str(region)!r} cannot be written "
                    f"({type(error).__name__}: {error}). See locality.staging.",
                    target=str(region),
                    met=False,
                ) from error

    async def give(self, connection: Connection, partition: Partition, plan: PlanRecord) -> Stores:
        """Let the workers of a partition's cluster reach the stores that it needs."""
        here = partition.region
        sent = [each for each in plan.boundaries if each.source == here]
        regions = sorted({target for boundary in sent for target in boundary.targets})
        fetches = [here] if partition.fetches else []
        opened = {region: await self._give(connection, region) for region in regions + fetches}
        return Stores(
            own=opened.get(here),
            beside={
                boundary.key: {str(target): opened[target] for target in boundary.targets}
                for boundary in sent
            },
        )

    async def _give(self, connection: Connection, region: Region) -> StoreAccess:
        share = secrets.token_bytes(32)
        store = self.stores[str(region)]
        route = (f"{store['url'].rstrip('/')}/{self._folder}", dict(store["storage_options"]))
        name = f"xr-locality-{secrets.token_hex(8)}"
        plugin = remote.StorePlugin(name, remote.conceal(pickle.dumps(route), share))
        await connection.client.register_plugin(ShippedPlugin(plugin))
        self._plugins.append((connection, name))
        return name, share

    async def close(self) -> None:
        """Delete all that the run has written; may be called twice."""
        regions, self._regions = self._regions, ()
        plugins, self._plugins = self._plugins, []
        for region in regions:
            try:
                await asyncio.to_thread(self._delete, region)
            except Exception as error:  # noqa: BLE001 - the run's own end is what counts
                url = self.stores[str(region)]["url"]
                warnings.warn(
                    f"Values staged in {url!r} could not be deleted ({type(error).__name__}: "
                    f"{error}). Delete the folder {self._folder!r} there.",
                    LocalityWarning,
                    stacklevel=2,
                )
        for connection, name in plugins:
            if connection.alive:
                await connection.client.unregister_worker_plugin(name)

    def _open(self, region: Region) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        store = self.stores[str(region)]
        files, root = url_to_fs(store["url"], **store["storage_options"])
        return files, f"{root.rstrip('/')}/{self._folder}"

    def _mark(self, region: Region) -> None:
        files, root = self._open(region)
        try:
            files.pipe_file(f"{root}/{OPEN}", b"")
        except FileNotFoundError:
            # Object stores have no folders to make; making one may mean a bucket there.
            files.makedirs(root, exist_ok=True)
            files.pipe_file(f"{root}/{OPEN}", b"")

    def _delete(self, region: Region) -> None:
        files, root = self._open(region)
        # The mark first: a worker that writes now finds it gone, and removes what it wrote.
        files.rm_file(f"{root}/{OPEN}")
        for left in reversed(range(_DELETIONS)):
            files.invalidate_cache()
            if not files.exists(root):
                return
            try:
                files.rm(root, recursive=True)
            except OSError:
                # Of a folder of files, what a worker removes meanwhile cannot be removed here.
                if not left:
                    raise
                time.sleep(_PAUSE_SECONDS)
