import dataclasses
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xr_locality.errors import RegionError
from xr_locality.regions import LOCAL, Region
from xr_locality.regions.cloud_regions import known_regions


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("aws:us-west-2", "aws:us-west-2"),
        ("AWS us-west-2", "aws:us-west-2"),
        ("aws/us-west-2", "aws:us-west-2"),
        ("us-west-2", "aws:us-west-2"),
        (" aws:us-west-2 ", "aws:us-west-2"),
        ("Amazon:US-West-2", "aws:us-west-2"),
        ("s3:us-west-2", "aws:us-west-2"),
        ("us-central1", "gcp:us-central1"),
        ("google:us-central1", "gcp:us-central1"),
        ("gcs:US", "gcp:us"),
        ("gs NAM4", "gcp:nam4"),
        ("westeurope", "azure:westeurope"),
        ("az:westeurope", "azure:westeurope"),
        ("microsoft:westus3", "azure:westus3"),
        ("osn:ncsa", "osn:ncsa"),
        ("hpc:derecho", "hpc:derecho"),
        ("minio:us-east-1", "minio:us-east-1"),
        ("local", "local"),
        ("Local", "local"),
    ],
)
def test_text_becomes_canonical(text: str, canonical: str) -> None:
    """Every usual spelling of a region gives one canonical name."""
    assert str(Region.parse(text)) == canonical


@pytest.mark.parametrize("canonical", [*known_regions(), "local", "hpc:derecho"])
def test_canonical_name_is_a_fixed_point(canonical: str) -> None:
    """A canonical name parses to the region that shows itself by that name."""
    region = Region.parse(canonical)
    assert str(region) == canonical
    assert Region.parse(region) is region


@pytest.mark.parametrize("name", ["aws:eu-central-3", "gcp:us-east7", "azure:taiwannorth"])
def test_new_region_of_a_known_provider_is_taken_on_trust(name: str) -> None:
    """A region that opened after the table was made is legal if it is named like the others."""
    region = Region.parse(name)
    assert str(region) == name
    assert region.known is None


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        5,
        True,
        b"aws:us-west-2",
        ["aws:us-west-2"],
        "",
        " ",
        ":",
        "aws:",
        "aws",
        ":us-west-2",
        "aws: us-west-2",
        "aws:us west-2",
        "aws::us-west-2",
        "aws:us-west-2:b",
        "aws:us-west-2\n",
        "hpc:dere\x00cho",
        "hpc:dere\tcho",
        "hpc:derecho\u200b",
        "hpc:zürich",
        "\u212aws:us-west-2",
        "hpc:-derecho",
        "hpc:" + "d" * 64,
        "d" * 100_000,
        "local:here",
        "nowhere",
    ],
    ids=lambda wrong: repr(wrong)[:20],
)
def test_malformed_text_is_refused(wrong: object) -> None:
    """What is no region's name raises a RegionError that shows it, at a readable length."""
    with pytest.raises(RegionError) as caught:
        Region.parse(wrong)
    assert len(str(caught.value)) < 400
    assert caught.value.value
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("aws:us-wset-2", "aws:us-west-2"),
        ("us-wset-2", "us-west-2"),
        ("gcp:us-centrall1", "gcp:us-central1"),
        ("gcp:us-west-2", "gcp:us-west2"),
        ("azure:westeurop", "azure:westeurope"),
        ("locl", "local"),
    ],
)
def test_misspelt_name_suggests_the_closest(wrong: object, meant: str) -> None:
    """A misspelt region of a known provider is refused with the name that was meant."""
    with pytest.raises(RegionError, match="Did you mean") as caught:
        Region.parse(wrong)
    assert meant in caught.value.suggestions
    assert repr(meant) in str(caught.value)


