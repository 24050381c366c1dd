from __future__ import annotations

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.simulation import SHAPES, cloud_regions, simulate


@pytest.mark.parametrize("shape", SHAPES)
def test_graph_grows_to_the_bytes_asked_for(shape: str) -> None:
    """All sizes grow alike: the graph reads what was asked for, and moves as much more."""
    small = SHAPES[shape](1_000, cloud_regions(2))
    large = SHAPES[shape](1_000, cloud_regions(2))
    large.grow(10 * small.stored_nbytes)
    assert large.stored_nbytes == pytest.approx(10 * small.stored_nbytes)
    moved = [simulate(each, objective="bytes").ways["plan"].nbytes for each in (small, large)]
    assert moved[1] == pytest.approx(10 * moved[0])


def test_command_takes_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """``simulate --bytes`` says what the graph reads: pulling it moves as much."""
    command = ["simulate", "--shape", "reduction", "--tasks", "1000", "--bytes", "1 TB"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    (local,) = [line for line in shown.splitlines() if line.split()[:1] == ["local"]]
    assert "0.91 TiB" in local or "931" in local


@pytest.mark.parametrize("size", ["much", "0"])
def test_wrong_bytes_are_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no size ends the command with 2."""
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--bytes", size])
    assert ended.value.code == 2
    assert repr(size) in capsys.readouterr().err
