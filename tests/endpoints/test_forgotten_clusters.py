"""`xr-locality clusters --forget`: striking off what nobody can ask about any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import pytest

import xr_locality as xl
from xr_locality import errors
from xr_locality.cli import main
from xr_locality.endpoints.ledger import Ledger

OLD = "https://old-hub.example.org"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The ledger that the command reads in this test."""
    return Ledger.of_user(str(tmp_path))


@pytest.fixture
def down() -> str:
    """The address of a gateway that is configured and does not answer."""
    return "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, down: str) -> Iterator[None]:
    """One gateway, which is down."""
    config: dict[str, Any] = {
        "state-directory": str(tmp_path),
        "endpoints": {"aws:us-west-2": {"gateway": down, "maximum": 1}},
    }
    with dask.config.set({"locality": config}):
        yield
        xl.Session.current().close()


def add(
    ledger: Ledger, name: str | None, *, gateway: str = OLD, alive: bool = False, **entry: Any
) -> None:
    """Note a cluster, by default one whose process has gone."""
    made = ledger.add(region="aws:us-west-2", gateway=gateway)
    if not alive:
        made.entry = replace(made.entry, process_started=made.entry.process_started - 100)
    made.entry = replace(made.entry, cluster=name, **entry)
    made.write()


def noted(ledger: Ledger) -> list[str | None]:
    """Tell which clusters are noted."""
    return [each.entry.cluster for each in ledger.records()]


def without_gateways() -> Any:
    """Configure no gateway at all."""
    return dask.config.set({"locality.endpoints": {}})


def test_a_gateway_given_up_fails_the_command_until_forgotten(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is noted of it is listed and is no success; forgetting says what is unknown."""
    add(ledger, "c1")
    with without_gateways():
        assert main(["clusters", "--reap"]) == 1
        assert f"its gateway {OLD!r} is not configured" in capsys.readouterr().out
        assert noted(ledger) == ["c1"]
        assert main(["clusters", "--forget", "c1"]) == 0
        shown = capsys.readouterr().out
        assert "c1" in shown
        assert "not stopped, and it may still run" in shown
        assert OLD in shown
        assert noted(ledger) == []
        assert main(["clusters"]) == 0
        assert capsys.readouterr().out == "no cluster\n"
        xl.Session.current().close()


def test_only_what_is_named_is_forgotten(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others stay, and the command goes on to fail because of them."""
    for name in ("c1", "c2", "c3"):
        add(ledger, name)
    with without_gateways():
        assert main(["clusters", "--forget", "c1", "--forget", "c3", "--json"]) == 1
        found = {each["name"]: each["forgotten"] for each in json.loads(capsys.readouterr().out)}
        assert found == {"c1": True, "c2": False, "c3": True}
        xl.Session.current().close()
    assert noted(ledger) == ["c2"]


def test_unreachable_are_forgotten_together(
    ledger: Ledger, down: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of gateways not configured and of ones that are down, named or not; no living one's."""
    add(ledger, "old")
    add(ledger, None)
    add(ledger, "from-elsewhere", host="another")
    add(ledger, "down", gateway=down)
    add(ledger, "alive", alive=True)
    add(ledger, "alive-down", gateway=down, alive=True)
    # The gateway that is configured does not answer, which is no success.
    assert main(["clusters", "--forget-unreachable", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in found if each["forgotten"]} == {
        "old",
        None,
        "from-elsewhere",
        "down",
    }
    assert sorted(map(str, noted(ledger))) == ["alive", "alive-down"]


@pytest.mark.parametrize("name", ["alive", "never-heard-of"])
def test_what_cannot_be_forgotten_is_refused(
    ledger: Ledger, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cluster whose process will stop it, or that is not noted; then nothing is forgotten."""
    add(ledger, "c1")
    add(ledger, "alive", alive=True)
    assert main(["clusters", "--forget", "c1", "--forget", name]) == 1
    assert repr(name) in capsys.readouterr().err
    assert noted(ledger) == ["c1", "alive"]
    with pytest.raises(errors.EndpointError, match=name):
        xl.Session.current().clusters(forget=[name])


def test_a_living_process_elsewhere_configured_is_no_failure(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clusters of a process with endpoints of its own are listed; it will stop them itself."""
    add(ledger, "c1", alive=True)
    with without_gateways():
        assert main(["clusters"]) == 0
        assert "its process runs" in capsys.readouterr().out
        xl.Session.current().close()
