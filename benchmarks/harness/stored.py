"""Declared datasets, written into the object servers of a testbed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import fsspec
import xarray as xr

from benchmarks.harness.declared import DeclaredVariable, declare
from xr_locality.api import tag
from xr_locality.regions.region import Region
from xr_locality.testing.objects import CLIENT

if TYPE_CHECKING:
    from xr_locality.testing.testbed import Testbed

__all__ = ["ReadsElsewhere", "StoredDatasets"]


@dataclass(slots=True)
class StoredDatasets:
    """Opens declared datasets from a testbed's object servers, and writes them first.

    Each is written and opened once: ways are compared by what computing takes.

    Parameters
    ----------
    bed : Testbed
        Where to write them.
    """

    bed: Testbed
    _opened: dict[str, xr.Dataset] = field(default_factory=dict)

    def url(self, name: str, region: Region) -> str:
        """Return the URL of a dataset, written or not."""
        return self.bed[region].objects.url(f"{name}.zarr")

    def __call__(
        self,
        name: str,
        region: Region,
        coords: Mapping[str, Any],
        variables: Mapping[str, DeclaredVariable],
    ) -> xr.Dataset:
        """Open a dataset; see :data:`~benchmarks.harness.workloads.Opener`."""
        objects = self.bed[region].objects
        url = self.url(name, region)
        if url not in self._opened:
            declared = declare(name, coords=coords, variables=variables)
            where, options = objects.writing(f"{name}.zarr")
            fs, root = fsspec.url_to_fs(where, **(options or {"auto_mkdir": True}))
            for key, value in declared.objects():
                fs.pipe_file(f"{root}/{key}", value)
            self._opened[url] = xr.open_zarr(
                url, storage_options=objects.storage_options, chunks={}, consolidated=False
            )
        return tag(self._opened[url], region)


@dataclass(frozen=True, slots=True)
class ReadsElsewhere:
    """Counts the stored bytes that others than a region's own workers read, by access logs.

    Values that workers send to each other are not among them.

    Parameters
    ----------
    bed : Testbed
        Whose object servers.
    client : Region
        What this process counts as.
    """

    bed: Testbed
    client: Region

    def read(self) -> Mapping[tuple[Region, Region], int]:
        """Return the bytes of each ordered pair so far."""
        moved: dict[tuple[Region, Region], int] = {}
        for each in self.bed:
            for record in each.objects.requests():
                reader = self.client if record.reader == CLIENT else Region.parse(record.reader)
                if record.method == "GET" and reader != each.region:
                    pair = each.region, reader
                    moved[pair] = moved.get(pair, 0) + (record.nbytes or 0)
        return moved
