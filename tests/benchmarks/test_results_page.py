from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.results_page import lay_out_works, render_report
from support.sample_results import make_results
from xr_locality.errors import MissingDependencyError


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide matplotlib."""
    monkeypatch.setattr("benchmarks.harness.results_page.find_spec", lambda name: None)


class TestPage:
    """The page of what was measured."""

    def test_shows_every_way_and_the_machine(self) -> None:
        """Each way's seconds and bytes, the bound, the machine and the command are on it."""
        pytest.importorskip("matplotlib")
        results = make_results()
        page = render_report(results)
        for shown in ("20.0 s", "488.28 kiB", "50.00 USD", "900 B", results.machine.date):
            assert shown in page
        assert page.count("<img") == 2
        assert "<of data>" not in page
        assert "&lt;of data&gt;" in page
        assert "<pre>python -m benchmarks run</pre>" in page

    def test_plots_need_matplotlib(self, without_matplotlib: None) -> None:
        """Without matplotlib the error names the extra."""
        with pytest.raises(MissingDependencyError, match=r"xr-locality\[plot\]"):
            render_report(make_results())

    def test_command_writes_it(self, tmp_path: Path) -> None:
        """``report`` puts several files of results on one page."""
        pytest.importorskip("matplotlib")
        files = [tmp_path / "one.json", tmp_path / "two.json"]
        for file in files:
            make_results().save(file)
        page = tmp_path / "page.html"
        assert main(["report", *map(str, files), "--output", str(page)]) == 0
        assert page.read_text().count("200 Mbit/s") == 2

    def test_other_files_are_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A file without results ends the command with 1."""
        assert main(["report", str(tmp_path / "none.json")]) == 1
        assert "holds no results" in capsys.readouterr().err


class TestRun:
    """``python -m benchmarks run``."""

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["--only", "all"], "No such section: all"),
            (["--output", "/nowhere/results.json"], "no such directory"),
        ],
    )
    def test_bad_arguments_start_nothing(
        self, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An unknown section and a missing directory are refused before anything is measured."""
        assert main(["run", *arguments]) == 1
        assert problem in capsys.readouterr().err


def test_table_has_a_row_for_each_work() -> None:
    """The table in Markdown has seconds, bytes and the bound."""
    table = lay_out_works(make_results().works)
    assert "| 200 Mbit/s | 2.0 s, 0.98 kiB | 20.0 s, 488.28 kiB | 900 B |" in table


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ["simulate", "--shape", "halo", "--tasks", "1e3", "--bytes", "1 GB"],
            "best single region",
        ),
        (["workloads", "--tasks", "100"], "| small mask broadcast to a large dataset |"),
    ],
    ids=["simulate", "workloads"],
)
def test_predictions_are_printed(
    arguments: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``simulate`` and ``workloads`` print what each way would move."""
    assert main(arguments) == 0
    assert shown in capsys.readouterr().out
