"""Which texts, paths and arrays among the arguments of tasks name a source."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest

import xr_locality as xl
from xr_locality.sources.search import find_sources

URL = "s3://bucket/scenes/a.tif"


@dataclass(frozen=True)
class Scene:
    """What a loader of scenes is given."""

    uri: str
    band: int = 1


def reads(url: str) -> np.ndarray[Any, Any]:
    """Read as any function of a user's may."""
    raise AssertionError(f"planning must not read {url}")


def closure(url: str) -> Callable[[], object]:
    """Make a function whose closure holds a text."""
    return lambda: reads(url)


def default() -> Callable[..., object]:
    """Make a function with a default."""

    def read(url: str = URL) -> object:
        return reads(url)

    return read


TABLE = np.array([[(URL, 1.5)]], dtype=[("url", object), ("scale", "f8")])


@pytest.mark.parametrize(
    "obj",
    [
        dask.delayed(reads)(URL),
        db.from_sequence([URL]).map(reads),
        Scene(uri=URL),
        functools.partial(reads, URL),
        closure(URL),
        default(),
        TABLE,
        TABLE.astype([("url", "U40"), ("scale", "f8")]),
        f"simplecache::{URL}",
        "/vsis3/bucket/scenes/a.tif",
        f"{URL}?X-Amz-Signature=secret",
        [URL] * 2000,
        [(reads, URL, n) for n in range(2000)],
    ],
    ids=[
        "delayed",
        "bag",
        "dataclass",
        "partial",
        "closure",
        "default",
        "object-field",
        "text-field",
        "chained",
        "gdal",
        "signed",
        "many-texts",
        "many-tasks",
    ],
)
def test_object_store_is_found_where_tasks_hold_its_url(obj: Any) -> None:
    """Wherever the URL is, the object is a source, without its signature."""
    if dask.is_dask_collection(obj):
        obj = dict(obj.__dask_graph__())
    (found,) = find_sources([obj])
    assert (found.url, found.group_url, found.named) == (URL, "s3://bucket/scenes", True)


@pytest.mark.parametrize("write", [str, Path, "file://{}".format], ids=["text", "path", "url"])
def test_file_is_found_if_it_is_there_or_can_be_written(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    """A path of a file or a folder counts, and one of a new file in a folder; others do not."""
    present = tmp_path / "a.npy"
    present.write_bytes(b"12345")
    (found,) = find_sources([write(present)])
    assert found.store.protocol == "file"
    assert found.stored_nbytes() == 5
    assert find_sources([write(tmp_path)])
    assert find_sources([write(tmp_path / "new.npy")])
    assert not find_sources([write(tmp_path / "no folder" / "new.npy")])


@pytest.mark.parametrize(
    "plain",
    [
        "mean",
        "/",
        "./",
        "...",
        "x" * 10_000 + "/",
        "a\0/b",
        "https://[bad",
        "read s3://bucket/a",
        np.array([URL]),
        np.array([URL], dtype=object),
    ],
    ids=lambda plain: ascii(plain)[:12].replace("/", "_"),
)
def test_other_text_names_nothing(plain: object) -> None:
    """Names, separators, sentences and blocks of data are no sources."""
    assert find_sources([plain]) == ()


def test_compiled_functions_are_not_looked_into() -> None:
    """A function of numba holds thousands of objects, none of them data."""
    numba = pytest.importorskip("numba")
    compiled = numba.njit(lambda x: x)
    assert find_sources([compiled]) == ()


def test_file_pins_its_task_and_store_gets_its_region(tmp_path: Path) -> None:
    """A plan lists both, and reads each beside its data."""
    path = tmp_path / "mask.npy"
    np.save(path, np.ones(4))
    mask = da.from_delayed(dask.delayed(np.load)(str(path)), (4,), dtype="f8")
    data = da.from_delayed(dask.delayed(reads)(URL), (4,), dtype="f8")
    plan = xl.plan(
        mask * data, endpoints={"aws:us-west-2": None}, rules={"s3://bucket": "aws:us-west-2"}
    )
    assert {str(source.region) for source in plan.sources} == {"local", "aws:us-west-2"}


def test_store_of_unknown_region_is_an_error() -> None:
    """A store that a task names is subject to ``unknown_region`` as any other."""
    data = da.from_delayed(dask.delayed(reads)("s3://unheard-of/a.npy"), (4,), dtype="f8")
    with pytest.raises(xl.errors.RegionError, match="unheard-of"):
        xl.plan(data, endpoints={"aws:us-west-2": None}, probe="never")


def test_link_is_listed_and_not_more() -> None:
    """A web address of unknown region is no source, and the plan says so."""
    data = da.from_delayed(dask.delayed(reads)("https://unheard.example/a"), (4,), dtype="f8")
    plan = xl.plan(data, endpoints={"aws:us-west-2": None}, probe="never")
    assert not plan.sources
    assert any("https://unheard.example/a" in each for each in plan.unknowns)
