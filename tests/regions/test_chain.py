import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.strangers import Stranger, reply
from xr_locality import config
from xr_locality.errors import ConfigurationError
from xr_locality.regions import (
    LOCAL,
    REGISTRY,
    Chain,
    Detection,
    Detector,
    Region,
    Rules,
    Store,
    Tag,
    detectors,
    register_detector,
    unregister_detector,
)
from xr_locality.regions.probe.prober import Probe

WEST = Region.parse("aws:us-west-2")
BUCKET = Store.from_url("s3://bucket/a.zarr")


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    """Leave no tag to the next test."""
    REGISTRY.clear()
    yield
    REGISTRY.clear()


def chain(**rules: str) -> Chain:
    """Make a chain with rules for some buckets."""
    return Chain(Rules.parse({f"s3://{bucket}": region for bucket, region in rules.items()}))


class Registry:
    """A detector as another package may write it."""

    name = "registry"

    def __init__(self, region: str) -> None:
        self._region = Region.parse(region)

    def detect(self, store: Store) -> Detection | None:
        """Know every bucket of S3."""
        if store.protocol != "s3":
            return None
        return Detection(region=self._region, evidence="a registry", how=self.name)


@pytest.fixture
def registered() -> Iterator[Callable[..., None]]:
    """Register detectors for one test."""
    names = []

    def register(detector: Detector, **kwargs: Any) -> None:
        register_detector(detector, **kwargs)
        names.append(detector.name)

    yield register
    for name in names:
        unregister_detector(name)


def test_order_of_the_chain() -> None:
    """A person's word goes before the catalog's, that before the rules."""
    assert chain().detect(BUCKET) is None

    found = chain(bucket="aws:eu-west-1").detect(BUCKET)
    assert (str(found.region), found.how) == ("aws:eu-west-1", "rules")
    assert found.evidence == "rule 's3://bucket'"

    said = Tag(
        region=Region.parse("gcp:us-central1"),
        evidence="catalog 'c', entry 'e'",
        requester_pays=True,
        leaves="never",
    )
    REGISTRY.add(BUCKET, said, kind="catalog")
    found = chain(bucket="aws:eu-west-1").detect(BUCKET / "tp")
    assert (str(found.region), found.how) == ("gcp:us-central1", "catalog")
    assert (found.evidence, found.requester_pays, found.leaves) == (
        "catalog 'c', entry 'e'",
        True,
        "never",
    )

    REGISTRY.add(BUCKET, Tag(region=WEST, evidence="tagged by hand"), kind="hand")
    found = chain(bucket="aws:eu-west-1").detect(BUCKET / "tp")
    assert (found.region, found.how, found.evidence) == (WEST, "hand", "tagged by hand")


@pytest.mark.parametrize(
    ("url", "evidence"),
    [("/data/a.zarr", "a file on this machine"), ("memory://a", "in the memory of this process")],
)
def test_files_and_memory_are_local(url: str, evidence: str) -> None:
    """What lies on this machine is local, unless somebody says otherwise."""
    store = Store.from_url(url)
    found = Chain().detect(store)
    assert (found.region, found.evidence) == (LOCAL, evidence)
    ruled = Chain(Rules.parse({url: "hpc:derecho"}))
    assert str(ruled.detect(store).region) == "hpc:derecho"
    assert ruled.conflicts(store) == ()


def test_conflicts_are_listed() -> None:
    """Later detectors that say another region are listed; those that agree are not."""
    REGISTRY.add(BUCKET, Tag(region=WEST, evidence="tagged by hand"), kind="hand")
    assert chain().conflicts(BUCKET) == ()
    assert chain(bucket="aws:us-west-2").conflicts(BUCKET) == ()
    (conflict,) = chain(bucket="aws:us-east-1").conflicts(BUCKET)
    assert (str(conflict.region), conflict.how) == ("aws:us-east-1", "rules")
    assert chain().conflicts(Store.from_url("s3://unknown")) == ()


def test_multi_region_does_not_contradict_its_regions() -> None:
    """A catalog may say where exactly in a multi-region the data are."""
    said = Tag(region=Region.parse("gcp:us-central1"), evidence="catalog")
    REGISTRY.add(BUCKET, said, kind="catalog")
    assert chain(bucket="gcp:us").conflicts(BUCKET) == ()


def test_new_detector_is_asked_in_its_place(registered: Callable[..., None]) -> None:
    """A detector from another package is asked before the one it names, or last."""
    registered(Registry("aws:us-east-2"))
    assert str(Chain().detect(BUCKET).region) == "aws:us-east-2"
    assert str(chain(bucket="aws:us-west-2").detect(BUCKET).region) == "aws:us-west-2"
    unregister_detector("registry")
    register_detector(Registry("aws:us-east-2"), before="rules")
    assert str(chain(bucket="aws:us-west-2").detect(BUCKET).region) == "aws:us-east-2"
    names = [each.name for each in detectors()]
    assert names[names.index("registry") + 1] == "rules"


