import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.polling import patience
from support.strangers import Stranger, drip, hang, reply
from xr_locality.regions.probe.client import (
    ProbeCall,
    ProbeConnection,
    UnreachableError,
    in_parallel,
    is_loopback,
)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """Check that the threads of a test end, also those that were given up."""
    yield
    deadline = time.monotonic() + patience(10)
    while any(each.name == "xr-locality-probe" for each in threading.enumerate()):
        assert time.monotonic() < deadline, "a probe's thread stays"
        threading.Event().wait(0.01)


def exchange(seconds: float = 10.0) -> ProbeConnection:
    """Make an exchange with so much time."""
    return ProbeConnection(deadline=time.monotonic() + seconds)


def call(stranger: Stranger, path: str = "/") -> ProbeCall[str]:
    """Ask a stranger for a path; answer with the status."""

    def run(exchange: ProbeConnection) -> str:
        try:
            return str(exchange.send("GET", f"{stranger.url}{path}").status)
        except UnreachableError as err:
            return str(err)

    return ProbeCall(server=stranger.host, run=run, late="late")


def test_answer_is_read(stranger: Callable[..., Stranger]) -> None:
    """Status, headers and body of an answer are given back, whatever the status."""
    server = stranger(reply(403, b"no", X_Amz_Bucket_Region="us-west-2"))
    answer = exchange().send("GET", f"{server.url}/bucket?location=1", {"X-More": "yes"})
    assert (answer.status, answer.body) == (403, b"no")
    assert answer.headers["x-amz-bucket-region"] == "us-west-2"
    ((method, path, headers),) = server.requests
    assert (method, path) == ("GET", "/bucket?location=1")
    assert (headers["host"], headers["x-more"]) == (server.host, "yes")


def test_redirect_is_not_followed(stranger: Callable[..., Stranger]) -> None:
    """A redirect is an answer: nobody is asked whom a stranger names."""
    other = stranger(reply(200))
    server = stranger(reply(307, Location=f"{other.url}/bucket"))
    assert exchange().send("GET", server.url).status == 307
    assert other.requests == []


def test_long_answer_is_cut(stranger: Callable[..., Stranger]) -> None:
    """Only the beginning of a body is read."""
    server = stranger(reply(200, b"x" * 1_000_000))
    assert len(exchange().send("GET", server.url).body) == 65_536


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n",
        b"",
    ],
    ids=["another protocol", "no status", "many headers", "long header", "nothing"],
)
def test_nonsense_is_refused(sent: bytes, stranger: Callable[..., Stranger]) -> None:
    """Whoever speaks no HTTP could not be asked."""

    def answer(handler: Any, stranger: Stranger) -> None:
        handler.wfile.write(sent)
        handler.close_connection = True

    with pytest.raises(UnreachableError, match="could not be asked"):
        exchange().send("GET", stranger(answer).url)


def test_nobody_listens() -> None:
    """A port where nobody listens could not be asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnreachableError, match="could not be asked"):
        exchange().send("GET", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///a", "s3://bucket", "127.0.0.1"])
def test_only_http(url: str) -> None:
    """What is no URL of HTTP is not asked."""
    with pytest.raises(UnreachableError, match="no URL"):
        exchange().send("GET", url)


def test_line_breaks_in_a_path_are_not_sent(stranger: Callable[..., Stranger]) -> None:
    """A path cannot smuggle in a header or a second request."""
    server = stranger(reply(200))
    with pytest.raises(UnreachableError):
        exchange().send("GET", f"{server.url}/a b\x00c")
    assert server.requests == []


def test_link_local_addresses_are_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address where clouds hand out credentials is sent nothing, by whatever name."""
    ours, theirs = socket.socketpair()

    class Connected:
        """A connection to the metadata service."""

        def getpeername(self) -> tuple[str, int]:
            return "169.254.169.254", 80

        def __getattr__(self, name: str) -> Any:
            return getattr(ours, name)

    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: Connected())
    with theirs:
        with pytest.raises(UnreachableError, match="link-local"):
            exchange().send("GET", "http://storage.example.org/latest/meta-data")
        assert theirs.recv(1) == b""


@pytest.mark.parametrize("answer", [hang, drip], ids=["hangs", "drips"])
def test_time_is_bounded(answer: Any, stranger: Callable[..., Stranger]) -> None:
    """A server that hangs, or answers for ever, is given up when its time is over."""
    server = stranger(answer)
    begun = time.monotonic()
    assert in_parallel([call(server)], seconds=0.2) in (["late"], ["it did not answer in time"])
    assert time.monotonic() - begun < patience(5)


def test_tls_that_hangs(stranger: Callable[..., Stranger]) -> None:
    """A server that never shakes hands is given up too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        run = ProbeCall(
            server="a", run=lambda each: str(each.send("HEAD", url).status), late="late"
        )
        assert in_parallel([run], seconds=0.2) == ["late"]


def test_calls_are_made_at_once(stranger: Callable[..., Stranger]) -> None:
    """Calls do not wait for one another: all are under way before the first is answered."""
    barrier = threading.Barrier(8)

    def answer(handler: Any, stranger: Stranger) -> None:
        barrier.wait(20)
        reply(204)(handler, stranger)

    server = stranger(answer)
    assert in_parallel([call(server) for _ in range(8)], seconds=20) == ["204"] * 8


def test_answers_keep_their_order(stranger: Callable[..., Stranger]) -> None:
    """Each answer stands where its call did, also beside one that hangs."""
    fast, slow = stranger(reply(201)), stranger(hang)
    found = in_parallel([call(slow), call(fast), call(slow)], seconds=0.5)
    assert found[1] == "201"
    assert "201" not in (found[0], found[2])


def test_queue_behind_a_server_that_hangs_is_given_up(stranger: Callable[..., Stranger]) -> None:
    """A server that let one call run out of time is not waited for again and again."""
    server = stranger(hang)
    begun = time.monotonic()
    found = in_parallel([call(server) for _ in range(200)], seconds=0.5)
    assert len(found) == 200
    assert set(found) <= {"late", "it did not answer in time"}
    assert len(server.requests) <= 64
    assert time.monotonic() - begun < patience(10)


def test_call_that_breaks_is_answered_as_late() -> None:
    """A mistake of ours in reading a stranger's answer ends no plan."""

    def run(exchange: ProbeConnection) -> str:
        raise ZeroDivisionError

    assert in_parallel([ProbeCall(server="a", run=run, late="late")], seconds=5) == ["late"]
    assert in_parallel([], seconds=5) == []


@pytest.mark.parametrize(
    ("server", "loopback"),
    [
        ("127.0.0.1:9000", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("minio:9000", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_loopback(server: str, loopback: bool) -> None:
    """Servers of this machine are told by their names."""
    assert is_loopback(server) == loopback
