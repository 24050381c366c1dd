"""The audit log: a line for each run, whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import pytest

import xr_locality as xl
from xr_locality import config, errors
from xr_locality.execution.metrics.audit import Audit


@pytest.fixture
def difference() -> Any:
    """The difference of two means, of arrays in two regions."""
    there = xl.tag(da.ones((40, 8), chunks=(10, 8)), "aws:us-west-2")
    elsewhere = xl.tag(da.full((40, 8), 3.0, chunks=(10, 8)), "gcp:us-central1")
    return there.mean(axis=0) - elsewhere.mean(axis=0)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log is; the directory is not there yet."""
    return tmp_path / "logs" / "audit.jsonl"


@pytest.fixture
def session(clusters: dict[str, Any], log: Path) -> Iterator[xl.Session]:
    """A session that keeps a log."""
    with xl.Session(clusters, audit_log=str(log), objective="bytes") as session:
        yield session


def records(log: Path) -> list[dict[str, Any]]:
    """Read the log."""
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


class TestOutcomes:
    def test_success(self, session: xl.Session, log: Path, difference: Any) -> None:
        """A run's line tells who, where, and what crossed, predicted and measured."""
        session.compute(difference)
        (record,) = records(log)
        assert record["outcome"] == "success"
        assert record["error"] is None
        assert record["user"]
        assert record["regions"] == ["aws:us-west-2", "gcp:us-central1"]
        assert set(record["clusters"]) == set(record["regions"])
        assert record["objective"] == "bytes"
        measured = {(each["from"], each["to"]): each for each in record["measured"]["moves"]}
        assert measured["gcp:us-central1", "aws:us-west-2"]["nbytes"] == 64
        assert record["measured"]["nbytes"] == session.reports[-1].nbytes_moved
        assert record["measured"]["usd"] == pytest.approx(session.reports[-1].usd)
        assert record["predicted"]["nbytes"] == session.reports[-1].plan.nbytes_moved
        assert record["n_sources"] == 2

    def test_persist_and_execute_are_runs_too(
        self, session: xl.Session, log: Path, difference: Any
    ) -> None:
        """Every way to run keeps a line; planning alone does not."""
        plan = session.plan(difference)
        plan.execute()
        session.persist(difference)
        assert [each["outcome"] for each in records(log)] == ["success", "success"]

    def test_refused_budget(self, session: xl.Session, log: Path, difference: Any) -> None:
        """A plan beyond the budget is a line with what it would have moved."""
        with pytest.raises(errors.BudgetError):
            session.compute(difference, max_egress="1 B")
        (record,) = records(log)
        assert (record["outcome"], record["error"]) == ("refused", "BudgetError")
        assert record["max_egress"] == "1 B"
        assert record["predicted"]["nbytes"] == 128
        assert record["measured"]["nbytes"] == 0
        assert record["clusters"] == {}

    def test_failure(self, session: xl.Session, log: Path, difference: Any) -> None:
        """A run that breaks is a line with the error's class, and none of its words."""

        def fail(block: Any) -> Any:
            raise ZeroDivisionError("the words hold a secret")

        with pytest.raises(ZeroDivisionError):
            session.compute(difference.map_blocks(fail, dtype=float, meta=difference._meta))
        (record,) = records(log)
        assert (record["outcome"], record["error"]) == ("failed", "ZeroDivisionError")
        assert "secret" not in log.read_text("utf-8")
        assert record["predicted"]["nbytes"] > 0

    def test_interrupt(self, session: xl.Session, log: Path, difference: Any) -> None:
        """After Ctrl-C the line says so."""

        def slowly(block: Any) -> Any:
            import time

            time.sleep(1.0)
            return block

        submitted = threading.Event()

        def interrupt() -> None:
            assert submitted.wait(30)
            os.kill(os.getpid(), signal.SIGINT)

        def callback(event: Any) -> None:
            if event.what == "submitted":
                submitted.set()

        thread = threading.Thread(target=interrupt)
        thread.start()
        slow = difference.map_blocks(slowly, dtype=float, meta=difference._meta)
        with pytest.raises(KeyboardInterrupt):
            session.compute(slow, callbacks=[callback])
        thread.join()
        (record,) = records(log)
        assert (record["outcome"], record["error"]) == ("interrupted", "KeyboardInterrupt")


def settings(**policy: Any) -> config.Settings:
    """Read settings for a record that no cluster is needed for."""
    return config.read(**policy)


def test_lines_of_many_do_not_mix(log: Path) -> None:
    """Records written at the same time are each a line of their own."""

    def write(_: int) -> None:
        with Audit(settings(audit_log=str(log))):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(100)))
    assert len({each["run"] for each in records(log)}) == 100


def test_file_is_its_owners(log: Path) -> None:
    """A new log is for its owner's eyes only."""
    with Audit(settings(audit_log=str(log))):
        pass
    assert log.stat().st_mode & 0o777 == 0o600


def test_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site's configuration can give each user a file, and names a hub's user."""
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    with Audit(settings(audit_log=f"{tmp_path}/$JUPYTERHUB_USER.jsonl")):
        pass
    assert records(tmp_path / "ada.jsonl")[0]["user"] == "ada"


def test_an_object_for_each_run_under_a_url() -> None:
    """With a URL of fsspec's each run is an object, named by its time."""
    url = "memory://audit-objects"
    for _ in range(2):
        with Audit(settings(audit_log=url)):
            pass
    fs = fsspec.filesystem("memory")
    found = [json.loads(fs.cat_file(path)) for path in fs.ls("/audit-objects", detail=False)]
    assert [each["outcome"] for each in found] == ["success", "success"]


@pytest.mark.parametrize("log", ["/proc/no/such/place", "no-such-protocol://bucket/logs"])
class TestOutOfReach:
    def test_is_a_warning(self, log: str) -> None:
        """A record that cannot be kept does not spoil the run."""
        with (
            pytest.warns(errors.LocalityWarning, match="was not written"),
            Audit(settings(audit_log=log)),
        ):
            pass

    def test_does_not_hide_an_error(self, log: str) -> None:
        """A run's own error comes through."""
        with pytest.raises(ZeroDivisionError), Audit(settings(audit_log=log)):
            _ = 1 / 0

    def test_required_refuses(self, log: str) -> None:
        """With audit_required nothing is started where no record can be kept."""
        done = []
        with (
            pytest.raises(errors.ConfigurationError, match="nothing was started"),
            Audit(settings(audit_log=log, audit_required=True)),
        ):
            done.append("something")
        assert not done


def test_required_leaves_a_record_from_the_start() -> None:
    """Under a URL a run that is killed has left its record."""
    with Audit(settings(audit_log="memory://audit-killed", audit_required=True)):
        fs = fsspec.filesystem("memory")
        (path,) = fs.ls("/audit-killed", detail=False)
        assert json.loads(fs.cat_file(path))["outcome"] == "started"
    assert json.loads(fs.cat_file(path))["outcome"] == "success"


def test_no_credentials_of_urls(tmp_path: Path) -> None:
    """A log's own URL is shown without what is secret in it."""
    url = "ftps-nowhere://user:password@host/logs?sig=secret"
    with pytest.warns(errors.LocalityWarning) as told, Audit(settings(audit_log=url)):
        pass
    assert "password" not in str(told[0].message)
    assert "secret" not in str(told[0].message)
