"""Which link each pair of regions gets."""

from __future__ import annotations

import math

import pytest

from xr_locality.errors import ConfigurationError
from xr_locality.placement.network_links import link as measured_link
from xr_locality.regions.region import Region
from xr_locality.testing import EmulatedLink, EmulatedNetwork, LinkCounts

AWS, GCP, LOCAL = map(Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))
SLOW = EmulatedLink(delay_seconds=0.03, bytes_per_second=25e6)


def test_default_is_the_bundled_table() -> None:
    """Without links given, delays are half the measured round trips; rates are bounded."""
    links = EmulatedNetwork([AWS, GCP]).links
    assert set(links) == {(a, b) for a in (AWS, GCP, LOCAL) for b in (AWS, GCP, LOCAL) if a != b}
    measured = measured_link(AWS, GCP)
    assert links[AWS, GCP].delay_seconds == measured.rtt_seconds / 2
    assert links[AWS, GCP].bytes_per_second == 50e6 < measured.bytes_per_second
    assert links[LOCAL, GCP].bytes_per_second == measured_link(LOCAL, GCP).bytes_per_second


def test_bound_of_the_table_can_be_set() -> None:
    """A link of the table is as fast as measured where that is allowed."""
    link = EmulatedLink.between(AWS, GCP, at_most_bytes_per_second=math.inf)
    assert link.bytes_per_second == measured_link(AWS, GCP).bytes_per_second


def test_one_link_for_all() -> None:
    """A single link holds for every pair, this machine's too."""
    assert set(EmulatedNetwork([AWS, GCP], links=SLOW).links.values()) == {SLOW}


def test_one_way_holds_for_the_way_back() -> None:
    """A link given one way is the way back's too, unless that is given."""
    fast = EmulatedLink(bytes_per_second=1e9)
    links = EmulatedNetwork([AWS, GCP], links={(str(AWS), "GCP us-central1"): SLOW}).links
    assert links[AWS, GCP] == links[GCP, AWS] == SLOW
    assert links[AWS, LOCAL] == EmulatedLink.between(AWS, LOCAL)
    links = EmulatedNetwork([AWS, GCP], links={(AWS, GCP): SLOW, (GCP, AWS): fast}).links
    assert (links[AWS, GCP], links[GCP, AWS]) == (SLOW, fast)


def test_link_of_a_stranger_is_refused() -> None:
    """A link to a region that takes no part is an error that names it."""
    with pytest.raises(ConfigurationError, match=r"'aws:us-west-2' to 'azure:westeurope'"):
        EmulatedNetwork([AWS], links={(AWS, "azure:westeurope"): SLOW})


@pytest.mark.parametrize(
    "figures",
    [
        {"delay_seconds": -0.1},
        {"delay_seconds": math.inf},
        {"bytes_per_second": 0.0},
        {"loss": 1.0},
        {"loss": -0.1},
        {"delay_seconds": math.nan},
    ],
    ids=str,
)
def test_impossible_figures_are_refused(figures: dict[str, float]) -> None:
    """A link that cannot be is refused when it is made."""
    with pytest.raises(ConfigurationError, match="Cannot emulate"):
        EmulatedLink(**figures)


@pytest.mark.parametrize("regions", [["local"], [AWS, "AWS us-west-2"]], ids=["local", "twice"])
def test_impossible_regions_are_refused(regions: list[str]) -> None:
    """A region takes part once, and this machine in any case."""
    with pytest.raises(ConfigurationError, match="each region once"):
        EmulatedNetwork(regions)


def test_counts_are_subtracted_field_by_field() -> None:
    """The difference of two counts is what has crossed between them."""
    later = LinkCounts(nbytes=9, payload_nbytes=8, packets=7, dropped=6)
    earlier = LinkCounts(nbytes=1, payload_nbytes=2, packets=3, dropped=4)
    assert later - earlier == LinkCounts(nbytes=8, payload_nbytes=6, packets=4, dropped=2)