def test_name_of_two_providers_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone that two providers use is refused, and both are offered."""
    row = known_regions()["aws:us-west-2"]
    other = dataclasses.replace(row, provider="gcp", canonical="gcp:us-west-2")
    both = {each.canonical: each for each in (row, other)}
    monkeypatch.setattr("xr_locality.regions.region.known_regions", lambda: both)
    with pytest.raises(RegionError, match="Ambiguous") as caught:
        Region.parse("us-west-2 ")
    assert caught.value.suggestions == ("aws:us-west-2", "gcp:us-west-2")


def test_constructor_canonicalises_too() -> None:
    """A region made from its parts is the same as the one parsed from text."""
    assert Region(provider="Google", name="US-Central1") == Region.parse("us-central1")
    with pytest.raises(RegionError, match="us-wset-2"):
        Region(provider="aws", name="us-wset-2")


def test_region_is_a_value() -> None:
    """Equal regions are one dictionary key and one set member; they sort by name."""
    west, east = Region.parse("aws:us-west-2"), Region.parse("aws:us-east-1")
    assert {west: 1}[Region.parse("us-west-2")] == 1
    assert len({west, Region.parse("s3:us-west-2"), east}) == 2
    assert sorted([west, LOCAL, east]) == [east, west, LOCAL]
    with pytest.raises(AttributeError):
        west.name = "us-east-1"


def test_region_is_not_its_name() -> None:
    """A region does not equal text, so that a forgotten parse shows."""
    assert Region.parse("aws:us-west-2") != "aws:us-west-2"


def test_region_survives_pickling() -> None:
    """A region that has been to another process is the same one."""
    for region in (LOCAL, Region.parse("aws:us-west-2"), Region.parse("hpc:derecho")):
        assert pickle.loads(pickle.dumps(region)) == region


def test_repr_is_short_and_parses() -> None:
    """The repr shows the canonical name."""
    assert repr(Region.parse("us-west-2")) == "Region('aws:us-west-2')"


def test_local_is_the_only_local_region() -> None:
    """Only this machine is local."""
    assert LOCAL.is_local
    assert str(LOCAL) == "local"
    assert not Region.parse("hpc:derecho").is_local


@pytest.mark.parametrize(
    ("outer", "inner", "contained"),
    [
        ("gcp:us", "gcp:us-central1", True),
        ("gcp:us", "gcp:nam4", True),
        ("gcp:us", "gcp:europe-west4", False),
        ("gcp:us", "gcp:northamerica-northeast1", False),
        ("gcp:us", "aws:us-west-2", False),
        ("gcp:us-central1", "gcp:us", False),
        ("gcp:eu", "gcp:europe-west4", True),
        ("gcp:eu", "gcp:eur4", True),
        ("gcp:eu", "gcp:europe-west2", False),
        ("gcp:eu", "gcp:europe-west6", False),
        ("gcp:asia", "gcp:asia1", True),
        ("gcp:asia", "gcp:asia-south1", True),
        ("gcp:asia", "gcp:me-central1", False),
        ("gcp:asia", "gcp:australia-southeast1", False),
        ("gcp:nam4", "gcp:us-east1", True),
        ("gcp:nam4", "gcp:us-west1", False),
        ("gcp:nam4", "gcp:us", False),
        ("aws:us-west-2", "aws:us-west-2", True),
        ("hpc:derecho", "hpc:derecho", True),
        ("hpc:derecho", "hpc:casper", False),
        ("local", "local", True),
        ("local", "aws:us-west-2", False),
    ],
)
def test_multi_region_contains_its_regions(outer: str, inner: str, contained: bool) -> None:
    """A multi-region contains what it spans and nothing else; each contains itself."""
    assert Region.parse(outer).contains(Region.parse(inner)) is contained


def test_overlap_is_containment_either_way() -> None:
    """A multi-region overlaps its regions and they it; regions side by side do not overlap."""
    whole, part, other = map(Region.parse, ("gcp:us", "gcp:us-central1", "gcp:us-east1"))
    assert whole.overlaps(part)
    assert part.overlaps(whole)
    assert not part.overlaps(other)


@given(st.text(max_size=80) | st.from_regex(r"\A[a-z0-9:._ /-]{0,30}\Z"))
def test_any_text_parses_or_raises_region_error(text: str) -> None:
    """Whatever the text, it is a region with a stable name or a RegionError."""
    try:
        region = Region.parse(text)
    except RegionError:
        return
    assert Region.parse(str(region)) == region
    assert str(region).isprintable()


def test_table_is_read_lazily() -> None:
    """Importing the model does not read the table of regions."""
    code = (
        "from xr_locality.regions.cloud_regions import known_regions\n"
        "import xr_locality.regions.region\n"
        "print(known_regions.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_table_names_are_consistent() -> None:
    """Every row's canonical name is made of its provider and its name."""
    for canonical, row in known_regions().items():
        assert canonical == row.canonical == f"{row.provider}:{row.name}"
    assert list(known_regions()) == sorted(known_regions())
