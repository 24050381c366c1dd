"""Layers that read copies, and what cannot be made to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

from xr_locality.errors import SourceError
from xr_locality.program.retarget import Copies, retarget
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Replica

IOWA = Region.parse("gcp:us-central1")


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """Write an array and another of the same shape."""
    paths = tmp_path / "a.zarr", tmp_path / "b.zarr"
    for n, path in enumerate(paths):
        group = zarr.open_group(path, mode="w")
        group.create_array("t", data=np.arange(6.0) + 10 * n, chunks=(2,))
    return paths


def copies(paths: tuple[Path, Path], *layers: str) -> Copies:
    """Have the second read instead of the first."""
    original, copy = (Store.from_url(path) for path in paths)
    replica = Replica(store=copy, region=IOWA, original=original, url=str(paths[1]))
    made = Copies()
    made.add([original], replica, layers)
    return made


@pytest.mark.parametrize("inline", [False, True])
def test_arrays_are_swapped(inline: bool, paths: tuple[Path, Path]) -> None:
    """An array in a node of its own, or in each task, is replaced by its copy."""
    array = zarr.open_group(paths[0], mode="r")["t"]
    lazy = da.from_array(array, chunks=2, inline_array=inline)
    graph = retarget(lazy.dask, copies(paths, *lazy.dask.layers))
    swapped = da.Array(graph, lazy.name, lazy.chunks, lazy.dtype)
    np.testing.assert_array_equal(swapped.compute(), np.arange(6.0) + 10)
    np.testing.assert_array_equal(lazy.compute(), np.arange(6.0))


def test_other_layers_stay(paths: tuple[Path, Path]) -> None:
    """Layers that are not named, and layers without the source, are the same objects."""
    array = zarr.open_group(paths[0], mode="r")["t"]
    lazy = da.from_array(array, chunks=2) + 1
    graph = retarget(lazy.dask, copies(paths))
    assert all(graph.layers[name] is layer for name, layer in lazy.dask.layers.items())
    ones = da.ones(6, chunks=2)
    graph = retarget(ones.dask, copies(paths, *ones.dask.layers))
    assert all(graph.layers[name] is layer for name, layer in ones.dask.layers.items())


def test_what_cannot_be_swapped_is_refused(paths: tuple[Path, Path]) -> None:
    """What reads the original in another way would read it in spite of the plan: an error."""
    store = zarr.storage.LocalStore(paths[0], read_only=True)

    def read(store: object) -> Any:
        return np.asarray(zarr.open_group(store, mode="r")["t"])  # type: ignore[arg-type]

    lazy = da.from_delayed(dask.delayed(read)(store), shape=(6,), dtype=float)
    with pytest.raises(SourceError, match="cannot be pointed"):
        retarget(lazy.dask, copies(paths, *lazy.dask.layers))
