"""No password, token or key is seen anywhere, whether a run succeeds or fails."""

from __future__ import annotations

import json
import pickle
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import xarray as xr

import xr_locality as xl
from support.clusters import kept_open
from support.polling import patience
from xr_locality.testing import Testbed

AWS, GCP, LOCAL = map(xl.Region.parse, ("aws:us-west-2", "gcp:us-central1", "local"))

#: What no request needs here, and nobody may see.
SECRET = "s3-secret-9d1f7c"


@pytest.fixture(scope="module")
def session(testbed: Testbed) -> Iterator[xl.Session]:
    """A session of this module's own, whose clusters hold no other's tasks."""
    rules = {f"s3://{each.objects.bucket}/": str(each.region) for each in testbed.regions}
    endpoints = testbed.endpoints(minimum=1, maximum=1)
    with xl.Session(endpoints, rules=rules, progress=False) as made:
        yield made


@pytest.fixture(scope="module")
def means(testbed: Testbed) -> list[xr.DataArray]:
    """A mean in each region, of stores opened with a secret of their own."""
    means = []
    for region in testbed.regions:
        source = xr.Dataset({"t": (("time", "x"), [[1.0, 2.0], [3.0, 4.0]])}).chunk(time=1)
        url = testbed.write(source, region.region, "secret.zarr")
        options = {**region.objects.storage_options, "key": "somebody", "secret": SECRET}
        opened = xr.open_zarr(url, chunks={}, storage_options=options)
        means.append(opened.t.mean("time"))
    return means


@pytest.fixture
def difference(means: list[xr.DataArray]) -> xr.DataArray:
    """The difference of the means."""
    difference: xr.DataArray = means[0] - means[1]
    return difference


def secrets_of(testbed: Testbed, session: xl.Session) -> list[str]:
    """List what must not be seen."""
    pool = session.resources.pool
    assert pool is not None
    found = [SECRET, *(region.gateway.password for region in testbed.regions)]
    for region in (AWS, GCP):
        key = pool.connections[region].security.tls_key
        assert key is not None
        found += key.splitlines()[1:3]
    assert all(len(each) > 8 for each in found)
    return found


