from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness.results import MeasuredResults
from support.sample_results import make_results
from xr_locality.errors import ConfigurationError


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    """What is saved is loaded again, the ways in their order."""
    results = make_results()
    results.save(tmp_path / "results.json")
    loaded = MeasuredResults.load(tmp_path / "results.json")
    assert loaded == results
    assert list(loaded.works[0].ways) == ["plan", "local"]


def test_ways_are_compared_with_the_plan() -> None:
    """Ratios are a way's, over the plan's."""
    (work,) = make_results().works
    assert work.times("local") == 10
    assert work.nbytes_times("local") == 500


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"works": [{"ways": {}}]}'])
def test_other_files_are_refused(tmp_path: Path, text: str | None) -> None:
    """A file that is missing or holds something else is one clear error."""
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"other\.json.*holds no results"):
        MeasuredResults.load(path)
