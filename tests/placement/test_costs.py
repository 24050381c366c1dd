"""Prices and links of moves, against figures read from the tables by hand."""

from __future__ import annotations

import math

import pytest

from xr_locality import errors
from xr_locality.config import LinkSetting
from xr_locality.placement.costs import GB, CostModel
from xr_locality.placement.prices import Price, oldest, retrieval_price
from xr_locality.regions.region import LOCAL, Region

OREGON = Region.parse("aws:us-west-2")
VIRGINIA = Region.parse("aws:us-east-1")
IOWA = Region.parse("gcp:us-central1")

#: What Google bills by the GiB, for a GB.
PER_GIB = 10**9 / 2**30


def price(source: str, target: str, **overrides: float) -> Price:
    """Price a GB between two regions by their names."""
    return CostModel(overrides).price(Region.parse(source), Region.parse(target))


class TestListPrices:
    @pytest.mark.parametrize(
        ("source", "target", "usd_per_gb", "as_of"),
        [
            ("aws:us-east-1", "aws:us-east-2", 0.01, "2024-09-25"),
            ("aws:us-west-2", "aws:us-east-1", 0.02, "2024-09-25"),
            ("aws:af-south-1", "aws:us-west-2", 0.147, "2024-09-25"),
            ("aws:us-west-2", "gcp:us-central1", 0.09, "2024-09-25"),
            ("aws:ap-southeast-3", "local", 0.132, "2023-04-27"),
            ("gcp:us-central1", "gcp:us-east1", 0.02 * PER_GIB, "2026-06-05"),
            ("gcp:us-central1", "gcp:europe-west1", 0.05 * PER_GIB, "undated"),
            ("gcp:asia-southeast2", "gcp:us-central1", 0.1 * PER_GIB, "2024-07-01"),
            ("gcp:us-central1", "aws:us-west-2", 0.12 * PER_GIB, "2024-07-01"),
            ("gcp:us-central1", "aws:ap-southeast-1", 0.12 * PER_GIB, "2024-07-01"),
            ("gcp:us-central1", "aws:ap-southeast-2", 0.19 * PER_GIB, "2024-07-01"),
            ("gcp:us-central1", "aws:cn-north-1", 0.23 * PER_GIB, "2024-07-01"),
            ("gcp:us", "gcp:northamerica-northeast1", 0.02 * PER_GIB, "2026-06-05"),
            ("gcp:eu", "gcp:europe-west2", 0.02 * PER_GIB, "2024-07-01"),
            ("gcp:us", "aws:us-east-1", 0.12 * PER_GIB, "2024-07-01"),
            ("gcp:nam4", "gcp:us-west1", 0.02 * PER_GIB, "2026-06-05"),
            ("azure:westeurope", "azure:eastus", 0.05, "2023-06"),
            ("azure:westeurope", "azure:northeurope", 0.02, "2023-06"),
            ("azure:brazilsouth", "aws:us-east-1", 0.181, "2025-12"),
            ("r2:auto", "aws:us-east-1", 0.0, "2023-06"),
        ],
    )
    def test_listed(self, source: str, target: str, usd_per_gb: float, as_of: str) -> None:
        """A listed pair costs its first tier's price, per GB of 10**9 bytes."""
        found = price(source, target)
        assert found.usd_per_gb == pytest.approx(usd_per_gb, rel=1e-12)
        assert found.as_of == as_of
        assert not found.guessed
        assert "list price" in found.evidence

    @pytest.mark.parametrize("name", ["aws:us-west-2", "gcp:us", "azure:eastus", "local", "hpc:x"])
    def test_inside_a_region(self, name: str) -> None:
        """What stays in its region is free, and that is no guess."""
        found = price(name, name)
        assert (found.usd_per_gb, found.guessed) == (0.0, False)

    @pytest.mark.parametrize("part", ["gcp:us-central1", "gcp:us-west1", "gcp:nam4"])
    @pytest.mark.parametrize("reverse", [False, True], ids=["out of", "into"])
    def test_inside_a_multi_region(self, part: str, reverse: bool) -> None:
        """Between a multi-region and what it spans nothing crosses, whichever way."""
        pair = Region.parse("gcp:us"), Region.parse(part)
        source, target = reversed(pair) if reverse else pair
        model = CostModel({"gcp:* -> gcp:*": 9.0})
        found = model.price(source, target)
        assert (found.usd_per_gb, found.guessed, found.as_of) == (0.0, False, None)
        assert found.evidence == f"nothing leaves gcp:us, which holds {part}"
        for name in ("usd", "bytes", "seconds"):
            assert model.objective(name)(source, target, 10**12) == 0  # type: ignore[arg-type]
            prices = model.prices(name, (source, target))  # type: ignore[arg-type]
            assert not prices.objective.any()
            assert not prices.ties.any()

    def test_what_the_solver_keeps_least_is_what_is_shown(self) -> None:
        """The whole units that placements are priced in are the model's own prices."""
        places = [OREGON, IOWA, Region.parse("gcp:us"), LOCAL]
        model = CostModel({"aws:* -> local": 0.123})
        for name in ("usd", "bytes", "seconds"):
            prices = model.prices(name, places)  # type: ignore[arg-type]
            cost = model.objective(name)  # type: ignore[arg-type]
            for i, source in enumerate(places):
                for j, target in enumerate(places):
                    shown = cost(source, target, 10**15)
                    exact = prices.objective[i, j] * prices.unit * 10**15
                    assert exact == pytest.approx(shown, rel=1e-6)

    @pytest.mark.parametrize(
        ("source", "target", "usd_per_gb"),
        [
            ("gcp:us", "gcp:us-central1", 0.02 * PER_GIB),
            ("gcp:eu", "gcp:europe-west1", 0.02 * PER_GIB),
            ("gcp:nam4", "gcp:us-central1", None),
            ("gcp:us", "gcp:us", None),
            ("gcp:us", "gcp:europe-west1", None),
            ("gcp:us-central1", "gcp:us", None),
        ],
    )
    def test_retrieval(self, source: str, target: str, usd_per_gb: float | None) -> None:
        """What Google bills for reads inside a multi-region is known, though it is no egress."""
        found = retrieval_price(Region.parse(source), Region.parse(target))
        expected = None if usd_per_gb is None else pytest.approx(usd_per_gb)
        assert (found and found.usd_per_gb) == expected

    def test_from_this_machine(self) -> None:
        """Sending from the user's machine is not billed."""
        found = CostModel().price(LOCAL, OREGON)
        assert (found.usd_per_gb, found.guessed) == (0.0, False)

    @pytest.mark.parametrize("target", ["local", "osn:ncsa", "hpc:derecho", "gcp:us-central1"])
    def test_leaving_the_provider(self, target: str) -> None:
        """Leaving for anywhere outside the provider costs its internet price."""
        assert price("aws:us-west-2", target).usd_per_gb == 0.09

    def test_directions_differ(self) -> None:
        """The source's provider bills, so a pair has two prices."""
        model = CostModel()
        assert model.price(OREGON, IOWA).usd_per_gb != model.price(IOWA, OREGON).usd_per_gb