def on_schedulers(session: xl.Session) -> str:
    """Show what schedulers know and show: plugins, tasks, events, and every page of theirs."""

    def look(dask_scheduler: Any = None) -> dict[str, Any]:
        seen = [repr(dask_scheduler.worker_plugins), repr(dask_scheduler.plugins)]
        seen += [repr(dask_scheduler.get_events()), repr(dask_scheduler.identity())]
        seen += [repr(dask_scheduler.tasks), repr(dask_scheduler.clients)]
        seen += [repr(task.run_spec) for task in dask_scheduler.tasks.values()]
        return {
            "seen": "\n".join(seen),
            "keys": [str(key) for key in dask_scheduler.tasks],
            "port": dask_scheduler.services["dashboard"].port,
        }

    async def ask(connection: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await connection.client.run_on_scheduler(look)
        return answer

    shown = []
    assert session.resources.pool is not None
    assert session.resources.loop is not None
    for region in (AWS, GCP):
        answer = session.resources.loop.run(ask(session.resources.pool.connections[region]))
        shown.append(answer["seen"])
        assert answer["keys"]
        pages = ["info/main/workers.html", "info/main/logs.html", "json/identity.json"]
        pages += [f"info/task/{urllib.parse.quote(key, safe='')}.html" for key in answer["keys"]]
        for page in pages:
            url = f"http://127.0.0.1:{answer['port']}/{page}"
            try:
                with urllib.request.urlopen(url, timeout=patience(10)) as response:
                    shown.append(response.read().decode())
            except urllib.error.HTTPError as error:
                # Some pages of distributed's own fail; what they show then counts too.
                shown.append(error.read().decode())
    return "\n".join(shown)


def shown_by(plan: xl.Plan) -> Iterator[str]:
    """Show a plan in every way."""
    yield from (repr(plan), str(plan), plan.explain(), plan._repr_html_())
    yield from (json.dumps(plan.to_dict()), repr(plan.sources), repr(list(plan.transfers)))
    yield from (repr(plan.partitions), repr(plan.boundaries), repr(plan.replicas))


def raised_by(call: Any) -> str:
    """Show all of an exception: text, notes, causes, arguments."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011  # Whatever it is.
        call()
    error = raised.value
    return "\n".join([*traceback.format_exception(error), repr(error), repr(vars(error))])


def test_of_runs_that_succeed(
    testbed: Testbed,
    session: xl.Session,
    means: list[xr.DataArray],
    difference: xr.DataArray,
    caplog: Any,
) -> None:
    """Plans, reports, logs, schedulers and their pages show no secret."""
    caplog.set_level("DEBUG")
    session.compute(difference)
    (relayed,) = session.compute(difference, transfer="relay")
    held = session.persist(difference, *means)
    report = session.reports[0]
    shown = [*shown_by(report.plan), caplog.text, repr(session), on_schedulers(session)]
    for each in session.reports:
        shown += [repr(each), str(each), each._repr_html_(), json.dumps(each.to_dict())]
    shown += [repr(held), held[0]._repr_html_(), repr(relayed)]
    assert session.resources.pool is not None
    for connection in session.resources.pool.connections.values():
        shown += [repr(connection), repr(connection.route), repr(connection.endpoint)]
        shown += [repr(connection.security), repr(connection.client)]
    assert [each for each in secrets_of(testbed, session) if each in "\n".join(shown)] == []


def test_of_runs_that_fail(
    testbed: Testbed, session: xl.Session, difference: xr.DataArray, caplog: Any
) -> None:
    """Exceptions of tasks, of targets, of gateways and of pickling show no secret."""
    caplog.set_level("DEBUG")
    session.compute(difference)
    plan = session.reports[-1].plan

    def fail(block: Any) -> Any:
        raise RuntimeError("a task of the user's")

    broken = difference.copy(data=difference.data.map_blocks(fail, dtype="f8"))
    objects = testbed[GCP].objects
    nowhere = "s3://no-such-bucket/a.zarr"
    wrong = xl.Session(
        {str(GCP): {**testbed.config()["endpoints"][str(GCP)], "auth": _password(SECRET)}},
        missing_endpoint="nearest",
        rules=session.settings().rules,
    )
    options = {**objects.storage_options, "key": "somebody", "secret": SECRET}
    runs = len(session.reports)

    def write() -> None:
        with kept_open(session):
            difference.to_dataset(name="t").locality.to_zarr(
                nowhere, policy={"rules": {nowhere: str(GCP)}}, storage_options=options
            )

    with wrong:
        shown = [
            raised_by(lambda: session.compute(broken)),
            raised_by(write),
            raised_by(lambda: wrong.compute(difference)),
            raised_by(lambda: pickle.dumps(session)),
            raised_by(lambda: pickle.dumps(plan)),
            repr(wrong),
            caplog.text,
        ]
    assert "a task of the user's" in shown[0]
    assert "bucket does not exist" in shown[1]
    assert len(session.reports) == runs
    assert [each for each in secrets_of(testbed, session) if each in "\n".join(shown)] == []


def _password(password: str) -> dict[str, str]:
    return {"type": "basic", "username": "somebody", "password": password}


def test_names_cannot_be_guessed(
    testbed: Testbed, session: xl.Session, difference: xr.DataArray
) -> None:
    """Links and runs have random names; each link has its own key, and runs differ."""
    session.compute(difference)
    session.compute(difference)
    links = session.resources.links
    assert links is not None
    opened = [way.opened for way in links._links if way.opened is not None]
    assert opened
    assert len({each.name for each in opened}) == len(opened)
    assert len({each.share for each in opened}) == len(opened)
    for each in opened:
        assert len(each.name.removeprefix("xr-locality-")) >= 16
        assert len(each.share) == 32
        assert each.share.hex() not in repr(each)


def test_connections_are_encrypted(session: xl.Session, difference: xr.DataArray) -> None:
    """Both ways to a gateway's schedulers require TLS and the cluster's own certificate."""
    import ssl

    session.compute(difference)
    assert session.resources.pool is not None
    certificates = set()
    for region in (AWS, GCP):
        connection = session.resources.pool.connections[region]
        context = connection.connection_args["ssl_context"]
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert connection.connection_args["require_encryption"]
        certificates.add(connection.security.tls_cert)
    assert len(certificates) == 2
