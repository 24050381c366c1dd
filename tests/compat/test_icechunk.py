"""Private names of Icechunk: each is there, and is what the library takes it for."""

from __future__ import annotations

from pathlib import Path

import pytest

from xr_locality.compat.icechunk import container_options, is_virtual, storage_fields

icechunk = pytest.importorskip("icechunk")


def test_session_names_its_directory(tmp_path: Path) -> None:
    """The bytes of a session hold the path of a repository on this machine."""
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path)))
    backend = storage_fields(repository.readonly_session("main"))["backend"]
    assert backend["path"] == str(tmp_path)


def test_session_of_another_layout_is_an_error() -> None:
    """Bytes without a storage raise what the search for sources reports."""
    import msgpack

    class Inner:
        def as_bytes(self) -> bytes:
            return bytes(msgpack.packb([{"kind": "new"}]))

    class Session:
        _session = Inner()

    with pytest.raises(AttributeError):
        storage_fields(Session())


def test_options_of_a_container_are_those_of_its_store() -> None:
    """The variant of the enumeration holds the options that it was made with."""
    options = container_options(icechunk.s3_store(region="us-west-2", anonymous=True))
    assert options.region == "us-west-2"  # type: ignore[attr-defined]


def test_one_kind_of_chunks_is_virtual() -> None:
    """Exactly one member of the enumeration is that of virtual chunks."""
    kinds = [getattr(icechunk.ChunkType, name) for name in dir(icechunk.ChunkType)]
    members = [kind for kind in kinds if isinstance(kind, icechunk.ChunkType)]
    assert sum(map(is_virtual, members)) == 1