class TestGuesses:
    @pytest.mark.parametrize("source", ["osn:ncsa", "hpc:derecho", "cern:zenodo"])
    def test_unlisted_provider(self, source: str) -> None:
        """A provider without prices is taken as free, and that is said."""
        found = price(source, "aws:us-west-2")
        assert (found.usd_per_gb, found.guessed, found.as_of) == (0.0, True, None)
        assert repr(source.partition(":")[0]) in found.evidence

    @pytest.mark.parametrize(
        ("source", "target", "usd_per_gb"),
        [
            ("aws:ap-east-2", "aws:us-west-2", 0.03),
            ("aws:ap-east-2", "local", 0.1093),
            ("azure:usgovvirginia", "local", 0.12),
            ("gcp:us-central1", "gcp:me-west1", 0.1 * PER_GIB),
        ],
    )
    def test_unlisted_region(self, source: str, target: str, usd_per_gb: float) -> None:
        """A cloud region without a price gets its provider's median, and that is said."""
        found = price(source, target)
        assert found.usd_per_gb == pytest.approx(usd_per_gb)
        assert found.guessed
        assert f"no list price {source} -> {target}" in found.evidence


class TestOverrides:
    def test_replaces_the_list_price(self) -> None:
        """The user's own price wins, and is named as such."""
        found = price("aws:us-west-2", "gcp:us-central1", **{"AWS us-west-2->us-central1": 0.03})
        assert found == Price(
            usd_per_gb=0.03,
            as_of=None,
            evidence="your own price aws:us-west-2 -> gcp:us-central1",
        )

    @pytest.mark.parametrize(
        ("overrides", "usd_per_gb"),
        [
            ({"* -> *": 1.0}, 1.0),
            ({"* -> *": 1.0, "* -> local": 2.0}, 2.0),
            ({"* -> local": 2.0, "aws:* -> *": 3.0}, 3.0),
            ({"aws:* -> *": 3.0, "aws:* -> local": 4.0}, 4.0),
            ({"aws:* -> local": 4.0, "aws:us-west-2 -> *": 5.0}, 5.0),
            ({"gcp:* -> local": 4.0, "aws:us-east-1 -> *": 5.0}, 0.09),
        ],
    )
    def test_most_specific_wins(self, overrides: dict[str, float], usd_per_gb: float) -> None:
        """Of several that cover a pair the most specific source wins, then the target."""
        assert price("aws:us-west-2", "local", **overrides).usd_per_gb == usd_per_gb

    def test_wildcards_leave_the_inside_free(self) -> None:
        """A wildcard does not price what stays in its region."""
        assert price("aws:us-west-2", "aws:us-west-2", **{"aws:* -> aws:*": 9.0}).usd_per_gb == 0

    @pytest.mark.parametrize(
        ("pair", "usd_per_gb", "why"),
        [
            ("aws:us-west-2", 0.1, "must be written 'source -> target'"),
            ("a:b -> c:d -> e:f", 0.1, "must be written 'source -> target'"),
            ("aws:us-wset-2 -> local", 0.1, "Did you mean 'aws:us-west-2'"),
            (" -> local", 0.1, "Malformed region"),
            ("aws:us-west-2 -> aws:us-west-2", 0.1, "nothing crosses inside a region"),
            ("gcp:us -> gcp:us-central1", 0.1, "nothing crosses inside a region"),
            ("gcp:us-central1 -> gcp:us", 0.1, "nothing crosses inside a region"),
            ("aws:* -> local", -0.1, "-0.1 is no price"),
            ("aws:* -> local", math.nan, "nan is no price"),
        ],
    )
    def test_refused(self, pair: str, usd_per_gb: float, why: str) -> None:
        """A pair or price that makes no sense is refused by name."""
        with pytest.raises(errors.ConfigurationError) as caught:
            CostModel({pair: usd_per_gb})
        assert repr(pair) in str(caught.value)
        assert why in str(caught.value)

    def test_one_pair_twice(self) -> None:
        """Two spellings of one pair are a contradiction."""
        with pytest.raises(errors.ConfigurationError, match="two prices"):
            CostModel({"us-west-2 -> local": 0.1, "aws:us-west-2 -> local": 0.2})

    def test_all_problems_together(self) -> None:
        """Independent mistakes are reported at once."""
        with pytest.raises(errors.LocalityErrorGroup) as caught:
            CostModel({"here": 0.1, "aws:* -> local": -1.0})
        assert len(caught.value.exceptions) == 2


