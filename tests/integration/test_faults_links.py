"""Links that break: to a region, and between its workers and those of another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import xarray as xr

import xr_locality as xl
from support.clusters import kept_open
from support.cut_link import CutLink
from support.hearing import IOWA, When
from support.polling import patience
from support.set_timeouts import SetTimeouts
from xr_locality import errors
from xr_locality.execution.transport import cluster_links
from xr_locality.testing import Testbed


@pytest.fixture(scope="module")
def link(testbed: Testbed) -> Iterator[CutLink]:
    """The only way to Iowa's schedulers."""
    proxy = urlsplit(testbed[IOWA].gateway.proxy_address)
    assert proxy.hostname is not None
    assert proxy.port is not None
    with CutLink(proxy.hostname, proxy.port) as cut:
        yield cut


@pytest.fixture(scope="module")
def open_session(testbed: Testbed, link: CutLink) -> Iterator[xl.Session]:
    """A session that reaches Iowa by that way."""
    endpoints: dict[xl.Region, Any] = dict(testbed.endpoints(minimum=1, maximum=1))
    iowa = testbed[IOWA].gateway
    endpoints[IOWA] = xl.GatewayEndpoint(
        iowa.address,
        proxy_address=f"127.0.0.1:{link.port}",
        auth=iowa.auth,
        minimum=1,
        maximum=1,
    )
    session = xl.Session(endpoints, retries=1, transfer="direct")
    try:
        yield session
    finally:
        link.mend()
        session.close()
    assert [each.gateway.list_clusters() for each in testbed.regions] == [(), ()]


@pytest.fixture
def session(open_session: xl.Session, link: CutLink) -> Iterator[xl.Session]:
    """That session, whole, as the current one."""
    link.mend()
    with kept_open(open_session) as session:
        yield session
    link.mend()


def cut_for(link: CutLink, seconds: float) -> None:
    """Cut a link, and mend it again."""
    link.cut()
    threading.Event().wait(seconds)
    link.mend()


def name_of_cluster(session: xl.Session) -> str | None:
    """Say which of the gateway's clusters Iowa's is."""
    assert session.resources.pool is not None
    return session.resources.pool.connections[IOWA].cluster_name


def test_region_out_of_sight_for_a_while_is_found_again(
    session: xl.Session,
    link: CutLink,
    slow: xr.DataArray,
    monkeypatch: pytest.MonkeyPatch,
    set_timeouts: SetTimeouts,
) -> None:
    """Cut off for 5 s, the same cluster is sent again what is unfinished."""
    # On a busy machine it takes longer to be seen again.
    set_timeouts(liveness_return=60.0)
    slow.locality.compute()
    before = name_of_cluster(session)
    when = When(lambda: cut_for(link, 5.0))
    result = slow.locality.compute(callbacks=[when])
    when.join()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))
    assert when.lost == 1
    assert name_of_cluster(session) == before


@pytest.fixture
def between(
    session: xl.Session, testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CutLink]:
    """The way of the workers alone to Iowa's scheduler."""
    proxy = urlsplit(testbed[IOWA].gateway.proxy_address)
    assert proxy.hostname is not None
    assert proxy.port is not None
    with CutLink(proxy.hostname, proxy.port) as cut:

        def route_to(source: Any) -> tuple[str, Any]:
            name = source.scheduler_address.rpartition("/")[2]
            return f"gateway://127.0.0.1:{cut.port}/{name}", source.security

        monkeypatch.setattr(cluster_links, "route_to", route_to)
        assert session.resources.links is not None
        # So that this test's way is opened.
        session.resources.links._links.clear()
        yield cut
        session.resources.links._links.clear()


def test_link_between_workers_cut_for_a_while_costs_time(
    session: xl.Session, between: CutLink, slow: xr.DataArray
) -> None:
    """A link that is cut for 5 s is tried again, and nothing is lost."""
    slow.locality.compute()
    when = When(lambda: cut_for(between, 5.0))
    result = slow.locality.compute(callbacks=[when])
    when.join()
    xr.testing.assert_identical(result, slow.compute(scheduler="sync"))
    assert when.lost == 0


@pytest.mark.parametrize("how", ["cut", "stall"])
def test_link_between_workers_cut_for_good_is_one_error(
    session: xl.Session,
    between: CutLink,
    slow: xr.DataArray,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """A link that stays away ends the run in time, with an error that says which it was."""
    assert session.resources.links is not None
    monkeypatch.setattr(session.resources.links, "patience_seconds", 3.0)
    slow.locality.compute()
    when = When(getattr(between, how))
    started = time.monotonic()
    with pytest.raises(errors.TransferError, match="gcp:us-central1") as caught:
        slow.locality.compute(callbacks=[when])
    # A look every 5 s, and twice the patience: at first, and for the one retry.
    assert time.monotonic() - started < patience(45)
    assert caught.value.source == str(IOWA)
    assert caught.value.target == "aws:us-west-2"
    assert "gateway" in caught.value.endpoint
    assert repr(caught.value.key) in str(caught.value)
    when.join()
    assert when.lost == 0


def test_region_out_of_sight_for_good_is_one_error(
    session: xl.Session,
    testbed: Testbed,
    link: CutLink,
    slow: xr.DataArray,
    set_timeouts: SetTimeouts,
) -> None:
    """A region that stays away ends the run in time; its cluster is ended."""
    set_timeouts(liveness_return=4.0, reopen=4.0)
    slow.locality.compute()
    when = When(link.cut)
    started = time.monotonic()
    with pytest.raises(errors.EndpointError, match="gcp:us-central1") as caught:
        slow.locality.compute(callbacks=[when])
    assert time.monotonic() - started < patience(60)
    assert "opened again" in " ".join(caught.value.__notes__)
    when.join()
    link.mend()
    xr.testing.assert_identical(slow.locality.compute(), slow.compute(scheduler="sync"))
