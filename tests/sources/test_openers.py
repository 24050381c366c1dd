import logging
from collections.abc import Callable
from itertools import count
from typing import Any

import dask.dataframe as dd
import pytest

import xr_locality as xl
from support.openers import OPENERS, Opener
from support.places import Place
from xr_locality.graph.collections import unpack
from xr_locality.graph.layers import embedded_objects
from xr_locality.regions.region import Region
from xr_locality.sources import Found, find_sources

OREGON = Region.parse("aws:us-west-2")

CASES = [
    pytest.param(opener, protocol, id=f"{name}-{protocol}")
    for name, opener in OPENERS.items()
    for protocol in sorted(opener.protocols)
]

_numbers = count()


@pytest.fixture
def opened(
    opener: Opener,
    protocol: str,
    places: Callable[[str], Place],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Write data to a place of their own, and open them."""
    place = places(protocol).below(str(next(_numbers)))
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)
    opened = opener.open(place)
    yield place.below(opener.name), opened
    if hasattr(opened, "close"):
        opened.close()


def sources_of(collection: Any) -> tuple[Found, ...]:
    """Find what a collection's layers read, as a plan does."""
    found: dict[Any, Found] = {}
    for part in unpack([collection]).parts:
        for layer in part.graph.layers.values():
            found.update({each.store: each for each in find_sources(embedded_objects(layer))})
    return tuple(found.values())


@pytest.mark.parametrize(("opener", "protocol"), CASES)
def test_what_users_open_is_found(
    opener: Opener, protocol: str, opened: tuple[Place, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """However data are opened, the graph tells where they lie, and shows no secret."""
    place, collection = opened
    with caplog.at_level(logging.DEBUG, logger="xr_locality"):
        found = sources_of(collection)
        stored = [each.stored_nbytes() for each in found]
    if opener.found is None:
        assert [each.store.protocol for each in found] == ["unknown"]
    else:
        expected = place.store / opener.found
        (only,) = found
        if isinstance(collection, dd.DataFrame):
            assert only.store.root == expected.root
            assert only.store.path.startswith(expected.path)
        else:
            assert only.store == expected
        assert all(nbytes is None or nbytes > 0 for nbytes in stored)
    shown = repr(found) + "".join(map(str, found)) + caplog.text
    assert not any(secret in shown for secret in place.secrets)


@pytest.mark.parametrize(("opener", "protocol"), CASES)
def test_what_users_open_is_planned(
    opener: Opener, protocol: str, opened: tuple[Place, Any]
) -> None:
    """Data that a rule puts in a region are read there."""
    place, collection = opened
    if opener.found is None:
        plan = xl.plan(collection, endpoints={str(OREGON): None}, unknown_region="local")
        assert [source.region for source in plan.sources] == [None]
        return
    store = (place.store / opener.found) if protocol in ("file", "memory") else place.store
    plan = xl.plan(collection, endpoints={str(OREGON): None}, rules={store.url: str(OREGON)})
    assert [source.region for source in plan.sources] == [OREGON]
