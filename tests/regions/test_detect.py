from collections.abc import Callable, Iterator
from typing import Any

import pytest

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


class Table:
    """A detector as another package may write it."""

    name = "table"

    def __init__(self, region: str) -> None:
        self._region = Region.parse(region)

    def detect(self, store: Store) -> Detection | None:
        """Know every bucket of S3."""
        if store.protocol != "s3":
            return None
        return Detection(region=self._region, evidence="a table", how=self.name)


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
    registered(Table("aws:us-east-2"))
    assert str(Chain().detect(BUCKET).region) == "aws:us-east-2"
    assert str(chain(bucket="aws:us-west-2").detect(BUCKET).region) == "aws:us-west-2"
    unregister_detector("table")
    register_detector(Table("aws:us-east-2"), before="rules")
    assert str(chain(bucket="aws:us-west-2").detect(BUCKET).region) == "aws:us-east-2"
    assert [each.name for each in detectors()] == ["hand", "catalog", "table", "rules", "local"]


def test_names_of_detectors_are_checked(registered: Callable[..., None]) -> None:
    """A name that is taken, or a place that is not there, is an error."""
    registered(Table("aws:us-east-2"))
    with pytest.raises(ConfigurationError, match="'table'"):
        register_detector(Table("aws:us-east-2"))
    unregister_detector("table")
    with pytest.raises(ConfigurationError, match="'probe'"):
        register_detector(Table("aws:us-east-2"), before="probe")
    with pytest.raises(ConfigurationError, match="'table'"):
        unregister_detector("table")
    register_detector(Table("aws:us-east-2"))


def test_detectors_keep_the_protocol() -> None:
    """All that is registered is a Detector, by name and method."""
    assert all(isinstance(each, Detector) for each in detectors())
