from typing import Any

import pytest

from xr_locality.catalog.entry_tags import Level, read_tag
from xr_locality.errors import ConfigurationError, LocalityError, RegionError
from xr_locality.regions import Region, Replica, Store, Tag

ENTRY = "catalog 'c', entry 'e'"


def entry(**metadata: Any) -> Tag | None:
    """Read the tag of an entry that is in no catalog."""
    return read_tag([Level(metadata=metadata, where=ENTRY)])


def test_full_tag() -> None:
    """All that a tag may say is read."""
    tag = entry(
        locality={
            "region": "aws:us-west-2",
            "requester_pays": True,
            "leaves": "never",
            "replicas": [
                {
                    "urlpath": "gs://copy/a.zarr",
                    "region": "us-central1",
                    "storage_options": {"token": "secret"},
                }
            ],
        },
        description="of no concern",
    )
    replica = Replica(
        store=Store.from_url("gs://copy/a.zarr"), region=Region.parse("gcp:us-central1")
    )
    assert tag == Tag(
        region=Region.parse("aws:us-west-2"),
        evidence=ENTRY,
        requester_pays=True,
        leaves="never",
        replicas=(replica,),
    )
    assert "secret" not in repr(tag)


def test_defaults() -> None:
    """What a tag does not say is unknown, or the most usual."""
    tag = entry(locality={"region": "us-west-2"})
    assert tag is not None
    assert (tag.requester_pays, tag.leaves, tag.replicas) == (None, "always", ())


def test_provider_apart() -> None:
    """The provider may stand beside the region."""
    tag = entry(locality={"provider": "AWS", "region": "us-west-2"})
    assert tag is not None
    assert str(tag.region) == "aws:us-west-2"


def test_no_tag() -> None:
    """An entry that says nothing of a region has no tag."""
    assert entry() is None
    assert entry(description="x", catalog_dir="/data") is None


def test_inner_levels_override_outer_ones() -> None:
    """Each key comes from the innermost level that has it; so does the evidence of the region."""
    outer = {"locality": {"region": "aws:us-west-2", "leaves": "reduced"}}
    tag = read_tag(
        [
            Level(metadata=outer, where="catalog 'c'"),
            Level(metadata={"locality": {"requester_pays": True}}, where=ENTRY),
        ]
    )
    assert tag is not None
    assert (str(tag.region), tag.evidence) == ("aws:us-west-2", "catalog 'c'")
    assert (tag.leaves, tag.requester_pays) == ("reduced", True)

    inner = {"locality": {"region": "gcp:us-central1"}}
    tag = read_tag([Level(metadata=outer, where="catalog 'c'"), Level(metadata=inner, where=ENTRY)])
    assert tag is not None
    assert (str(tag.region), tag.evidence) == ("gcp:us-central1", ENTRY)


def test_providers_do_not_leak_into_inner_levels() -> None:
    """A provider belongs to the region that it stands beside."""
    tag = read_tag(
        [
            Level(metadata={"locality": {"provider": "aws", "region": "us-west-2"}}, where="c"),
            Level(metadata={"locality": {"region": "gcp:us-central1"}}, where="e"),
        ]
    )
    assert tag is not None
    assert str(tag.region) == "gcp:us-central1"


@pytest.mark.parametrize(
    ("metadata", "region"),
    [
        ({"region": "us-west-2"}, "aws:us-west-2"),
        ({"region": "gcp:us"}, "gcp:us"),
        ({"region": "us-west-2", "provider": "aws"}, "aws:us-west-2"),
        ({"region": "gcp:us-central1", "provider": "Google"}, "gcp:us-central1"),
        ({"region": "global"}, None),
        ({"region": "North America"}, None),
        ({"region": "Europe", "provider": "ECMWF"}, None),
        ({"region": "local"}, None),
        ({"region": [1, 2]}, None),
        ({"provider": "aws"}, None),
    ],
)
def test_bare_region_is_a_hint(metadata: dict[str, Any], region: str | None) -> None:
    """A bare region counts if it is one of a cloud's; a part of the world is passed over."""
    tag = entry(**metadata)
    assert (str(tag.region) if tag else None) == region


