"""Private names of VirtualiZarr: each is there, and is what the library takes it for."""

from __future__ import annotations

import pytest

from xr_locality.compat.virtualizarr import manifest_paths, store_contents

pytest.importorskip("virtualizarr")


def test_manifest_holds_paths_and_lengths_as_arrays() -> None:
    """Both have the shape of the chunk grid."""
    from virtualizarr.manifests import ChunkManifest

    entries = {
        "0.0": {"path": "s3://bucket/a.nc", "offset": 0, "length": 5},
        "0.1": {"path": "s3://bucket/b.nc", "offset": 5, "length": 7},
    }
    paths, lengths = manifest_paths(ChunkManifest(entries=entries))
    assert paths.tolist() == [["s3://bucket/a.nc", "s3://bucket/b.nc"]]
    assert lengths.tolist() == [[5, 7]]


def test_store_holds_its_group() -> None:
    """A store gives back the group that it was made of."""
    from virtualizarr.manifests import ManifestGroup, ManifestStore

    group = ManifestGroup(arrays={}, groups={}, attributes={})
    assert store_contents(ManifestStore(group))[0] is group
