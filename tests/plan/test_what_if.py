"""Two plans side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dask
import pytest

from support.plan_builders import IOWA, OREGON
from xr_locality.display.plan_comparison import PlanComparison
from xr_locality.display.plans import Plan
from xr_locality.errors import PlacementError
from xr_locality.regions.region import LOCAL


@pytest.fixture
def alone(make_plan: Callable[..., Plan]) -> Plan:
    """Plan the difference of the pair for Oregon alone, which reads Iowa's data from afar."""
    return make_plan(endpoints={str(OREGON): None}, missing_endpoint="nearest")


@pytest.fixture
def comparison(alone: Plan, plan: Plan) -> PlanComparison:
    """Ask what an endpoint in Iowa would change."""
    return alone.compare(plan)


class TestFigures:
    def test_are_the_plans_own(self, comparison: PlanComparison, alone: Plan, plan: Plan) -> None:
        """Each side has what its plan says."""
        for figures, each in ((comparison.this, alone), (comparison.other, plan)):
            assert figures.regions == each.regions
            assert figures.nbytes_moved == each.nbytes_moved
            assert (figures.usd, figures.seconds) == (each.usd, each.seconds)
            assert (figures.makespan, figures.gap) == (each.makespan, each.gap)

    def test_differences(self, comparison: PlanComparison, alone: Plan, plan: Plan) -> None:
        """Differences are negative where the other plan moves less."""
        assert comparison.nbytes_difference == 4_800 - 242_400
        assert comparison.usd_difference == plan.usd - alone.usd < 0
        assert comparison.seconds_difference == plan.seconds - alone.seconds

    def test_what_crosses_in_one_only(self, comparison: PlanComparison) -> None:
        """Stored bytes cross in one plan, a value between regions in the other."""
        (read,) = comparison.only_in_this
        (boundary,) = comparison.only_in_other
        assert (read.source, read.target, read.why) == (IOWA, OREGON, "remote-read")
        assert (boundary.source, boundary.target, boundary.why) == (IOWA, OREGON, "boundary")
        (both,) = [each for each in comparison.crossings if each.this and each.other]
        assert (both.source, both.target, both.why) == (OREGON, LOCAL, "result")

    def test_other_way_round(self, comparison: PlanComparison, alone: Plan, plan: Plan) -> None:
        """Asked of the other plan, every difference has the other sign."""
        back = plan.compare(alone)
        assert back.nbytes_difference == -comparison.nbytes_difference
        assert back.only_in_this == comparison.only_in_other

    def test_asks_no_store(self, alone: Plan, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is listed and nothing computed."""

        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("asked")

        monkeypatch.setattr(type(plan.reads), "nbytes", refuse)
        with dask.config.set(scheduler=refuse):
            assert "instead of" in str(alone.compare(plan))


class TestComparable:
    def test_another_way_to_write_the_same(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """Two graphs of results alike are compared, and that they differ is said."""
        first = make_plan(pair.oregon.t.mean("time"))
        second = make_plan(pair.oregon.t.sum("time"))
        compared = first.compare(second)
        assert not compared.same_graph
        assert "the plans make their results by other tasks" in str(compared)

    def test_same_work(self, comparison: PlanComparison) -> None:
        """Other endpoints are no other work."""
        assert comparison.same_graph
        assert "other tasks" not in str(comparison)

    def test_other_results(self, plan: Plan, make_plan: Callable[..., Plan], pair: Any) -> None:
        """What one of two different results moves less says nothing: refused, naming both."""
        other = make_plan(pair.oregon.t.mean())
        with pytest.raises(PlacementError, match=r"Array float32 \(20, 30\), and t: ") as caught:
            plan.compare(other)
        assert "Compare plans of the same work" in str(caught.value)


class TestShown:
    def test_text(self, comparison: PlanComparison) -> None:
        """Figures, differences and ratios stand in columns, with what crosses in which plan."""
        lines = str(comparison).splitlines()
        assert lines[0].startswith(
            "PlanComparison: the other plan moves 4.69 kiB instead of 236.72 kiB, for"
        )
        (moved,) = [line.split("  ") for line in lines if line.startswith("  bytes ")]
        shown = [cell.strip() for cell in moved if cell.strip()]
        assert shown == ["bytes", "236.72 kiB", "4.69 kiB", "-232.03 kiB", "0.02 x"]
        assert "Regions    this: aws:us-west-2" in lines
        assert "           other: aws:us-west-2, gcp:us-central1" in lines
        assert max(map(len, lines)) <= 100

    def test_objectives_may_differ(self, plan: Plan, make_plan: Callable[..., Plan]) -> None:
        """Plans that kept different things least are compared by what both have."""
        text = str(plan.compare(make_plan(objective="bytes")))
        assert "Objective  this: least US dollars" in text
        assert "other: least bytes that cross" in text

    def test_nothing_crosses(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """Two plans that move nothing say so."""
        plan = make_plan(pair.oregon.t.mean(), client_region=str(OREGON))
        assert "nothing crosses" in str(plan.compare(plan))

    def test_repr(self, comparison: PlanComparison) -> None:
        """The repr is one short line."""
        assert repr(comparison) == f"<PlanComparison: {comparison.headline}>"

    def test_html(self, comparison: PlanComparison) -> None:
        """The page has the figures of the text, and the text for pages without styles."""
        html = comparison._repr_html_()
        assert "xr_locality.PlanComparison" in html
        assert html.count("236.72 kiB") > 2
        assert "aws:us-west-2 → local" in html

    def test_to_dict(self, comparison: PlanComparison) -> None:
        """The comparison goes through JSON unchanged, regions as text."""
        shown = comparison.to_dict()
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown
        assert shown["difference"]["nbytes_moved"] == comparison.nbytes_difference
        assert [each["other"] for each in shown["crossings"] if each["why"] == "remote-read"] == [
            None
        ]
