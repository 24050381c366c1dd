"""Which of an Icechunk repository's places each of its arrays is found in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from xr_locality.regions import Store
from xr_locality.sources.search import find_sources

icechunk = pytest.importorskip("icechunk")

CHUNKS = 4


def repository(directory: Path, arrays: Mapping[str, str], *containers: str) -> Any:
    """Write arrays, each with native chunks (``n``), virtual ones (``v``), both or none."""
    config = icechunk.RepositoryConfig.default()
    config.inline_chunk_threshold_bytes = 0
    for bucket in containers:
        config.set_virtual_chunk_container(
            icechunk.VirtualChunkContainer(
                f"s3://{bucket}/", icechunk.s3_store(region="us-east-1", anonymous=True)
            )
        )
    repository = icechunk.Repository.create(
        icechunk.local_filesystem_storage(str(directory)), config
    )
    session = repository.writable_session("main")
    group = zarr.group(store=session.store)
    for name, kinds in arrays.items():
        array = group.create_array(
            name, shape=(CHUNKS,), chunks=(1,), dtype="f8", dimension_names=("x",)
        )
        if "n" in kinds:
            array[: CHUNKS // 2] = np.ones(CHUNKS // 2)
        for n in range(CHUNKS // 2, CHUNKS) if "v" in kinds else ():
            session.store.set_virtual_ref(
                f"{name}/c/{n}", f"s3://{containers[0]}/a.bin", offset=8 * n, length=8
            )
    session.commit("written")
    return repository.readonly_session("main")


@pytest.mark.parametrize(
    ("kinds", "places"),
    [("n", {"here"}), ("v", {"elsewhere"}), ("nv", {"here", "elsewhere"}), ("", {"here"})],
)
def test_array_is_where_its_chunks_are(kinds: str, places: set[str], tmp_path: Path) -> None:
    """Arrays of references are in the files' bucket, others in the repository's."""
    session = repository(tmp_path, {"a": kinds, "group/b": kinds}, "elsewhere")
    for name in ("a", "group/b"):
        known = {
            "here": Store.at("file", str(tmp_path)) / name,
            "elsewhere": Store.from_url("s3://elsewhere"),
        }
        found = find_sources([zarr.open_array(session.store, path=name, mode="r")])
        assert {each.store for each in found} == {known[place] for place in places}
        sizes = [each.array_nbytes for each in found]
        assert sizes == [CHUNKS * 8 // len(places)] * len(places)


def test_one_of_several_containers_is_not_told_from_another(tmp_path: Path) -> None:
    """References may lead to any container, and are found in all of them, in equal parts."""
    session = repository(tmp_path, {"a": "v"}, "one", "other")
    found = find_sources([zarr.open_array(session.store, path="a", mode="r")])
    assert [(each.url, each.share) for each in found] == [("s3://one", 0.5), ("s3://other", 0.5)]


def test_each_array_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests do not change: later plans of a snapshot ask nothing."""
    session = repository(tmp_path, {"a": "v", "b": "n"}, "elsewhere")
    opened = xr.open_zarr(session.store, consolidated=False, chunks={})
    looked: list[str] = []
    look = icechunk.Session.chunk_coordinates

    def count(self: Any, array_path: str, *args: Any, **options: Any) -> Any:
        looked.append(array_path)
        return look(self, array_path, *args, **options)

    monkeypatch.setattr(icechunk.Session, "chunk_coordinates", count)
    for _ in range(2):
        urls = {each.url for each in opened.locality.sources}
        assert urls == {"s3://elsewhere", f"file://{tmp_path}"}
    assert sorted(looked) == ["/a", "/b"]


def test_manifests_that_cannot_be_read_leave_everything_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can tell, an array may be anywhere: never silently in one place."""
    session = repository(tmp_path, {"a": "v"}, "elsewhere")
    array = zarr.open_array(session.store, path="a", mode="r")

    def refuse(*args: Any, **options: Any) -> Any:
        raise icechunk.IcechunkError("refused")

    monkeypatch.setattr(icechunk.Session, "chunk_coordinates", refuse)
    assert len(find_sources([array])) == 2