class TestMoves:
    def test_usd(self) -> None:
        """A move costs its bytes at the price of a GB."""
        assert CostModel().usd(OREGON, IOWA, 250 * 10**6) == pytest.approx(0.0225)
        assert CostModel().usd(OREGON, OREGON, 10**15) == 0

    def test_nbytes(self) -> None:
        """By bytes a move costs what it carries, and nothing inside a region."""
        assert CostModel().nbytes(OREGON, IOWA, 7) == 7
        assert CostModel().nbytes(IOWA, IOWA, 7) == 0

    def test_seconds(self) -> None:
        """A move takes a round trip and its bytes at the measured throughput."""
        # aws:us-west-2,gcp:us-central1 in the table: 4.398 Gbit/s, 64.7 ms.
        model = CostModel()
        assert model.bytes_per_second(OREGON, IOWA) == pytest.approx(4.398e9 / 8)
        assert model.rtt_seconds(OREGON, IOWA) == pytest.approx(0.0647)
        assert model.seconds(OREGON, IOWA, GB) == pytest.approx(8 / 4.398)
        assert model.duration(OREGON, IOWA, GB) == pytest.approx(0.0647 + 8 / 4.398)
        assert model.seconds(OREGON, IOWA, 0) == 0
        assert model.seconds(IOWA, IOWA, GB) == 0

    @pytest.mark.parametrize("name", ["usd", "bytes", "seconds"])
    def test_more_bytes_never_cost_less(self, name: str) -> None:
        """By every objective a move is dearer than a smaller one, and not negative."""
        cost = CostModel().objective(name)  # type: ignore[arg-type]
        costs = [cost(OREGON, IOWA, nbytes) for nbytes in (0, 1, 10**6, 10**12)]
        assert costs == sorted(costs)
        assert costs[0] == 0
        assert costs[-1] > 0

    def test_as_of_is_the_oldest(self) -> None:
        """The date shown for several moves is that of the oldest figure."""
        model = CostModel({"aws:us-east-1 -> local": 0.01})
        eastus, europe = Region.parse("azure:eastus"), Region.parse("gcp:europe-west1")
        assert model.as_of([]) is None
        assert model.as_of([(VIRGINIA, LOCAL)]) is None
        assert model.as_of([(OREGON, IOWA), (IOWA, OREGON)]) == "2024-07-01"
        assert model.as_of([(OREGON, IOWA), (eastus, LOCAL)]) == "2024-09-25"
        assert model.as_of([(OREGON, IOWA), (IOWA, europe)]) == "undated"

    def test_oldest_mixes_precisions(self) -> None:
        """A year alone counts as its beginning."""
        prices = [
            Price(usd_per_gb=0.1, as_of=date, evidence="") for date in ("2026-06", "2026", None)
        ]
        assert oldest(prices) == "2026"


