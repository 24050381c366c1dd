"""Run one region's object server: moto's S3, with an access log of its own.

Run as a script, by path, so that the process imports nothing of xr-locality
but this file.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


PIECE_NBYTES = 2**18


class SlowLink:
    """Paces what is sent through it, all answers together, as a slow network does.

    The network's bytes are only delayed, not counted: requests and headers pass at once.
    """

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def send(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a body on piece by piece, each when the link would have delivered it."""
        try:
            for part in body:
                for start in range(0, len(part), PIECE_NBYTES):
                    piece = part[start : start + PIECE_NBYTES]
                    time.sleep(self._delay(len(piece)))
                    yield piece
        finally:
            if hasattr(body, "close"):
                body.close()

    def _delay(self, nbytes: int) -> float:
        """Queue so many bytes; return the seconds until they are through."""
        now = time.monotonic()
        with self._lock:
            self._free_at = max(self._free_at, now) + nbytes / self._bytes_per_second
            return self._free_at - now


class Faults:
    """WSGI middleware that answers some requests with an error, as an overloaded store does.

    ``POST /.faults?status=503&times=10`` says how many of the next ones, but for ``HEAD``.
    """

    PATH = "/.faults"

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._status = HTTPStatus.OK
        self._left = 0
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or fail to."""
        if environ["PATH_INFO"] == self.PATH:
            asked = dict(parse_qsl(environ["QUERY_STRING"]))
            with self._lock:
                self._status, self._left = HTTPStatus(int(asked["status"])), int(asked["times"])
            return self._answer(HTTPStatus.NO_CONTENT, start_response)
        with self._lock:
            failing = self._left > 0 and environ["REQUEST_METHOD"] != "HEAD"
            self._left -= failing
        if failing:
            return self._answer(self._status, start_response)
        return self._application(environ, start_response)

    @staticmethod
    def _answer(status: HTTPStatus, start_response: StartResponse) -> Iterable[bytes]:
        start_response(f"{status.value} {status.phrase}", [("content-length", "0")])
        return []


class AccessLog:
    """WSGI middleware that writes one JSON line a request.

    The line is written before the answer leaves, so that a client that has the answer
    finds its request in the log. Answers to clients outside of the region go through
    a link, if there is one.
    """

    def __init__(
        self, application: WSGIApplication, path: str, *, inside: str, link: SlowLink | None
    ) -> None:
        self._application = application
        self._inside = inside
        self._link = link
        # One O_APPEND write a line keeps the lines of several threads whole.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, and write it down."""
        answered: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            answered["status"] = int(status.split(maxsplit=1)[0])
            answered["headers"] = {name.lower(): value for name, value in headers}
            return start_response(status, headers, *rest)

        body = self._application(environ, start)
        length = answered["headers"].get("content-length")
        if environ["REQUEST_METHOD"] == "HEAD":
            length = 0
        elif environ["REQUEST_METHOD"] == "PUT":
            length = environ.get("CONTENT_LENGTH")
        record = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8"),
            "query": environ["QUERY_STRING"],
            "status": answered["status"],
            "nbytes": None if length in (None, "") else int(length),
            "user_agent": environ.get("HTTP_USER_AGENT", ""),
        }
        os.write(self._file, json.dumps(record).encode() + b"\n")
        if self._link is None or self._inside in record["user_agent"].split():
            return body
        return self._link.send(body)


class QuietRequestHandler(WSGIRequestHandler):
    """Leaves the log of requests to `AccessLog`."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing."""


def create_bucket(application: WSGIApplication, name: str, *, location: str) -> None:
    """Make a public bucket whose ``HEAD`` answers its location.

    The location is the header ``x-amz-bucket-region``.
    """
    # us-east-1 is S3's default and may not be written out.
    constraint = f"<LocationConstraint>{location}</LocationConstraint>"
    configuration = f"<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>"
    anyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:*"}
    policy = {"Version": "2012-10-17", "Statement": [{**anyone, "Resource": "*"}]}
    client = Client(application)
    for path, body in (
        (f"/{name}", None if location == "us-east-1" else configuration),
        (f"/{name}?policy", json.dumps(policy)),
    ):
        answer = client.put(path, data=body)
        if answer.status_code >= 300:
            raise SystemExit(f"PUT {path!r} was answered {answer.status}: {answer.text}")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor, listening")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--location", required=True)
    parser.add_argument("--access-log", required=True)
    parser.add_argument("--inside", required=True, help="word of the User-Agent of its readers")
    parser.add_argument("--outside-bytes-per-second", type=float)
    given = parser.parse_args()

    application = DomainDispatcherApplication(create_backend_app)
    create_bucket(application, given.bucket, location=given.location)
    outside = given.outside_bytes_per_second
    link = None if outside is None else SlowLink(outside)
    server = make_server(
        "127.0.0.1",
        0,
        AccessLog(Faults(application), given.access_log, inside=given.inside, link=link),
        threaded=True,
        request_handler=QuietRequestHandler,
        fd=given.socket,
    )
    server.serve_forever()


if __name__ == "__main__":
    main()
