from __future__ import annotations

import json
import logging
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from dask.typing import Key

import xr_locality as xl
from support.plan_builders import crossing, many_crossing
from xr_locality.display.plans import Plan
from xr_locality.display.summary import summarise
from xr_locality.plan.model import Baseline, Transfer
from xr_locality.plan.transfers import Transfers
from xr_locality.regions.region import LOCAL, Region

OREGON = Region.parse("aws:us-west-2")
IOWA = Region.parse("gcp:us-central1")


def fail() -> Mapping[str, Baseline]:
    """Stand for a store that refuses to be listed."""
    raise PermissionError("https://bucket.example.org/?X-Signature=secret")


class Chunks(Sequence[Key]):
    """The keys of some layers' chunks, made when they are looked at, and counted."""

    def __init__(self, layers: list[tuple[str, int]]) -> None:
        self.starts = list(accumulate((n for _, n in layers), initial=0))
        self.names = [name for name, _ in layers]
        self.n_looks = 0

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        self.n_looks += 1
        layer = bisect_right(self.starts, index) - 1
        return self.names[layer], index - self.starts[layer]


class TestRegions:
    def test_who_reads_what(self, plan: Plan) -> None:
        """Each region has its own source, with the bytes that are read of it."""
        regions = {each.region: each for each in summarise(plan).regions}
        assert set(regions) == {OREGON, IOWA}
        (source,) = regions[OREGON].sources
        assert source.url.endswith("/a.zarr")
        assert source.region == OREGON
        assert source.evidence == "tagged by hand"
        assert source.variables == ("t",)
        assert source.nbytes_read == regions[OREGON].nbytes_read == 240_000
        assert not source.guessed

    def test_only_what_is_read(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """A part of an array counts for its share of the stored bytes."""
        (region,) = summarise(make_plan(pair.oregon.t[:50].mean("time"))).regions
        assert region.nbytes_read == 120_000

    def test_read_from_afar(self, make_plan: Callable[..., Plan]) -> None:
        """A source without an endpoint of its own stands with the region that reads it."""
        endpoints = {str(OREGON): None}
        plan = make_plan(endpoints=endpoints, missing_endpoint="nearest")
        (region,) = summarise(plan).regions
        assert {source.region for source in region.sources} == {OREGON, IOWA}
        (remote,) = [each for each in summarise(plan).crossings if each.why == "remote-read"]
        assert (remote.source, remote.target, remote.nbytes) == (IOWA, OREGON, 240_000)
        assert remote.names[0].endswith("/b.zarr")

    def test_read_from_two_regions(self, plan: Plan) -> None:
        """A source read here and from afar stands with both, each with its share."""
        iowa = next(each for each in plan.sources if each.region == IOWA)
        afar = Transfer(source=IOWA, target=OREGON, key=iowa.url, nbytes=90_000, why="remote-read")
        regions = summarise(replace(plan, transfers=crossing(afar))).regions
        read = {
            each.region: [source.nbytes_read for source in each.sources if source.url == iowa.url]
            for each in regions
        }
        assert read == {OREGON: [90_000], IOWA: [150_000]}

    def test_read_from_a_multi_region(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """A multi-region's bucket stands with the region in it that reads it, and moves nothing."""
        everywhere = xl.tag(pair.iowa, "gcp:us")
        plan = make_plan(pair.oregon.t.mean("time") - everywhere.t.mean("time"))
        summary = summarise(plan)
        (region,) = [each for each in summary.regions if each.region == IOWA]
        assert [str(source.region) for source in region.sources] == ["gcp:us"]
        assert region.nbytes_read == 240_000
        assert not [each for each in summary.crossings if each.why == "remote-read"]
        assert any("not counted: 0.01863 USD/GB" in each for each in summary.unknowns)

    def test_terms(self, plan: Plan) -> None:
        """Who pays for reads, and what may leave, is kept of each source."""
        oregon, iowa = sorted(plan.sources, key=lambda source: source.url)
        first = replace(oregon, requester_pays=True, leaves="reduced")
        summary = summarise(replace(plan, sources=(first, iowa)))
        sources = [source for each in summary.regions for source in each.sources]
        terms = [(source.requester_pays, source.leaves) for source in sources]
        assert terms == [(True, "reduced"), (None, "always")]
        (shown, _) = [each["sources"][0] for each in summary.to_dict()["regions"]]
        assert (shown["requester_pays"], shown["leaves"]) == (True, "reduced")

    def test_tasks_and_layers(self, plan: Plan) -> None:
        """Tasks and layers are those of the region's partition."""
        counted = {each.region: (each.n_layers, each.n_tasks) for each in summarise(plan).regions}
        assert counted == {each.region: (each.n_layers, each.n_tasks) for each in plan.partitions}


class TestCrossings:
    def test_aggregated(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """Values that cross for one reason between two regions are one crossing."""
        plan = make_plan(xr.concat([pair.oregon.t, pair.iowa.t], "time") + 1, remote_read="never")
        summary = summarise(plan)
        pairs = [(each.source, each.target, each.why) for each in summary.crossings]
        assert len(pairs) == len(set(pairs)) < len(plan.transfers)
        assert sum(each.n_values for each in summary.crossings) == len(plan.transfers)
        assert sum(each.nbytes for each in summary.crossings) == plan.nbytes_moved

    def test_money_is_the_plan_s(self, plan: Plan) -> None:
        """The crossings cost what the plan costs, by the same prices."""
        summary = summarise(plan)
        assert sum(each.usd for each in summary.crossings) == pytest.approx(plan.usd, rel=1e-12)
        assert all("list price" in each.price for each in summary.crossings)

    def test_own_prices(self, make_plan: Callable[..., Plan]) -> None:
        """A user's own price shows in the money and in where it comes from."""
        plan = make_plan(prices={"* -> *": 1000.0})
        (boundary,) = [each for each in summarise(plan).crossings if each.why == "boundary"]
        assert boundary.usd == pytest.approx(2_400 * 1000 / 10**9)
        assert "your own price" in boundary.price

    def test_names(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """Results are named by their variables, values between regions by their tasks."""
        mean = pair.difference
        summary = summarise(make_plan(xr.Dataset({"warmer": mean, "twice": 2 * mean})))
        names = {each.why: each.names for each in summary.crossings}
        assert set(names["result"]) == {"warmer", "twice"}
        assert names["boundary"] == ("mean_agg-aggregate",)

    def test_few_names(self, plan: Plan) -> None:
        """Of many kinds of values a few are named and all are counted."""
        many = (
            Transfer(source=IOWA, target=OREGON, key=f"step{chr(97 + i)}", nbytes=1, why="boundary")
            for i in range(20)
        )
        (found,) = summarise(replace(plan, transfers=crossing(*many))).crossings
        assert found.n_values == found.n_names == 20
        assert 1 < len(found.names) < 10

    def test_a_million_values(self, plan: Plan) -> None:
        """Of very many values few keys are looked at, and no kind among them is missed."""
        keys = Chunks([("mean-0", 600_000), ("sum-1", 1), ("max-2", 400_000)])
        group = many_crossing(IOWA, OREGON, keys)
        (found,) = summarise(replace(plan, transfers=Transfers([group]))).crossings
        assert (found.n_values, found.nbytes) == (1_000_001, 1_000_001)
        assert found.names == ("mean", "sum", "max")
        assert keys.n_looks < 500

    def test_a_million_kinds(self, plan: Plan) -> None:
        """Where each value has a name of its own, only so many are looked at."""
        keys = Chunks([(f"a{i}", 1) for i in range(100_000)])
        group = many_crossing(IOWA, OREGON, keys, why="remote-read")
        (found,) = summarise(replace(plan, transfers=Transfers([group]))).crossings
        assert found.n_values == 100_000
        assert len(found.names) == 5
        assert keys.n_looks < 10_000

    def test_upload(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """Arrays embedded in the graph cross from the client, and their region says so."""
        plan = make_plan(pair.oregon.t.mean("time") + np.ones((20, 30)))
        (region,) = summarise(plan).regions
        uploads = [each for each in summarise(plan).crossings if each.why == "upload"]
        assert [(each.source, each.nbytes) for each in uploads] == [(LOCAL, region.upload_nbytes)]
        assert region.upload_nbytes == 20 * 30 * 8


class TestUnknowns:
    def test_failing_baselines(self, plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
        """A store that cannot be listed leaves the other ways unknown, and nothing else."""
        with caplog.at_level(logging.WARNING):
            summary = summarise(replace(plan, other_ways=fail))
        assert summary.baselines is None
        (unknown,) = summary.unknowns
        assert "PermissionError" in unknown
        assert "secret" not in unknown
        assert summary.nbytes_moved == plan.nbytes_moved
        assert caplog.records

    def test_failing_reads(self, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bytes read of a store that cannot be listed are unknown, never 0."""
        monkeypatch.setattr(type(plan.reads), "nbytes", lambda *_: fail())
        summary = summarise(plan)
        assert [each.nbytes_read for each in summary.regions] == [None, None]
        assert any("stored bytes" in each for each in summary.unknowns)

    def test_guessed_reads(self, make_plan: Callable[..., Plan], pair: Any) -> None:
        """A stored size that only shows to be a guess once asked for is among the unknowns."""
        memory = xr.Dataset({"t": ("x", np.arange(10.0))})
        store: dict[str, Any] = {}
        memory.chunk(x=5).to_zarr(store, zarr_format=2)
        data = xr.open_zarr(store, chunks={})
        data.locality.tag(OREGON)
        plan = make_plan(data.t.sum())
        for layer in plan.sources[0].layers:
            plan.sources[0].layers[layer] = ()  # type: ignore[index]
        assert not plan.unknowns
        summary = summarise(plan)
        assert summary.regions[0].guessed
        assert any(plan.sources[0].url in each for each in summary.unknowns)

    def test_guessed_price(self, plan: Plan) -> None:
        """A price that no list has is among the unknowns."""
        derecho = Region.parse("hpc:derecho")
        move = Transfer(source=derecho, target=OREGON, key="a", nbytes=1, why="boundary")
        unknowns = summarise(replace(plan, transfers=crossing(move))).unknowns
        assert any("hpc:derecho -> aws:us-west-2" in each for each in unknowns)

    def test_said_once(self, plan: Plan) -> None:
        """Showing a plan again does not add to what is unknown."""
        noted = replace(plan, unknowns=("the size of x", "the size of x"))
        assert summarise(noted).unknowns == summarise(noted).unknowns == ("the size of x",)


class TestToDict:
    def test_is_json(self, plan: Plan) -> None:
        """The summary goes through JSON unchanged, regions as text."""
        shown = plan.to_dict()
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown
        assert [each["region"] for each in shown["regions"]] == [str(OREGON), str(IOWA)]
        assert {"local", f"all in {OREGON}", f"all in {IOWA}"} == set(shown["baselines"])
        assert shown["nbytes_moved"] == plan.nbytes_moved
        assert (shown["solver"], shown["makespan"]) == (plan.solver, plan.makespan)

    def test_moved_as_in_a_report(self, plan: Plan, make_report: Callable[..., Any]) -> None:
        """Predicted and measured bytes have one form, so that they can be compared."""
        measured = make_report(moved=plan.moved).to_dict()
        predicted = plan.to_dict()["moved"]
        assert predicted
        # What was measured says more.
        assert [
            {name: each[name] for name in predicted[0]} for each in measured["moved"]
        ] == predicted

    def test_without_baselines(self, plan: Plan) -> None:
        """What could not be estimated is null."""
        assert replace(plan, other_ways=fail).to_dict()["baselines"] is None


class TestPlan:
    def test_repr(self, plan: Plan) -> None:
        """A plan's repr is one short line, and lists no store."""
        text = repr(replace(plan, other_ways=fail))
        assert text == "<Plan: 2 regions, 1 boundary value, 4.69 kiB to move, < 0.0001 USD>"

    def test_reads_no_chunk(self, make_plan: Callable[..., Plan]) -> None:
        """Summarising computes nothing."""

        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("computed")

        with dask.config.set(scheduler=refuse):
            assert summarise(make_plan()).nbytes_moved == 4_800