class TestLinks:
    def test_inside_a_region(self) -> None:
        """Inside a region, a multi-region's own regions included, nothing is slow."""
        for source in (IOWA, Region.parse("gcp:us")):
            assert CostModel().link(source, IOWA).rtt_seconds == 0
            assert CostModel().bytes_per_second(source, IOWA) == math.inf

    def test_of_a_multi_region(self) -> None:
        """A dual-region is as far as the median of its two regions."""
        model = CostModel()
        east = Region.parse("gcp:us-east1")
        halves = [model.rtt_seconds(IOWA, OREGON), model.rtt_seconds(east, OREGON)]
        dual = model.link(Region.parse("gcp:nam4"), OREGON)
        assert dual.rtt_seconds == pytest.approx(sum(halves) / 2)
        assert not dual.guessed

    def test_this_machine(self) -> None:
        """The user's own line is a stated guess."""
        found = CostModel().link(OREGON, LOCAL)
        assert found.bytes_per_second == 12.5e6
        assert found.guessed
        assert "common line" in found.evidence

    def test_round_trip_by_distance(self) -> None:
        """Where the places are known the round trip is guessed from the distance."""
        # Holyoke to Boardman: 3,700 km.
        found = CostModel().link(Region.parse("osn:mghp"), OREGON)
        assert found.guessed
        assert found.rtt_seconds == pytest.approx(0.026 + 15e-6 * 3700, rel=0.05)

    def test_unknown_place(self) -> None:
        """A place nobody knows gets the medians of all pairs."""
        found = CostModel().link(Region.parse("hpc:derecho"), OREGON)
        # Medians of the table's 5,796 throughputs and 6,612 round trips.
        assert found.bytes_per_second == pytest.approx(4.55e9 / 8)
        assert found.rtt_seconds == pytest.approx(0.15245)
        assert "median" in found.evidence


