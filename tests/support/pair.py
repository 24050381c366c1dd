"""Two small zarr stores, each tagged with a region of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import xarray as xr

from xr_locality.api import tag

__all__ = ["REGIONS", "open_pair", "write_pair"]

#: Regions that the two stores are tagged with.
REGIONS: Final = ("aws:us-west-2", "gcp:us-central1")


def write_pair(
    folder: Path, pair: Iterable[xr.Dataset], *, encoding: Mapping[str, Any]
) -> tuple[str, str]:
    """Write two datasets as zarr stores, one of each format.

    Parameters
    ----------
    folder : Path
        Where.
    pair : iterable of Dataset
        What to write, already chunked: the first in format 2 with consolidated metadata,
        the second in format 3 without.
    encoding : Mapping of str to Any
        As for `xarray.Dataset.to_zarr`, of both.

    Returns
    -------
    tuple of str
        The paths of the two.
    """
    paths = (str(folder / "first.zarr"), str(folder / "second.zarr"))
    for number, (path, dataset) in enumerate(zip(paths, pair, strict=True)):
        dataset.to_zarr(
            path, zarr_format=2 + number, consolidated=number == 0, encoding=dict(encoding)
        )
    return paths


def open_pair(paths: tuple[str, str]) -> tuple[xr.Dataset, xr.Dataset]:
    """Open what `write_pair` wrote, lazily, each tagged with its region of `REGIONS`."""
    first = xr.open_zarr(paths[0], chunks={})
    second = xr.open_dataset(paths[1], engine="zarr", chunks={}, consolidated=False)
    return tag(first, REGIONS[0]), tag(second, REGIONS[1])
