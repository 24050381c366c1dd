"""Callbacks receive the events of a run, and cannot break it."""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import Any, get_args

import pytest
import xarray as xr

import xr_locality as xl
from xr_locality.execution.progress import (
    Callback,
    Callbacks,
    Progress,
    RunEvent,
    RunFinished,
    TasksSubmitted,
)

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))


def events_declared() -> dict[str, set[str]]:
    """List the events, and the names of their facts, that are declared as classes."""
    return {
        each.what: {field.name for field in dataclasses.fields(each)} for each in get_args(RunEvent)
    }


def events_listed() -> dict[str, set[str]]:
    """Read the events, and the names of their facts, that the docstring lists."""
    assert Progress.__doc__ is not None
    notes = Progress.__doc__.partition("Notes\n")[2]
    sections = re.split(r"^ *``(\w+)``$", notes, flags=re.MULTILINE)[1:]
    names, texts = sections[::2], sections[1::2]
    return {
        name: set(re.findall(r"``(\w+)``", text)) for name, text in zip(names, texts, strict=True)
    }


def test_every_event_is_listed() -> None:
    """The docstring lists every declared event, with its facts, and no other event."""
    declared, listed = events_declared(), events_listed()
    assert declared.keys() == listed.keys()
    missing = {what: facts - listed[what] for what, facts in declared.items()}
    assert not any(missing.values()), missing


def test_no_watchers_are_false() -> None:
    """Where nobody watches, nothing need be measured for them."""
    assert not Callbacks()
    assert Callbacks((print,))


def test_one_that_raises_is_called_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises is logged once, and the others hear of everything."""
    heard: list[str] = []
    calls: list[str] = []

    def broken(event: Progress) -> None:
        calls.append(event.what)
        raise ZeroDivisionError("mine")

    def fine(event: Progress) -> None:
        heard.append(event.what)

    callbacks = Callbacks((broken, fine))
    with caplog.at_level(logging.WARNING):
        callbacks.report(TasksSubmitted(region=AWS, tasks=1), run="r")
        callbacks.report(RunFinished(seconds=1.0), run="r")
    assert heard == ["submitted", "finished"]
    assert calls == ["submitted"]
    assert len(caplog.records) == 1
    (complaint,) = callbacks.complaints()
    assert "broken raised ZeroDivisionError: mine" in complaint


def test_a_run_survives_its_callbacks(
    clusters: dict[str, Any], sources: tuple[xr.Dataset, xr.Dataset]
) -> None:
    """The run gives its answer, and one warning names the callback."""

    def broken(event: Progress) -> None:
        raise RuntimeError("no")

    a, b = sources
    difference = a.t.mean("time") - b.t.mean("time")
    with (
        xl.Session(clusters) as session,
        pytest.warns(xl.errors.LocalityWarning, match="broken raised RuntimeError") as warned,
    ):
        (result,) = session.compute(difference, callbacks=[broken])
    assert len(warned) == 1
    xr.testing.assert_identical(result, difference.compute(scheduler="sync"))


def test_events_tell_the_run(
    clusters: dict[str, Any],
    sources: tuple[xr.Dataset, xr.Dataset],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Opening, sending, every crossing and the end are told, and logged at INFO."""
    a, b = sources
    events: list[Progress] = []
    watch: Callback = events.append
    difference = a.t.mean("time") - b.t.mean("time")
    with xl.Session(clusters) as session:
        with caplog.at_level(logging.INFO, logger="xr_locality"):
            session.compute(difference, callbacks=[watch])
        report = session.reports[-1]
        told = [each.what for each in events]
        session.compute(difference, callbacks=[watch])
    assert told[:4] == ["opening", "opening", "opened", "opened"]
    assert told.count("submitted") == 2
    assert told[-1] == "finished"
    moved: dict[Any, int] = {}
    for event in events[: len(told)]:
        if event.what == "moved":
            pair = event.facts["source"], event.facts["target"]
            moved[pair] = moved.get(pair, 0) + event.facts["nbytes"]
    assert moved == report.moved
    again = [event for event in events[len(told) :] if event.what == "opened"]
    assert [event.facts["reused"] for event in again] == [True, True]
    story = caplog.text
    for part in (
        "Planned for the least usd: tasks in aws:us-west-2, gcp:us-central1",
        "Opening scheduler",
        "sent aws:us-west-2 its partition",
        "finished in",
        "moved for",
    ):
        assert part in story


def test_relay_is_told(
    clusters: dict[str, Any],
    sources: tuple[xr.Dataset, xr.Dataset],
) -> None:
    """What goes by way of this machine is told as two crossings."""
    a, b = sources
    events: list[Progress] = []
    with xl.Session(clusters, transfer="relay") as session:
        session.compute(a.t.mean("time") - b.t.mean("time"), callbacks=[events.append])
    pairs = {
        (event.facts["source"], event.facts["target"]) for event in events if event.what == "moved"
    }
    assert pairs == {(GCP, LOCAL), (LOCAL, AWS), (AWS, LOCAL)}
