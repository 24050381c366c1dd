"""Run one region's object server on a directory: the little of S3 that reading needs, fast.

Objects are files, and the kernel sends them. Whole objects can be put and deleted; there
are no uploads in parts, no versions, no conditions and no access rights. Run as a
script, by path, so that the process imports nothing of xr-locality but this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

MOST_KEYS = 1000
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Bucket:
    """A directory as a bucket."""

    def __init__(self, directory: Path, *, name: str, location: str) -> None:
        self._directory = directory
        self.name = name
        self.location = location

    def path(self, key: str) -> Path | None:
        """Find the file of a key; None for a key that names no place in the directory."""
        parts = key.split("/")
        return None if {"", ".", ".."} & set(parts) else self._directory.joinpath(*parts)

    def keys(self, prefix: str) -> Iterator[str]:
        """List keys with a prefix, in order."""
        inside = self._directory / prefix.rpartition("/")[0]
        for directory, names, files in os.walk(inside):
            names.sort()
            for file in files:
                key = Path(directory, file).relative_to(self._directory).as_posix()
                if key.startswith(prefix):
                    yield key

    def names(self, prefix: str) -> Iterator[str]:
        """List what directly follows a prefix: keys, and with a slash what has keys below."""
        place = prefix.rpartition("/")[0]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(self._directory / place):
                name = f"{place}/{entry.name}" if place else entry.name
                if name.startswith(prefix):
                    yield f"{name}/" if entry.is_dir() else name

    def put(self, path: Path, body: Any, nbytes: int) -> None:
        """Write an object, whole or not at all."""
        with tempfile.NamedTemporaryFile(dir=self._directory.parent, delete=False) as file:
            remaining = nbytes
            while remaining and (part := body.read(min(remaining, 2**20))):
                file.write(part)
                remaining -= len(part)
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another thread may delete the directory's last object meanwhile.
            with contextlib.suppress(FileNotFoundError):
                Path(file.name).replace(path)
                return

    def delete(self, path: Path) -> None:
        """Delete an object, and directories that it leaves empty: a bucket has none."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            path.unlink()
            with contextlib.suppress(OSError):
                for directory in path.parents:
                    if directory == self._directory:
                        return
                    directory.rmdir()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    bucket: Bucket
    access_log: int

    def do_GET(self) -> None:
        """Send an object or a part of it, a listing, or where the bucket is."""
        key, query = self._parse()
        if key:
            self._send_object(key)
        elif "location" in query:
            place = f"<LocationConstraint>{escape(self.bucket.location)}</LocationConstraint>"
            self._answer(HTTPStatus.OK, place.encode())
        elif query.get("list-type") == "2":
            self._answer(HTTPStatus.OK, self._listing(query))
        else:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented")

    def do_HEAD(self) -> None:
        """Describe an object, or the bucket."""
        key, _ = self._parse()
        if key:
            self._send_object(key)
        else:
            self._answer(HTTPStatus.OK)

    def do_PUT(self) -> None:
        """Take a whole object."""
        key, query = self._parse()
        nbytes = int(self.headers.get("Content-Length", 0))
        path = self.bucket.path(key)
        in_parts = "partNumber" in query or "x-amz-copy-source" in self.headers
        if path is None or in_parts or "aws-chunked" in self.headers.get("Content-Encoding", ""):
            self.close_connection = True
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented", logged=nbytes)
            return
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        self.bucket.put(path, self.rfile, nbytes)
        self._answer(HTTPStatus.OK, headers={"ETag": etag(path.stat())}, logged=nbytes)

    def do_POST(self) -> None:
        """Delete several objects."""
        _, query = self._parse()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "delete" not in query:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented")
            return
        for element in ET.fromstring(body).iter():
            if element.tag.rpartition("}")[2] == "Key":
                self._delete(element.text or "")
        self._answer(HTTPStatus.OK, b"<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        """Delete an object."""
        key, _ = self._parse()
        self._delete(key)
        self._answer(HTTPStatus.NO_CONTENT)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing: `_log` does."""

    def _parse(self) -> tuple[str, dict[str, str]]:
        """Take the key and the query out of the request; the bucket is the only one."""
        parts = urlsplit(self.path)
        query = {
            name: values[-1]
            for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        return unquote(parts.path).lstrip("/").partition("/")[2], query

    def _send_object(self, key: str) -> None:
        path = self.bucket.path(key)
        try:
            file = path.open("rb") if path is not None and path.is_file() else None
        except FileNotFoundError:
            file = None
        if file is None:
            self._refuse(HTTPStatus.NOT_FOUND, "NoSuchKey")
            return
        with file:
            facts = os.fstat(file.fileno())
            start, stop = 0, facts.st_size
            status = HTTPStatus.OK
            headers = {
                "ETag": etag(facts),
                "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
                "Accept-Ranges": "bytes",
            }
            if asked := RANGE.fullmatch(self.headers.get("Range", "")):
                start, stop = span(asked, facts.st_size)
                if start >= stop:
                    self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange")
                    return
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{facts.st_size}"
            self._head(status, nbytes=stop - start, headers=headers)
            if self.command == "GET" and stop > start:
                self.connection.sendfile(file, start, stop - start)

    def _listing(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token", query.get("start-after", ""))
        found = self.bucket.names(prefix) if delimiter == "/" else self.bucket.keys(prefix)
        most = int(query.get("max-keys", MOST_KEYS))
        names = sorted(name for name in found if name > after)
        lines = []
        for name in names[:most]:
            if name.endswith("/"):
                lines.append(f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>")
                continue
            path = self.bucket.path(name)
            assert path is not None
            facts = path.stat()
            changed = datetime.fromtimestamp(facts.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            lines.append(
                f"<Contents><Key>{quote(name)}</Key><LastModified>{changed}</LastModified>"
                f"<ETag>{escape(etag(facts))}</ETag><Size>{facts.st_size}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        more = len(names) > most
        if more:
            lines.append(
                f"<NextContinuationToken>{escape(names[most - 1])}</NextContinuationToken>"
            )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.bucket.name}</Name><Prefix>{quote(prefix)}</Prefix>"
            f"<Delimiter>{quote(delimiter, safe='/')}</Delimiter><EncodingType>url</EncodingType>"
            f"<KeyCount>{len(names[:most])}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{''.join(lines)}</ListBucketResult>"
        ).encode()

    def _delete(self, key: str) -> None:
        path = self.bucket.path(key)
        if path is not None:
            self.bucket.delete(path)

    def _refuse(self, status: HTTPStatus, code: str, *, logged: int | None = None) -> None:
        body = f"<Error><Code>{code}</Code><Message>{status.phrase}</Message></Error>"
        self._answer(status, body.encode(), logged=logged)

    def _answer(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        logged: int | None = None,
    ) -> None:
        self._head(status, nbytes=len(body), headers=headers or {}, logged=logged)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(
        self,
        status: HTTPStatus,
        *,
        nbytes: int,
        headers: dict[str, str],
        logged: int | None = None,
    ) -> None:
        # A client that has the answer finds its request in the log.
        self._log(status, nbytes if logged is None else logged)
        self.send_response(status)
        self.send_header("x-amz-bucket-region", self.bucket.location)
        self.send_header("Content-Length", str(nbytes))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _log(self, status: HTTPStatus, nbytes: int) -> None:
        path, _, query = self.path.partition("?")
        record = {
            "method": self.command,
            "path": unquote(path),
            "query": query,
            "status": int(status),
            "nbytes": 0 if self.command == "HEAD" else nbytes,
            "user_agent": self.headers.get("User-Agent", ""),
        }
        # One O_APPEND write a line keeps the lines of several threads whole.
        os.write(self.access_log, json.dumps(record).encode() + b"\n")


def etag(facts: os.stat_result) -> str:
    """Make what changes with an object."""
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def span(asked: re.Match[str], nbytes: int) -> tuple[int, int]:
    """Return the first byte of a range and the one after its last; an empty span if invalid."""
    first, last = asked.groups()
    if not first:
        return (max(nbytes - int(last), 0), nbytes) if last else (0, 0)
    return int(first), min(int(last) + 1, nbytes) if last else nbytes


class FileServer(ThreadingHTTPServer):
    """HTTP server on a socket that is already bound."""

    request_queue_size = 128

    def __init__(self, descriptor: int, handler: type[Handler]) -> None:
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a reader that hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor, listening")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--location", required=True)
    parser.add_argument("--access-log", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    Handler.bucket = Bucket(given.directory, name=given.bucket, location=given.location)
    Handler.access_log = os.open(given.access_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    FileServer(given.socket, Handler).serve_forever()


if __name__ == "__main__":
    main()
