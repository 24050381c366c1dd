"""The demonstration says what it lacks before it starts anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from xr_locality.cli import main
from xr_locality.demo.requirements import check_installed
from xr_locality.errors import MissingDependencyError


@dataclass(frozen=True, slots=True)
class Hiding:
    """A finder of modules that does not find some."""

    finder: Any
    names: tuple[str, ...]

    def find_spec(self, name: str, *args: Any) -> Any:
        """Find nothing, or what the finder finds."""
        return None if name in self.names else self.finder.find_spec(name, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that hides packages, as if they were not installed."""

    def hide(*names: str) -> None:
        for name in names:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "meta_path", [Hiding(each, names) for each in sys.meta_path])

    return hide


def test_all_is_there() -> None:
    """With the extra installed nothing is missing."""
    check_installed()


def test_names_all_that_is_missing(without: Callable[..., None]) -> None:
    """One error names every missing distribution, and the extra that brings them."""
    without("iris_sample_data", "netCDF4")
    with pytest.raises(MissingDependencyError, match=r"xr-locality\[demo\]") as caught:
        check_installed()
    assert caught.value.missing == ("iris-sample-data", "netCDF4")
    assert caught.value.extra == "demo"


def test_command_line_says_so(
    without: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 1 and one line, before it starts or prints anything."""
    without("iris_sample_data")
    assert main(["demo"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "xr-locality: error: The demo needs iris-sample-data. Run: pip install 'xr-locality[demo]'"
    ]
