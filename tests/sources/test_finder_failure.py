"""What becomes of a source whose finder fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from xr_locality.errors import LocalityWarning, SourceError
from xr_locality.sources import Found, finder_failure, register_finder, unregister_finder
from xr_locality.sources.search import find_sources
from xr_locality.sources.storage import icechunk as icechunk_finder
from xr_locality.sources.storage import virtualizarr as virtualizarr_finder


class Reader:
    """An object that a plugin's finder knows."""


class FailingFinder:
    """A plugin whose package has moved on."""

    name = "failing"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find(self, obj: object, walk: object) -> Iterable[Found] | None:
        """Fail on readers, half-way through."""
        return self._found() if isinstance(obj, Reader) else None

    def _found(self) -> Iterator[Found]:
        raise self.error
        yield  # A generator fails when it is read.


@pytest.fixture(autouse=True)
def forget_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report each failure as in a new process."""
    monkeypatch.setattr(finder_failure, "_reported", set())


@pytest.fixture
def failing(request: pytest.FixtureRequest) -> Iterator[FailingFinder]:
    """Register a finder that fails."""
    finder = FailingFinder(request.param)
    register_finder(finder)
    yield finder
    unregister_finder("failing")


@pytest.mark.parametrize(
    "failing", [AttributeError("no '_place' at https://h/a?sig=secret")], indirect=True
)
def test_failure_makes_the_source_unknown_with_one_warning(failing: FailingFinder) -> None:
    """The warning names finder, error, package and what to do, and nothing secret."""
    obj = Reader()
    with pytest.warns(LocalityWarning) as caught:
        found = [find_sources([{"a": obj}]) for _ in range(3)]
    assert len(caught) == 1
    message = str(caught[0].message)
    for word in ("'failing'", "Reader", "AttributeError", "_place", "xr_locality.tag("):
        assert word in message
    assert "secret" not in message
    assert [[each.store.protocol for each in some] for some in found] == [["unknown"]] * 3


@pytest.mark.parametrize("failing", [SourceError("The URL is malformed.")], indirect=True)
def test_errors_that_say_what_to_do_are_raised(failing: FailingFinder) -> None:
    """An error of the library itself is for the user, and ends the search."""
    with pytest.raises(SourceError, match="malformed"):
        find_sources([Reader()])


def test_plan_names_the_versions_of_a_package_whose_layout_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renamed private name of icechunk ends no plan: the source is unknown, and named."""
    icechunk = pytest.importorskip("icechunk")
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path)))
    session = repository.writable_session("main")
    xr.Dataset({"a": ("x", np.zeros(4))}).to_zarr(session.store, consolidated=False)
    opened = xr.open_zarr(session.store, consolidated=False, chunks={})
    monkeypatch.setattr(icechunk_finder, "storage_fields", renamed)
    with pytest.warns(LocalityWarning, match=f"icechunk {icechunk.__version__}"):
        (source,) = opened.locality.sources
    assert source.region is None
    assert source.url.startswith("unknown://")


def test_renamed_name_of_virtualizarr_makes_its_store_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A renamed private name of VirtualiZarr is reported with its version."""
    virtualizarr = pytest.importorskip("virtualizarr")
    from virtualizarr.manifests import ManifestGroup, ManifestStore

    store = ManifestStore(ManifestGroup(arrays={}, groups={}, attributes={}))
    monkeypatch.setattr(virtualizarr_finder, "store_contents", renamed)
    with pytest.warns(LocalityWarning, match=f"virtualizarr {virtualizarr.__version__}"):
        (found,) = find_sources([store])
    assert found.store.protocol == "unknown"


def test_memory_and_arrays_of_zarr_survive(tmp_path: Path) -> None:
    """Where nothing fails nothing is warned of."""
    array = zarr.create_array(str(tmp_path / "a"), shape=(4,), dtype="f8")
    assert [each.store.protocol for each in find_sources([array])] == ["file"]


def renamed(obj: Any) -> Any:
    """Fail as an attribute that was renamed does."""
    return obj._no_longer_here
