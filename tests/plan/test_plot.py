from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.plan_builders import crossing
from xr_locality.display.plans import Plan
from xr_locality.errors import MissingDependencyError
from xr_locality.plan.model import Transfer
from xr_locality.regions.region import Region

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")


@pytest.fixture
def plt() -> Iterator[Any]:
    """Give pyplot, drawing to memory, and close what was drawn."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def texts(ax: Any) -> list[str]:
    """List what is written in axes."""
    return [each.get_text() for each in ax.texts]


def test_shows_regions_and_flows(plan: Plan, plt: Any) -> None:
    """Each region and the client is a box, each pair with bytes between them an arrow."""
    ax = plan.plot()
    ax.figure.canvas.draw()
    written = texts(ax)
    assert "local (client)" in written
    assert any(text.startswith("aws:us-west-2\ntasks: ") for text in written)
    assert any(text.startswith("gcp:us-central1\ntasks: ") for text in written)
    assert written.count("boundary\n2.34 kiB, < 0.0001 USD") == 1
    assert written.count("result\n2.34 kiB, < 0.0001 USD") == 1
    assert len(ax.patches) == len(plan.moved) == 2


def test_widths_follow_bytes(plan: Plan, plt: Any) -> None:
    """More bytes make a wider arrow."""
    moves = crossing(
        Transfer(source=IOWA, target=OREGON, key="a", nbytes=10, why="boundary"),
        Transfer(source=OREGON, target=IOWA, key="b", nbytes=1_000_000, why="boundary"),
    )
    ax = replace(plan, transfers=moves).plot()
    widths = {
        label.split("\n")[1].split(",")[0]: arrow.get_arrowstyle().tail_width
        for label, arrow in zip(texts(ax)[-2:], ax.patches, strict=True)
    }
    assert widths["10 B"] < widths["0.95 MiB"]


def test_draws_where_told(plan: Plan, plt: Any) -> None:
    """Given axes are used and handed back."""
    _, axes = plt.subplots(1, 2)
    assert plan.plot(ax=axes[1]) is axes[1]
    assert not axes[0].texts
    assert axes[1].get_title().startswith("2 regions, 1 boundary value")


def test_nothing_moves(make_plan: Callable[..., Plan], pair: Any, plt: Any) -> None:
    """A plan without crossings is one box."""
    plan = make_plan(pair.oregon.t.mean(), client_region=str(OREGON))
    ax = plan.plot()
    ax.figure.canvas.draw()
    (text,) = texts(ax)
    assert text.startswith("aws:us-west-2 (client)")
    assert not ax.patches


def test_names_are_not_markup(plan: Plan, plt: Any) -> None:
    """Nothing of what the data are called reaches matplotlib's own markup."""
    named = (replace(each, key="$\\frac{1}{0}$", why="remote-read") for each in plan.transfers)
    ax = replace(plan, transfers=crossing(*named)).plot()
    ax.figure.canvas.draw()
    assert not [text for text in texts(ax) if "$" in text]


def test_without_matplotlib(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib, the error names what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"xr-locality\[plot\]") as caught:
        plan.plot()
    assert caught.value.extra == "plot"
