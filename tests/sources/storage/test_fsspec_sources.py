import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
import s3fs

from xr_locality.sources import find_sources


def urls(*objects: object) -> list[str]:
    """Return the URLs found in some objects."""
    return [found.url for found in find_sources(objects)]


@pytest.fixture
def s3(s3_options: dict[str, Any]) -> s3fs.S3FileSystem:
    """Connect to the object server."""
    return s3fs.S3FileSystem(**s3_options)


def test_mapping_file_and_file_to_open(s3: s3fs.S3FileSystem) -> None:
    """A mapping, a file, and a file not yet open are where their filesystem and path say."""
    s3.pipe("data/file.bin", b"x" * 10)
    mapping = s3.get_mapper("data/some/where")
    to_open = fsspec.core.OpenFile(s3, "data/file.bin")
    with s3.open("data/file.bin") as opened:
        assert urls(mapping, opened) == ["s3://data/some/where", "s3://data/file.bin"]
    assert urls([to_open]) == ["s3://data/file.bin"]
    (found,) = find_sources([mapping])
    assert found.store.endpoint_url == s3.endpoint_url


def test_local_files(tmp_path: Path) -> None:
    """Files of this machine are found, whoever opened them."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"x")
    expected = f"file://{path}"
    with path.open("rb") as binary, path.open() as text, path.open("rb", buffering=0) as raw:
        assert urls(binary) == urls(text) == urls(raw) == [expected]
    with fsspec.open(str(path), "rb") as opened:
        assert urls(opened) == [expected]
    with fsspec.open(str(path), "rt") as opened:
        assert urls(opened) == [expected]


def test_files_in_memory() -> None:
    """A file in fsspec's memory is found there."""
    fs = fsspec.filesystem("memory")
    fs.pipe("/some/file", b"x")
    with fs.open("/some/file") as opened:
        assert urls(opened, fs.get_mapper("/other")) == ["memory://some/file", "memory://other"]


def test_http_files_hold_no_secret() -> None:
    """A signed URL is found without its signature."""
    fs = fsspec.filesystem("https")
    to_open = fsspec.core.OpenFile(fs, "https://host.org/a.nc?X-Signature=secret")
    (found,) = find_sources([to_open])
    assert found.url == "https://host.org/a.nc"
    assert "secret" not in repr(found)


def test_filesystem_alone_is_nowhere(s3: s3fs.S3FileSystem) -> None:
    """A filesystem without a path says nothing of what is read with it."""
    assert urls(s3, fsspec.filesystem("https")) == []


def test_directory_filesystem_is_peeled(s3: s3fs.S3FileSystem) -> None:
    """A filesystem below a directory is that directory, in the filesystem it wraps."""
    fs = fsspec.implementations.dirfs.DirFileSystem(path="data/below", fs=s3)
    assert urls(fs, fs.get_mapper("a.zarr")) == ["s3://data/below", "s3://data/below/a.zarr"]


@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_caches_are_peeled(cache: str, s3: s3fs.S3FileSystem, tmp_path: Path) -> None:
    """A cache in front of a store is where the store is."""
    fs = fsspec.filesystem(cache, fs=s3, cache_storage=str(tmp_path))
    assert urls(fs.get_mapper("data/a.zarr")) == ["s3://data/a.zarr"]
    assert urls(fsspec.core.OpenFile(fs, "data/file.bin")) == ["s3://data/file.bin"]
    (found,) = find_sources([fs.get_mapper("data/a.zarr")])
    assert found.store.endpoint_url == s3.endpoint_url


def test_asynchronous_wrapper_is_peeled(tmp_path: Path) -> None:
    """A filesystem made asynchronous is the one it was."""
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    fs = AsyncFileSystemWrapper(fsspec.filesystem("file"), asynchronous=True)
    to_open = fsspec.core.OpenFile(fs, str(tmp_path / "a"))
    assert urls(to_open) == [f"file://{tmp_path}/a"]


def test_archive_is_where_its_file_is(s3: s3fs.S3FileSystem, tmp_path: Path) -> None:
    """A file in an archive is where the archive is."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner", b"x")
    s3.put(str(tmp_path / "a.zip"), "data/a.zip")
    with s3.open("data/a.zip") as opened:
        fs = fsspec.filesystem("zip", fo=opened)
        assert urls(fs.get_mapper("")) == ["s3://data/a.zip"]
