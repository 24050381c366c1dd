"""The ledger of clusters: what it records, reads, and knows of their processes."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from xr_locality.endpoints.ledger import Ledger, Owner

NAMES = {"region": "aws:us-west-2", "gateway": "https://hub.example.org"}


def test_a_note_lives_from_asking_to_stopping(tmp_path: Path) -> None:
    """It is there before the cluster has a name, gets it, and goes; only its owner reads it."""
    ledger = Ledger.of_user(str(tmp_path / "state"))
    record = ledger.add(**NAMES)
    (read,) = ledger.records()
    assert read.entry == record.entry
    assert read.entry.cluster is None
    assert read.entry.owner is Owner.ALIVE
    record.set_cluster("c1")
    (read,) = ledger.records()
    assert read.entry.cluster == "c1"
    (path,) = (tmp_path / "state").rglob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read.delete()
    record.delete()
    assert ledger.records() == []


def test_a_process_is_told_by_its_start_too(tmp_path: Path) -> None:
    """Numbers of processes are used again, and another machine's mean nothing here."""
    entry = Ledger(tmp_path).add(**NAMES).entry
    assert replace(entry, process_started=entry.process_started - 100).owner is Owner.GONE
    assert replace(entry, pid=2**22 + 1).owner is Owner.GONE
    assert replace(entry, host="another").owner is Owner.ELSEWHERE


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"version": 2}', json.dumps({"version": 1, **NAMES})]
)
def test_files_that_make_no_sense_are_passed_over(tmp_path: Path, content: str) -> None:
    """A half-written file, or one of another version, is not read and not removed."""
    (tmp_path / "x.json").write_text(content)
    assert Ledger(tmp_path).records() == []
    assert (tmp_path / "x.json").exists()


def test_a_ledger_that_cannot_be_written_does_not_stop_a_cluster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cluster is started all the same, and a warning is logged."""
    (tmp_path / "file").touch()
    record = Ledger(tmp_path / "file").add(**NAMES)
    record.set_cluster("c1")
    record.delete()
    assert "not recorded" in caplog.text
    assert Ledger(None).records() == []
    assert Ledger(None).add(**NAMES).entry.pid == os.getpid()