def test_names_of_detectors_are_checked(registered: Callable[..., None]) -> None:
    """A name that is taken, or a place that is not there, is an error."""
    registered(Registry("aws:us-east-2"))
    with pytest.raises(ConfigurationError, match="'registry'"):
        register_detector(Registry("aws:us-east-2"))
    unregister_detector("registry")
    with pytest.raises(ConfigurationError, match="'oracle'"):
        register_detector(Registry("aws:us-east-2"), before="oracle")
    with pytest.raises(ConfigurationError, match="'registry'"):
        unregister_detector("registry")
    register_detector(Registry("aws:us-east-2"))


def test_detectors_keep_the_protocol() -> None:
    """All that is registered is a Detector, by name and method."""
    assert all(isinstance(each, Detector) for each in detectors())


class TestProbing:
    @pytest.fixture
    def server(self, stranger: Callable[..., Stranger]) -> Stranger:
        """Start an S3 that says of every bucket that it is in Ireland."""
        return stranger(reply(200, X_Amz_Bucket_Region="eu-west-1"))

    @pytest.fixture
    def probe(self, server: Stranger, make_probe: Callable[..., Probe]) -> Probe:
        """Make a probe that asks the server."""
        return make_probe(services={"s3": server.url})

    def test_asks_what_nobody_knows(self, server: Stranger, probe: Probe) -> None:
        """A bucket that nobody knows is asked for, once."""
        asking = Chain(probe=probe)
        for path in ("a", "b"):
            found = asking.detect(BUCKET / path)
            assert found is not None
            assert (str(found.region), found.how, found.conflicts) == (
                "aws:eu-west-1",
                "probe",
                (),
            )
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "url",
        [
            "s3://tagged/a",
            "s3://cataloged/a",
            "s3://ruled/a",
            "s3://noaa-goes16/a",
            "https://noaa-goes16.s3.amazonaws.com/a",
            "https://s3.fr-par.scw.cloud/bucket/a",
            "https://example.org/a",
            "/data/a",
            "memory://a",
        ],
    )
    def test_asks_nobody_where_somebody_knows(
        self, url: str, server: Stranger, probe: Probe
    ) -> None:
        """Tags, catalogs, rules, the table and names of services spare the request."""
        REGISTRY.add(
            Store.from_url("s3://tagged"), Tag(region=WEST, evidence="tagged"), kind="hand"
        )
        REGISTRY.add(
            Store.from_url("s3://cataloged"), Tag(region=WEST, evidence="c"), kind="catalog"
        )
        asking = Chain(Rules.parse({"s3://ruled": "aws:us-west-2"}), probe=probe)
        store = Store.from_url(url)
        asking.ask([store])
        asking.detect(store)
        assert server.requests == []

    def test_web_address_of_a_tagged_bucket(self, server: Stranger, probe: Probe) -> None:
        """What is said of a bucket holds for its web address."""
        REGISTRY.add(BUCKET, Tag(region=WEST, evidence="c"), kind="catalog")
        found = Chain(probe=probe).detect(Store.from_url("https://bucket.s3.amazonaws.com/a.zarr"))
        assert found is not None
        assert (found.region, found.how) == (WEST, "catalog")
        assert server.requests == []

    def test_stated_configuration_spares_the_request(self, server: Stranger, probe: Probe) -> None:
        """A client that cannot read a bucket of another region knows where it is."""
        store = Store.at("s3", "bucket/a", {"region": "us-west-2"})
        found = Chain(probe=probe).detect(store)
        assert found is not None
        assert (found.region, found.how) == (WEST, "metadata")
        assert server.requests == []

    def test_without_a_probe_nobody_is_asked(self) -> None:
        """A chain asks only through a probe that it is given."""
        assert Chain().detect(BUCKET) is None
        assert Chain().why_unknown(BUCKET) == "nobody knows"

    def test_all_stores_are_asked_for_at_once(
        self, stranger: Callable[..., Stranger], make_probe: Callable[..., Probe]
    ) -> None:
        """The buckets of a plan do not wait for one another."""
        barrier = threading.Barrier(6)

        def answer(handler: Any, stranger: Stranger) -> None:
            barrier.wait(20)
            reply(200, X_Amz_Bucket_Region="eu-west-1")(handler, stranger)

        server = stranger(answer)
        asking = Chain(probe=make_probe(seconds=20, services={"s3": server.url}))
        stores = [Store.from_url(f"s3://bucket-{n}/a") for n in range(6)]
        asking.ask(stores)
        assert all(asking.detect(store) for store in stores)
        assert len(server.requests) == 6

    def test_live_answer_goes_before_what_was_written_down(
        self, server: Stranger, probe: Probe
    ) -> None:
        """Once asked, S3 is believed before the table and before names, which then contradict."""
        store = Store.from_url(
            "s3://noaa-goes16/a", {"client_kwargs": {"region_name": "us-west-2"}}
        )
        found = Chain(probe=probe).detect(store)
        assert found is not None
        assert (str(found.region), found.how) == ("aws:us-east-1", "table")
        assert [each.how for each in found.conflicts] == ["hostname"]

        found = Chain(probe=probe, verify=True).detect(store)
        assert found is not None
        assert (str(found.region), found.how) == ("aws:eu-west-1", "probe")
        assert [each.how for each in found.conflicts] == ["table", "hostname"]
        # What was found out stays known, without another request.
        assert Chain(probe=probe).detect(store) == found
        assert len(server.requests) == 1

    def test_rules_go_before_a_live_answer(self, server: Stranger, probe: Probe) -> None:
        """A user who says otherwise is believed, and shown the contradiction."""
        asking = Chain(Rules.parse({"s3://bucket": "aws:us-west-2"}), probe=probe, verify=True)
        found = asking.detect(BUCKET)
        assert found is not None
        assert (found.region, found.how) == (WEST, "rules")
        assert [str(each.region) for each in found.conflicts] == ["aws:eu-west-1"]
        assert len(server.requests) == 1

    def test_why_unknown(
        self, stranger: Callable[..., Stranger], make_probe: Callable[..., Probe]
    ) -> None:
        """Where nobody knows, it is said what was tried."""
        asking = Chain(probe=make_probe(services={"s3": stranger(reply(404)).url}))
        assert asking.detect(BUCKET) is None
        assert "knows no bucket 'bucket'" in asking.why_unknown(BUCKET)
        found = asking.look_up(BUCKET)
        assert (found.region, found.detection) == (None, None)
        assert found.to_dict()["evidence"] == asking.why_unknown(BUCKET)

    def test_settings_choose(self, server: Stranger, tmp_path: Path) -> None:
        """``probe`` turns asking off, on, and to where somebody knows; answers go where told."""
        options = {"endpoint_url": server.url}
        store = Store.from_url("s3://bucket/a", options)
        never = Chain.from_settings(config.read(probe="never", cache_directory=tmp_path))
        assert never.detect(store) is None
        assert server.requests == []
        auto = Chain.from_settings(config.read(probe="auto", cache_directory=tmp_path))
        assert str(auto.detect(store).region) == "aws:eu-west-1"
        other = Store.from_url("s3://other/a", options)
        rules = {"s3://other": "aws:us-west-2"}
        for probe, conflicts in (("auto", 0), ("always", 1)):
            settings = config.read(probe=probe, rules=rules, cache_directory=tmp_path)
            assert len(Chain.from_settings(settings).detect(other).conflicts) == conflicts


