"""Bars show every region and every crossing, on terminals and in notebooks, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import pytest

import xr_locality as xl
from support.polling import patience
from xr_locality.display.bars import Bars, NotebookBars, expected_crossings, watch
from xr_locality.display.plans import Plan
from xr_locality.execution.progress import Progress

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))

#: A run of two regions on this machine, in which a mean crosses.
PROGRAM = """
import dask.array as da
import xr_locality as xl
from distributed import LocalCluster

if __name__ == "__main__":
    kwargs = dict(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=50
    )
    with LocalCluster(**kwargs) as one, LocalCluster(**kwargs) as two:
        a = xl.tag(da.ones((8, 8), chunks=(2, 8), name="a"), "aws:us-west-2")
        b = xl.tag(da.ones((8, 8), chunks=(2, 8), name="b"), "gcp:us-central1")
        with xl.Session({"aws:us-west-2": one, "gcp:us-central1": two}, probe="never") as session:
            session.compute(a.mean(axis=0) - b.mean(axis=0))
            print(session.reports[-1].nbytes_moved)
"""


@pytest.fixture
def plan() -> Plan:
    """Plan a difference of two regions, in which 64 bytes cross."""
    a = xl.tag(da.ones((8, 8), chunks=(2, 8), name="bars-a"), AWS)
    b = xl.tag(da.ones((8, 8), chunks=(2, 8), name="bars-b"), GCP)
    return xl.plan(a.mean(axis=0) - b.mean(axis=0), endpoints={str(AWS): None, str(GCP): None})


def drawn(bars: Bars) -> dict[str, tuple[float, float | None, str]]:
    """Tell what each bar shows: how far, of how much, and in words."""
    return {
        bar.description: (bar.completed, bar.total, bar.fields["shown"])
        for bar in bars._progress.tasks
    }


def tell(bars: Bars, what: str, **facts: Any) -> None:
    """Tell bars of one event."""
    bars(Progress(run="r", what=what, facts=facts))


class Quiet(Bars):
    """Bars that are drawn nowhere."""

    live = False


def test_expected_crossings_leave_out_reads(plan: Plan) -> None:
    """What crosses by the plan is expected, pair by pair; what is read from stores is not."""
    (boundary,) = plan.boundaries
    expected = expected_crossings(plan)
    assert expected == plan.moved
    assert expected[boundary.source, boundary.targets[0]] == 64


def test_bars_of_regions_and_crossings() -> None:
    """Clusters that start, tasks done of all, bytes moved of those predicted."""
    with Quiet({(GCP, AWS): 1024, (AWS, LOCAL): 2048}) as bars:
        tell(bars, "opening", region=AWS, endpoint="gateway")
        assert drawn(bars) == {"aws:us-west-2": (0, None, "starting")}
        tell(bars, "opened", region=AWS, endpoint="gateway", seconds=1.0, reused=False)
        assert drawn(bars)["aws:us-west-2"][2] == "ready"
        tell(bars, "submitted", region=GCP, tasks=None)
        assert drawn(bars)["gcp:us-central1"] == (0, None, "0 tasks")
        assert drawn(bars)["gcp:us-central1 → aws:us-west-2"] == (
            0,
            1024,
            "0 B of 1.00 kiB predicted",
        )
        tell(bars, "progress", region=GCP, tasks=10, done=3)
        tell(bars, "moved", source=GCP, target=AWS, nbytes=512)
        assert drawn(bars)["gcp:us-central1"] == (3, 10, "3/10 tasks")
        assert drawn(bars)["gcp:us-central1 → aws:us-west-2"] == (
            512,
            1024,
            "512 B of 1.00 kiB predicted",
        )
        tell(bars, "moved", source=GCP, target=AWS, nbytes=1024)
        assert drawn(bars)["gcp:us-central1 → aws:us-west-2"][:2] == (1536, 1536)
        tell(bars, "finished", seconds=1.0)
        assert all(done == total for done, total, _ in drawn(bars).values())


def test_what_a_region_waits_for_is_shown() -> None:
    """While a cluster starts, what it waits for, since when, and how long at most."""
    with Quiet({}) as bars:
        tell(bars, "opening", region=AWS, endpoint="gateway")
        starting = {"region": AWS, "endpoint": "gateway", "deadline_seconds": 300.0}
        tell(bars, "starting", **starting, doing="waiting for its scheduler", seconds=12.4)
        assert drawn(bars) == {
            "aws:us-west-2": (
                0,
                None,
                "starting, 12 s of at most 300 s: waiting for its scheduler",
            )
        }
        tell(bars, "starting", **starting, doing="connecting", seconds=13.6)
        assert drawn(bars)["aws:us-west-2"][2] == "starting, 14 s of at most 300 s: connecting"
        tell(bars, "opened", region=AWS, endpoint="gateway", seconds=14.0, reused=False)
        assert drawn(bars)["aws:us-west-2"][2] == "ready"


def test_lost_region_is_shown() -> None:
    """A region that is lost says so until it is back, and then counts its tasks again."""
    with Quiet({}) as bars:
        tell(bars, "progress", region=AWS, tasks=10, done=3)
        tell(bars, "lost", region=AWS, error=OSError("gone"))
        assert drawn(bars)["aws:us-west-2"][2] == "lost, looked for"
        tell(bars, "reopened", region=AWS)
        assert drawn(bars)["aws:us-west-2"][2] == "ready"
        tell(bars, "progress", region=AWS, tasks=7, done=0)
        assert drawn(bars)["aws:us-west-2"] == (0, 7, "0/7 tasks")


def test_relay_takes_other_pairs() -> None:
    """When the client begins to carry values, the crossings that were expected are gone."""
    with Quiet({(GCP, AWS): 1024}) as bars:
        tell(bars, "submitted", region=GCP, tasks=1)
        tell(bars, "relayed", reason="no way")
        assert "gcp:us-central1 → aws:us-west-2" not in drawn(bars)
        tell(bars, "moved", source=GCP, target=LOCAL, nbytes=100)
        assert drawn(bars)["gcp:us-central1 → local"][2] == "100 B"


def test_nobody_watching_nothing_drawn(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there are no bars unless they are asked for."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert watch(None, plan=plan) is None
    assert watch(False, plan=plan) is None
    wanted = watch(True, plan=plan)
    assert type(wanted) is Bars


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal every region and crossing has its bar; into a file nothing is drawn."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 65536):
            shown += more
    except OSError:
        # A terminal whose other side has gone answers so on Linux.
        pass
    finally:
        os.close(ours)
    output, _ = process.communicate(timeout=patience(60))
    assert process.returncode == 0
    assert int(output) > 0
    text = shown.decode()
    for part in ("aws:us-west-2", "gcp:us-central1", "→", "tasks", "predicted"):
        assert part in text
    plain = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        env=environment,
        timeout=patience(60),
        check=True,
    )
    assert plain.stdout == output
    assert plain.stderr == b""


def test_in_a_notebook(tmp_path: Path) -> None:
    """In a notebook the bars are one picture under the cell, without widgets."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    cell = PROGRAM.replace('__name__ == "__main__"', "True")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(
        notebook, timeout=patience(60), resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = notebook.cells[0].outputs
    pictures = [each for each in outputs if each.output_type == "display_data"]
    assert len(pictures) == 1
    html = "".join(pictures[0].data["text/html"])
    for part in ("aws:us-west-2", "gcp:us-central1", "→", "tasks", "predicted"):
        assert part in html
    assert "<script" not in html
    assert not [each for each in outputs if each.get("name") == "stderr"]


def test_picture_of_what_data_name() -> None:
    """Names are text in the picture, never markup."""
    with Quiet({}) as bars:
        tell(bars, "submitted", region=AWS, tasks=1)
        picture = NotebookBars._picture(bars)  # type: ignore[arg-type]
    assert set(picture) == {"text/plain", "text/html"}
    assert "aws:us-west-2" in picture["text/plain"]
    assert picture["text/html"].startswith("<pre")