@pytest.mark.parametrize(
    ("metadata", "region", "field", "pays"),
    [
        ({"msft:region": "westeurope"}, "azure:westeurope", "msft:region", None),
        (
            {
                "storage:platform": "GCP",
                "storage:region": "us-central1",
                "storage:requester_pays": True,
            },
            "gcp:us-central1",
            "storage:region",
            True,
        ),
    ],
)
def test_metadata_for_others_are_hints(
    metadata: dict[str, Any], region: str, field: str, pays: bool | None
) -> None:
    """What STAC says of storage counts, and the evidence names the field."""
    tag = entry(**metadata)
    assert tag is not None
    assert (str(tag.region), tag.requester_pays) == (region, pays)
    assert tag.evidence == f"{ENTRY}, {field}"


@pytest.mark.parametrize(
    "metadata",
    [
        {"storage:requester_pays": True},
        {"storage:region": "moon"},
        {"storage:schemes": "aws"},
        {"msft:region": 5},
    ],
)
def test_malformed_metadata_for_others_are_passed_over(metadata: dict[str, Any]) -> None:
    """What others wrote, and we do not understand, is no error of theirs."""
    assert entry(**metadata) is None


def test_locality_goes_before_the_hint() -> None:
    """Beside a tag a bare region means something else, unless the tag has none."""
    tag = entry(region="us-east-1", locality={"region": "us-west-2"})
    assert tag is not None
    assert str(tag.region) == "aws:us-west-2"
    tag = entry(region="us-east-1", locality={"requester_pays": True})
    assert tag is not None
    assert (str(tag.region), tag.requester_pays) == ("aws:us-east-1", True)


@pytest.mark.parametrize("region", ["aws:us-wset-2", "", None, 5, ["aws:us-west-2"], "moon"])
def test_malformed_region_names_the_entry(region: object) -> None:
    """A region that cannot be understood is an error that says in which entry it stands."""
    with pytest.raises(RegionError, match="entry 'e'") as caught:
        entry(locality={"region": region})
    assert caught.value.where == ENTRY


def test_missing_region_names_the_entry() -> None:
    """A tag without a region, here or further out, is an error that names the entry."""
    with pytest.raises(RegionError, match="entry 'e'"):
        entry(locality={"leaves": "never"})


@pytest.mark.parametrize(
    ("locality", "message"),
    [
        ({"region": "us-west-2", "requester-pays": True}, "'requester_pays'"),
        ({"regoin": "us-west-2"}, "'region'"),
        ({"region": "us-west-2", "requester_pays": "yes"}, "'yes'"),
        ({"region": "us-west-2", "leaves": "sometimes"}, "'sometimes'"),
        ({"region": "us-west-2", "leaves": []}, "'never'"),
        ({"region": "us-west-2", "replicas": "gs://copy"}, "'gs://copy'"),
        ({"region": "us-west-2", "replicas": [{"region": "us-west-1"}]}, "'urlpath'"),
        ({"region": "us-west-2", "replicas": ["gs://copy"]}, "'gs://copy'"),
        ({"region": "us-west-2", "replicas": [{"url": "gs://copy"}]}, "'urlpath'"),
        ("aws:us-west-2", "'aws:us-west-2'"),
        ([], "mapping"),
    ],
)
def test_what_cannot_be_understood_names_the_entry(locality: object, message: str) -> None:
    """Anything else that is wrong is an error with the value, the entry, and what is allowed."""
    with pytest.raises(ConfigurationError, match="entry 'e'") as caught:
        entry(locality=locality)
    assert message in str(caught.value)


def test_malformed_replica_names_the_entry() -> None:
    """A replica in a region that is none is an error that names the entry."""
    replica = {"urlpath": "gs://copy/a.zarr", "region": "gcp:us-centrall1"}
    with pytest.raises(LocalityError, match="entry 'e'"):
        entry(locality={"region": "us-west-2", "replicas": [replica]})
