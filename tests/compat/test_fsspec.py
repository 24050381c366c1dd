"""Private names of fsspec: each is there, and is what the library takes it for."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.cached import SimpleCacheFileSystem

from xr_locality.compat.fsspec import attributes, open_instances, reference_grid, strip_protocol


def test_caching_filesystem_is_found_with_its_own_attributes(tmp_path: Path) -> None:
    """Its directory is among its own attributes, and it is among the open ones."""
    fs = fsspec.filesystem(
        "simplecache", target_protocol="memory", cache_storage=str(tmp_path / "cache")
    )
    assert any(each is fs for each in open_instances(SimpleCacheFileSystem))
    assert list(attributes(fs)["storage"]) == [str(tmp_path / "cache")]


def test_object_without_a_dictionary_has_no_attributes() -> None:
    """An object with slots only has none to show."""
    assert attributes(object()) == {}


def test_filesystem_spells_a_url_as_its_path() -> None:
    """The protocol is taken off."""
    assert strip_protocol(fsspec.filesystem("memory"), "memory://a/b") == "/a/b"


@pytest.mark.filterwarnings("ignore:The 'fastparquet' engine:DeprecationWarning")
def test_references_in_parquet_have_a_grid_of_chunks(tmp_path: Path) -> None:
    """The grid has a number for each axis."""
    pytest.importorskip("fastparquet")
    from fsspec.implementations.reference import LazyReferenceMapper

    mapper = LazyReferenceMapper.create(str(tmp_path / "refs"), record_size=10)
    mapper["a/.zarray"] = b'{"shape": [6, 4], "chunks": [3, 4], "zarr_format": 2}'
    mapper["a/0.0"] = [f"file://{tmp_path}/x", 0, 1]
    mapper.flush()
    assert list(reference_grid(mapper, "a")) == [2, 1]
