import logging
import threading
from typing import Any

import pytest

from xr_locality.regions import Region, Store, Tag, TagRegistry

WEST = Region.parse("aws:us-west-2")
EAST = Region.parse("aws:us-east-1")
IOWA = Region.parse("gcp:us-central1")


def tag(region: Region, evidence: str = "somebody said so") -> Tag:
    """Make a tag."""
    return Tag(region=region, evidence=evidence)


@pytest.fixture
def registry() -> TagRegistry:
    """Make a registry of the test's own."""
    return TagRegistry()


def store(url: str, **options: Any) -> Store:
    """Make a store."""
    return Store.from_url(url, options)


def test_tag_holds_below_its_store(registry: TagRegistry) -> None:
    """What is said of a store holds for everything in it, and for nothing beside it."""
    registry.add(store("s3://bucket/a.zarr"), tag(WEST), kind="catalog")
    assert registry.find(store("s3://bucket/a.zarr")).region == WEST
    assert registry.find(store("s3://bucket/a.zarr/x/0.0")).region == WEST
    for beside in (
        "s3://bucket/a.zarr2",
        "s3://bucket",
        "s3://bucket2/a.zarr",
        "gs://bucket/a.zarr",
    ):
        assert registry.find(store(beside)) is None


def test_longest_prefix_wins(registry: TagRegistry) -> None:
    """Of several tags above a store, the nearest counts."""
    registry.add(store("s3://bucket"), tag(WEST), kind="catalog")
    registry.add(store("s3://bucket/a/b"), tag(EAST), kind="catalog")
    assert registry.find(store("s3://bucket/a/b/c")).region == EAST
    assert registry.find(store("s3://bucket/a/c")).region == WEST


def test_endpoint_tells_buckets_apart(registry: TagRegistry) -> None:
    """One bucket name at two services may be in two regions."""
    registry.add(store("s3://data", endpoint_url="http://one"), tag(WEST), kind="catalog")
    registry.add(store("s3://data", endpoint_url="http://two"), tag(EAST), kind="catalog")
    assert registry.find(store("s3://data/x", endpoint_url="http://one")).region == WEST
    assert registry.find(store("s3://data/x", endpoint_url="http://two")).region == EAST
    assert registry.find(store("s3://data/x")) is None


def test_account_tells_containers_apart(registry: TagRegistry) -> None:
    """One container name in two accounts may be in two regions."""
    registry.add(store("az://data", account_name="one"), tag(WEST), kind="catalog")
    assert registry.find(store("az://data/x", account_name="one")).region == WEST
    assert registry.find(store("az://data/x", account_name="two")) is None


def test_hand_goes_before_catalog(registry: TagRegistry) -> None:
    """A person's word counts before a catalog's, even for a shorter prefix."""
    registry.add(store("s3://bucket/a.zarr"), tag(WEST), kind="catalog")
    registry.add(store("s3://bucket"), tag(EAST), kind="hand")
    assert registry.find(store("s3://bucket/a.zarr")).region == EAST
    assert registry.find(store("s3://bucket/a.zarr"), kind="catalog").region == WEST


def test_last_word_counts_and_a_change_is_logged(
    registry: TagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Tagging a store again replaces the tag; another region is worth a warning."""
    place = store("s3://bucket/a.zarr")
    with caplog.at_level(logging.WARNING):
        registry.add(place, tag(WEST, "catalog 'one'"), kind="catalog")
        registry.add(place, tag(WEST, "catalog 'one'"), kind="catalog")
        assert not caplog.records
        registry.add(place, tag(EAST, "catalog 'two'"), kind="catalog")
    assert registry.find(place).region == EAST
    assert "catalog 'one'" in caplog.text
    assert "catalog 'two'" in caplog.text


def test_remove_and_clear(registry: TagRegistry) -> None:
    """A tag can be taken back; clearing forgets stores and layers."""
    place = store("s3://bucket/a.zarr")
    registry.add(place, tag(WEST), kind="catalog")
    registry.add(place, tag(EAST), kind="hand")
    registry.remove(place, kind="hand")
    assert registry.find(place).region == WEST
    registry.remove(place)
    registry.remove(place)
    assert registry.find(place) is None
    registry.add(place, tag(WEST), kind="hand")
    registry.tag_layers(["x"], WEST)
    registry.clear()
    assert registry.find(place) is None
    assert registry.layer_tag("x") is None


def test_layers_are_tagged_by_name(registry: TagRegistry) -> None:
    """A layer that holds no store is found again by its name."""
    registry.tag_layers(["array-1", "array-2"], WEST)
    registry.tag_layers(["array-2"], EAST)
    assert registry.layer_tag("array-1") == WEST
    assert registry.layer_tag("array-2") == EAST
    assert registry.layer_tag("array-3") is None


def test_oldest_tags_are_forgotten() -> None:
    """A registry keeps no more than its maximum, and drops what was said longest ago."""
    registry = TagRegistry(maximum=2)
    for n in (1, 2, 1, 3):
        registry.add(store(f"s3://bucket/{n}"), tag(WEST), kind="catalog")
    registry.tag_layers(["a", "b", "c"], WEST)
    kept = [n for n in (1, 2, 3) if registry.find(store(f"s3://bucket/{n}"))]
    assert kept == [1, 3]
    assert [name for name in "abc" if registry.layer_tag(name)] == ["b", "c"]


def test_threads_do_not_lose_tags(registry: TagRegistry) -> None:
    """Tags set by many threads at once are all found."""
    barrier = threading.Barrier(4)

    def work(n: int) -> None:
        barrier.wait()
        for i in range(200):
            registry.add(store(f"s3://bucket-{n}/{i}"), tag(IOWA), kind="catalog")
            registry.find(store(f"s3://bucket-{n}/{i}/x"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(registry.find(store(f"s3://bucket-{n}/{i}")) for n in range(4) for i in range(200))