class TestOwnLinks:
    FAST = LinkSetting(bytes_per_second=1e9, rtt_seconds=0.001)

    def test_replaces_both_figures(self) -> None:
        """The user's own link wins, is no guess, and is named as such."""
        found = CostModel(links={"us-west-2 -> local": self.FAST}).link(OREGON, LOCAL)
        assert (found.bytes_per_second, found.rtt_seconds) == (1e9, 0.001)
        assert found.evidence == "your own link aws:us-west-2 -> local"
        assert not found.guessed

    @pytest.mark.parametrize(
        ("setting", "throughput", "rtt"),
        [
            (LinkSetting(bytes_per_second=1e9), 1e9, 0.0647),
            (LinkSetting(rtt_seconds=0.5), 4.398e9 / 8, 0.5),
        ],
        ids=["throughput", "round trip"],
    )
    def test_leaves_the_other_figure(
        self, setting: LinkSetting, throughput: float, rtt: float
    ) -> None:
        """What is not said stays as it was measured."""
        found = CostModel(links={"aws:* -> gcp:*": setting}).link(OREGON, IOWA)
        assert found.bytes_per_second == pytest.approx(throughput)
        assert found.rtt_seconds == pytest.approx(rtt)
        assert found.evidence.startswith("your own ")
        assert "measured between virtual machines" in found.evidence

    def test_a_guess_that_stays_is_said(self) -> None:
        """Where only one figure is the user's, the other is still a guess."""
        own = {"* -> local": LinkSetting(rtt_seconds=0.5)}
        assert CostModel(links=own).link(OREGON, LOCAL).guessed

    def test_one_direction(self) -> None:
        """A link back is another link."""
        model = CostModel(links={"aws:us-west-2 -> gcp:us-central1": self.FAST})
        assert model.bytes_per_second(IOWA, OREGON) == CostModel().bytes_per_second(IOWA, OREGON)

    def test_most_specific_wins(self) -> None:
        """As for prices, the source's side counts first."""
        slow = LinkSetting(bytes_per_second=1.0, rtt_seconds=1.0)
        links = {"* -> gcp:us-central1": slow, "aws:* -> *": self.FAST}
        assert CostModel(links=links).bytes_per_second(OREGON, IOWA) == 1e9

    def test_inside_a_region(self) -> None:
        """A wildcard does not slow what stays in its region, or in a multi-region."""
        model = CostModel(links={"* -> *": LinkSetting(bytes_per_second=1.0)})
        assert model.seconds(IOWA, IOWA, GB) == 0
        assert model.bytes_per_second(Region.parse("gcp:us"), IOWA) == math.inf

    def test_is_what_placement_keeps_least(self) -> None:
        """By seconds, placements are priced with the user's own throughput."""
        model = CostModel(links={"* -> *": LinkSetting(bytes_per_second=1e6)})
        prices = model.prices("seconds", [OREGON, IOWA])
        assert prices.objective[0, 1] * prices.unit == pytest.approx(1e-6)

    def test_refused(self) -> None:
        """A pair that makes no sense is refused by name."""
        with pytest.raises(errors.ConfigurationError, match=r"locality.links of 'here'"):
            CostModel(links={"here": self.FAST})