class TestGathered:
    def test_conflicts_come_with_the_answer(self) -> None:
        """Who believes an answer sees who contradicts it, in the order of belief."""
        goes = Store.from_url("s3://noaa-goes16/a")
        said = Tag(region=WEST, evidence="catalog 'c', entry 'e'")
        REGISTRY.add(goes, said, kind="catalog")
        found = Chain(Rules.parse({"s3://noaa-goes16": "aws:eu-west-1"})).detect(goes)
        assert found is not None
        assert found.explanation == (
            "catalog 'c', entry 'e'; rule 's3://noaa-goes16' says aws:eu-west-1; "
            "the table of public buckets (RODA:noaa-goes.yaml) says aws:us-east-1"
        )

    @pytest.mark.parametrize(
        ("catalog", "options", "pays"),
        [(None, {}, True), (False, {}, False), (None, {"requester_pays": False}, True)],
    )
    def test_who_pays_comes_from_whoever_knows(
        self, catalog: bool | None, options: dict[str, Any], pays: bool
    ) -> None:
        """Who knows where a bucket is need not know who pays for reading it."""
        era5 = Store.from_url("gs://pangeo-era5/a", options)
        said = Tag(region=Region.parse("gcp:us-central1"), evidence="c", requester_pays=catalog)
        REGISTRY.add(era5, said, kind="catalog")
        found = Chain().detect(era5)
        assert found is not None
        assert (found.how, found.requester_pays) == ("catalog", pays)

    def test_options_tell_who_pays(self) -> None:
        """Who opens a bucket as one that pays knows that the reader does."""
        store = Store.from_url("s3://bucket/a", {"requester_pays": True})
        found = chain(bucket="aws:us-west-2").detect(store)
        assert found is not None
        assert found.requester_pays is True

    def test_strictest_word_on_leaving_counts(self) -> None:
        """To say by hand where data are does not set free what a catalog keeps in."""
        kept = Tag(region=WEST, evidence="c", leaves="never")
        REGISTRY.add(BUCKET, kept, kind="catalog")
        REGISTRY.add(BUCKET, Tag(region=WEST, evidence="h"), kind="hand")
        found = Chain().detect(BUCKET)
        assert found is not None
        assert (found.how, found.leaves) == ("hand", "never")
