from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from support.plan_builders import crossing
from xr_locality.display.plan_page import plan_page
from xr_locality.display.plans import Plan
from xr_locality.display.reports import Report
from xr_locality.display.text import lay_out
from xr_locality.execution.metrics.report import RegionReport
from xr_locality.plan.model import Baseline, Transfer
from xr_locality.regions.region import LOCAL, Region
from xr_locality.runtime import formatting

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")


def fail() -> Mapping[str, Baseline]:
    """Stand for a store that refuses to be listed."""
    raise OSError("no network")


def row(text: str, label: str) -> list[str]:
    """Get the figures of the first line that begins with a label."""
    (line, *_) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return line.strip().removeprefix(label).split("  ")


def figures(text: str, label: str) -> list[str]:
    """Get the figures of a row, without their padding."""
    return [cell.strip() for cell in row(text, label) if cell.strip()]


def block(text: str, title: str) -> list[str]:
    """Get the lines of the table with a title."""
    (found,) = [each for each in text.split("\n\n") if each.startswith(title)]
    return found.splitlines()


class TestExplain:
    def test_begins_with_the_plan_in_one_line(self, plan: Plan) -> None:
        """The first line says it all in short."""
        first = plan.explain().splitlines()[0]
        assert first == "Plan: 2 regions, 1 boundary value, 4.69 kiB to move, < 0.0001 USD"

    def test_regions(self, plan: Plan) -> None:
        """Each region has its layers, tasks and bytes read, and its sources with evidence."""
        lines = block(plan.explain(), "Regions")
        part = {each.region: each for each in plan.partitions}[OREGON]
        assert figures("\n".join(lines), "aws:us-west-2") == [
            str(part.n_layers),
            str(part.n_tasks),
            "234.38 kiB",
        ]
        assert [line for line in lines if line.endswith("/a.zarr (t)")]
        assert "      in aws:us-west-2: tagged by hand" in lines

    def test_crossings(self, plan: Plan) -> None:
        """Each crossing says from where to where, why, how many values, bytes and USD."""
        text = plan.explain()
        assert figures(text, "gcp:us-central1 -> aws:us-west-2") == [
            "boundary",
            "1",
            "2.34 kiB",
            "< 0.0001",
        ]
        assert figures(text, "aws:us-west-2 -> local")[:2] == ["result", "1"]
        assert figures(text, "total") == ["2", "4.69 kiB", "< 0.0001"]

    def test_other_ways(self, plan: Plan) -> None:
        """The same work done in other ways stands beside the plan, with how much more it moves."""
        text = plan.explain()
        assert figures(text, "this plan")[0] == "4.69 kiB"
        assert figures(text, "local: pull everything here")[:2] == ["468.75 kiB", "100 x"]
        assert figures(text, "all in gcp:us-central1")[:2] == ["236.72 kiB", "50 x"]

    def test_facts(self, make_plan: Callable[..., Plan]) -> None:
        """What the plan rests on is said: objective, bound, prices, budget, guesses."""
        plan = make_plan(objective="bytes", max_egress="5 USD")
        dated = replace(plan, prices_as_of="2024-07-01")
        lines = lay_out(plan_page(dated, today=date(2027, 1, 1))).splitlines()
        above = replace(plan, lower_bound=plan.nbytes_moved / 1.5, gap=1 / 3).explain()
        assert "Objective  least bytes that cross" in lines
        assert "Placement  proven optimal (minimum cut)" in lines
        assert "Placement  at most 50 % above the optimum (minimum cut)" in above.splitlines()
        assert "Prices     list prices, the oldest of 2024-07-01, 2 years old" in lines
        assert "Budget     at most 5.00 USD" in lines
        assert "Unknown    nothing was guessed" in lines

    def test_seconds_are_a_proxy(self, make_plan: Callable[..., Plan]) -> None:
        """Seconds are said to be a proxy, and the makespan stands beside their sum."""
        plan = make_plan(objective="seconds")
        text = " ".join(plan.explain().split())
        assert "a proxy for the time of the run" in text
        together, apart = formatting.seconds(plan.makespan), formatting.seconds(plan.seconds)
        assert f"Time {together} if pairs of regions move at once, a round trip each" in text
        assert f"{apart} of bytes alone, one pair after another" in text

    def test_terms_of_sources(self, plan: Plan) -> None:
        """That a reader pays, and that data may not leave, stands with the source."""
        oregon, iowa = sorted(plan.sources, key=lambda source: source.url)
        first = replace(oregon, requester_pays=True, leaves="never")
        text = replace(plan, sources=(first, iowa)).explain()
        terms = (
            "tagged by hand; requester pays (requests unpriced); nothing computed from it may leave"
        )
        assert f"in aws:us-west-2: {terms}" in " ".join(text.split())
        assert "      in gcp:us-central1: tagged by hand" in text.splitlines()

    def test_unknowns(self, plan: Plan) -> None:
        """Each guess has its line."""
        lines = replace(plan, unknowns=("the size of x", "the size of y")).explain().splitlines()
        assert lines[-2:] == ["Unknown    the size of x", "           the size of y"]

    def test_failing_baselines(self, plan: Plan) -> None:
        """A store that cannot be listed does not keep the rest from being shown."""
        text = replace(plan, other_ways=fail).explain()
        assert figures(text, "other ways") == ["unknown"] * 3
        assert figures(text, "total")[:2] == ["2", "4.69 kiB"]
        assert "OSError" in text

    def test_uncounted_tasks(self, plan: Plan) -> None:
        """Tasks that nobody counted are unknown, not 0."""
        first = replace(plan.partitions[0], n_tasks=None)
        text = replace(plan, partitions=(first, *plan.partitions[1:])).explain()
        assert figures("\n".join(block(text, "Regions")), "aws:us-west-2")[1] == "unknown"

    def test_nothing_crosses(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """A plan in which nothing moves says so, and is shown without a ratio."""
        plan = make_plan(pair.oregon.t.mean(), client_region=str(OREGON))
        text = plan.explain()
        assert figures(text, "total") == ["0", "0 B", "0.00"]
        assert figures(text, "this plan") == ["0 B", "0.00", "0 s"]
        assert "Placement  proven optimal (layers alone)" in text.splitlines()
        assert "Time       nothing moves" in text.splitlines()

    def test_columns_are_aligned(self, plan: Plan) -> None:
        """Figures stand right under their headings."""
        lines = block(plan.explain(), "Ways")
        assert len({len(line) for line in lines}) == 1

    def test_fits_in_100_columns(self, plan: Plan) -> None:
        """However long names are, no line is longer than 100 columns, and none is cut."""
        url = "s3://bucket/" + "x" * 300 + ".zarr"
        variables = tuple(f"variable_{i}" for i in range(100))
        long = Region.parse("provider" * 7 + ":" + "name" * 15)
        move = Transfer(source=long, target=OREGON, key=url, nbytes=1, why="remote-read")
        text = replace(
            plan,
            sources=(replace(plan.sources[0], url=url, variables=variables, region=long),),
            transfers=crossing(move),
            unknowns=("something long " * 20,),
        ).explain()
        assert max(map(len, text.splitlines())) <= 100
        joined = "".join(text.split())
        assert url in joined
        assert f"{long}->{OREGON}" in joined
        assert "variable_7" in text
        assert "variable_8" not in text

    def test_many_sources(self, plan: Plan) -> None:
        """Of many sources the first are shown and the rest are counted."""
        many = tuple(replace(plan.sources[0], url=f"s3://b/{i:03}") for i in range(30))
        text = replace(plan, sources=many).explain()
        assert "s3://b/009" in text
        assert "s3://b/010" not in text
        assert "    and 20 more" in text.splitlines()

    def test_control_characters(self, plan: Plan) -> None:
        """A name in the data cannot send commands to the terminal or add lines."""
        source = replace(plan.sources[0], variables=("\x1b[31mred\nTotal",))
        text = replace(plan, sources=(source,)).explain()
        assert "\x1b" not in text
        assert "Total" not in [line.strip() for line in text.splitlines()]

    def test_accessor_prints(self, pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
        """`.locality.explain()` prints what `plan().explain()` returns."""
        endpoints = {str(OREGON): None, str(IOWA): None}
        assert pair.difference.locality.explain(endpoints=endpoints) is None
        printed = capsys.readouterr().out
        assert printed == pair.difference.locality.plan(endpoints=endpoints).explain() + "\n"


class TestCompare:
    def test_begins_with_the_run_in_one_line(self, make_report: Callable[..., Report]) -> None:
        """The first line says what moved, what it cost and how long it took."""
        text = str(make_report())
        assert text.splitlines()[0] == "Report: 4.69 kiB moved, 0.50 USD, 1.25 s"

    def test_predicted_beside_measured(self, make_report: Callable[..., Report]) -> None:
        """Each crossing has its predicted and its measured bytes, in this order."""
        text = str(make_report(moved={(IOWA, OREGON): 4_800, (OREGON, LOCAL): 2_400}))
        assert figures(text, "gcp:us-central1 -> aws:us-west-2")[:2] == ["2.34 kiB", "4.69 kiB"]
        assert figures(text, "aws:us-west-2 -> local")[:2] == ["2.34 kiB", "2.34 kiB"]
        assert figures(text, "total")[:2] == ["4.69 kiB", "7.03 kiB"]

    def test_measured_but_not_predicted(self, make_report: Callable[..., Report]) -> None:
        """What nobody predicted shows, and so does what was predicted and did not cross."""
        text = str(make_report(moved={(OREGON, IOWA): 1_024}))
        assert figures(text, "aws:us-west-2 -> gcp:us-central1")[:2] == ["0 B", "1.00 kiB"]
        assert figures(text, "gcp:us-central1 -> aws:us-west-2")[:2] == ["2.34 kiB", "0 B"]

    def test_total_is_the_report_s(self, make_report: Callable[..., Report], plan: Plan) -> None:
        """The total is what the report says, beside what the plan said."""
        text = str(make_report(usd=3.0, plan=replace(plan, other_ways=fail)))
        assert figures(text, "total")[2:] == ["< 0.0001", "3.00"]

    def test_remote_reads_that_nobody_counts(
        self, make_report: Callable[..., Report], make_plan: Callable[..., Plan]
    ) -> None:
        """Stored bytes read from afar that were not counted say so, and are in no total."""
        remote = make_plan(endpoints={str(OREGON): None}, missing_endpoint="nearest")
        text = str(make_report(plan=remote, moved={(OREGON, LOCAL): 2_400}))
        label = "gcp:us-central1 -> aws:us-west-2, from stores"
        assert figures(text, label)[:2] == ["234.38 kiB", "not counted"]
        assert figures(text, "aws:us-west-2 -> local")[:2] == ["2.34 kiB", "2.34 kiB"]
        assert figures(text, "total")[:2] == ["2.34 kiB", "2.34 kiB"]
        assert "Report: 2.34 kiB moved" in text

    def test_remote_reads(
        self, make_report: Callable[..., Report], make_plan: Callable[..., Plan]
    ) -> None:
        """Stored bytes read from afar have a row of their own, and are in the total."""
        remote = make_plan(endpoints={str(OREGON): None}, missing_endpoint="nearest")
        moved = {(OREGON, LOCAL): 2_400, (IOWA, OREGON): 240_000}
        text = str(make_report(plan=remote, moved=moved, remote_reads={(IOWA, OREGON): 240_000}))
        label = "gcp:us-central1 -> aws:us-west-2, from stores"
        assert figures(text, label)[:2] == ["234.38 kiB", "234.38 kiB"]
        assert figures(text, "total")[:2] == ["236.72 kiB", "236.72 kiB"]
        assert "gcp:us-central1 -> aws:us-west-2  " not in text

    def test_what_leaves_a_region(self, make_report: Callable[..., Report]) -> None:
        """Where a region sends to several, what leaves it is summed."""
        moved = {(IOWA, OREGON): 2_400, (IOWA, LOCAL): 1_024, (OREGON, LOCAL): 2_400}
        lines = "\n".join(block(str(make_report(moved=moved)), "Leaving"))
        assert figures(lines, "gcp:us-central1")[:2] == ["2.34 kiB", "3.34 kiB"]
        assert figures(lines, "aws:us-west-2")[:2] == ["2.34 kiB", "2.34 kiB"]
        assert "Leaving" not in str(make_report())

    def test_time_of_crossings(self, make_report: Callable[..., Report], plan: Plan) -> None:
        """Each crossing has the time that it was to take, and that it took."""
        report = make_report(seconds_moving={(IOWA, OREGON): 0.25})
        lines = "\n".join(block(str(report), "Moving for"))
        predicted = formatting.seconds(plan.costs.duration(IOWA, OREGON, 2_400))
        pair = "gcp:us-central1 -> aws:us-west-2"
        assert figures(lines, pair) == [predicted, "250.00 ms"]
        assert figures(lines, "aws:us-west-2 -> local")[1] == "unknown"

    def test_regions(self, make_report: Callable[..., Report], plan: Plan) -> None:
        """Each region has its tasks, planned and run, and the time that its workers computed."""
        lines = "\n".join(block(str(make_report()), "Regions"))
        (planned,) = (each.n_tasks for each in plan.partitions if each.region == OREGON)
        assert figures(lines, "aws:us-west-2") == [str(planned), "17", "3.00 s"]

    def test_bytes_read(self, make_report: Callable[..., Report]) -> None:
        """Bytes read show beside what was to be read, where somebody counts them."""
        by_region = {
            OREGON: RegionReport(tasks=1, seconds=1.0, nbytes_read=1_024),
            IOWA: RegionReport(tasks=1, seconds=1.0),
        }
        lines = "\n".join(block(str(make_report(by_region=by_region)), "Regions"))
        assert figures(lines, "aws:us-west-2")[1:] == ["1", "1.00 s", "234.38 kiB", "1.00 kiB"]
        assert figures(lines, "gcp:us-central1")[3:] == ["234.38 kiB", "not counted"]

    def test_time_and_retries(self, make_report: Callable[..., Report], plan: Plan) -> None:
        """The duration stands beside what was predicted, with what was moved again."""
        lines = str(make_report(retries=2)).splitlines()
        assert "Time         1.25 s for the whole run" in lines
        assert lines[-2].strip().endswith("predicted for the moves alone")
        assert "Moved again  2 values" in lines

    def test_nothing_moved(self, make_report: Callable[..., Report], plan: Plan) -> None:
        """A run without crossings and without regions is still a report."""
        text = str(make_report(moved={}, by_region={}, plan=replace(plan, transfers=crossing())))
        assert figures(text, "total")[:2] == ["0 B", "0 B"]
