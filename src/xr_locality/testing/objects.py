"""The object server of an emulated region, and its access log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

from xr_locality.errors import EndpointError
from xr_locality.regions.region import Region
from xr_locality.testing.hosts import LOOPBACK, Host
from xr_locality.testing.servers import Server, ask

__all__ = [
    "CLIENT",
    "OBJECT_SERVERS",
    "AccessRecord",
    "FileObjectServer",
    "ObjectServer",
    "bucket_name",
    "reader_environment",
]

#: The reader of a request that came from no emulated region.
CLIENT: Final = "client"

# How botocore writes AWS_SDK_UA_APP_ID into the User-Agent. A colon is not
# allowed in it and a hash is, and no region's name has a hash.
_APPLICATION_VARIABLE: Final = "AWS_SDK_UA_APP_ID"
_APPLICATION: Final = re.compile(r"(?:^|\s)app/(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
    """One request that an object server answered."""

    method: str
    #: Decoded, with the bucket: ``/bucket/a.zarr/tp/c/0``.
    path: str
    #: As sent, without the question mark.
    query: str
    status: int
    #: Bytes of the body: received with a PUT, sent otherwise; None where not known.
    nbytes: int | None
    #: The region whose workers asked, or ``"client"``.
    reader: str

    @property
    def key(self) -> str:
        """The object's key in its bucket; empty for the bucket itself."""
        return self.path.lstrip("/").partition("/")[2]

    @classmethod
    def from_json(cls, line: str) -> AccessRecord:
        """Read one line of an access log."""
        fields: dict[str, Any] = json.loads(line)
        found = _APPLICATION.search(fields.pop("user_agent"))
        return cls(reader=found[1].replace("#", ":") if found else CLIENT, **fields)


def reader_environment(region: Region) -> Mapping[str, str]:
    """Return the environment whose S3 requests carry the region that they come from."""
    return {_APPLICATION_VARIABLE: str(region).replace(":", "#")}


def bucket_name(region: Region) -> str:
    """Name a region's bucket, within what S3 allows."""
    return re.sub(r"[^a-z0-9]+", "-", str(region))[:63].strip("-")


class ObjectServer(Server):
    """An S3 server with one bucket, which answers its own region.

    Reading and writing need no credentials. Objects are kept in the server's memory.

    Parameters
    ----------
    region : Region
        Whose server it is.
    directory : Path
        Where it keeps its log and its other files.
    environ : Mapping[str, str]
        The environment of the process.
    host : Host, optional
        Where it runs. By default this machine, for itself alone.
    outside_bytes_per_second : float, optional
        Bytes a second that all readers outside of the region get together. By
        default as many as the machine can send.
    """

    kind: ClassVar[str] = "object server"
    #: Whether it can send slowly to readers outside of the region.
    slows_outsiders: ClassVar[bool] = True
    _script: ClassVar[Path] = Path(__file__).with_name("serve_objects.py")

    def __init__(
        self,
        *,
        region: Region,
        directory: Path,
        environ: Mapping[str, str],
        host: Host = LOOPBACK,
        outside_bytes_per_second: float | None = None,
    ) -> None:
        super().__init__(region=region, directory=directory, environ=environ, host=host)
        self._outside_bytes_per_second = outside_bytes_per_second
        #: The name of the only bucket.
        self.bucket = bucket_name(region)
        self._port = 0
        self._forgotten = 0

    @property
    def endpoint_url(self) -> str:
        """Where the server listens."""
        return f"http://{self.host.address}:{self._port}"

    @property
    def storage_options(self) -> dict[str, Any]:
        """What s3fs needs to reach the server, as xarray and Intake take it."""
        return {"anon": True, "endpoint_url": self.endpoint_url}

    def url(self, key: str) -> str:
        """Return the URL of an object or a prefix of the bucket.

        Parameters
        ----------
        key : str
            Such as ``"a.zarr"``.

        Returns
        -------
        str
            ``s3://…``, to be used with `storage_options`.
        """
        return f"s3://{self.bucket}/{key.lstrip('/')}"

    def writing(self, key: str) -> tuple[str, dict[str, Any] | None]:
        """Return where this machine writes an object: a URL or path, and its options."""
        return self.url(key), self.storage_options

    def requests(self) -> tuple[AccessRecord, ...]:
        """List the requests since the start or the last `clear_requests`, in order.

        Returns
        -------
        tuple of AccessRecord
            Holds each request whose answer was received.
        """
        with self._access_log.open(encoding="utf-8") as log:
            log.seek(self._forgotten)
            # A last line without its end is still being written.
            return tuple(AccessRecord.from_json(line) for line in log if line.endswith("\n"))

    def clear_requests(self) -> None:
        """Forget the requests made so far."""
        self._forgotten = self._access_log.stat().st_size

    def fail_next(self, times: int, *, status: int = 503) -> None:
        """Answer the next requests with an error, as an overloaded store does.

        Forgets the requests before them.

        Parameters
        ----------
        times : int
            How many requests; those for a ``HEAD`` are answered, and do not count.
        status : int
            Of HTTP.

        Raises
        ------
        EndpointError
            If the server does not take it.
        """
        self.clear_requests()
        answer = ask("POST", self._port, f"/.faults?status={status}&times={times}", host=self.host)
        if answer is None or answer.status != 204:
            raise EndpointError(
                f"The object server of {str(self.region)!r} does not accept faults.",
                region=str(self.region),
            )

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Answer nothing for a while: connections stay, and no byte comes.

        Yields
        ------
        None
        """
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def wait_until_ready(self, *, deadline: float) -> None:
        """Wait until the bucket answers, and forget that it was asked."""
        super().wait_until_ready(deadline=deadline)
        self.clear_requests()

    @property
    def _access_log(self) -> Path:
        return self._directory / "access.jsonl"

    def _spawn(self) -> subprocess.Popen[bytes]:
        # The socket is bound here and handed over, so that no other process
        # takes the port in between.
        with self.host.listen() as listening:
            self._port = listening.getsockname()[1]
            command = [
                *(sys.executable, "-P", str(self._script)),
                *("--socket", str(listening.fileno())),
                *("--bucket", self.bucket),
                *("--location", self.region.name),
                *("--access-log", str(self._access_log)),
                *self._more_arguments(),
            ]
            return self._popen(command, pass_fds=[listening.fileno()])

    def _more_arguments(self) -> list[str]:
        inside = f"app/{reader_environment(self.region)[_APPLICATION_VARIABLE]}"
        arguments = ["--inside", inside]
        if self._outside_bytes_per_second is not None:
            arguments += ["--outside-bytes-per-second", str(self._outside_bytes_per_second)]
        return arguments

    def _is_ready(self) -> bool:
        answer = ask("HEAD", self._port, f"/{self.bucket}", host=self.host)
        return answer is not None and answer.headers.get("x-amz-bucket-region") == self.region.name


class FileObjectServer(ObjectServer):
    """An S3 server whose objects are files, as fast as the machine sends files.

    It knows what reading needs, and to put and delete whole objects. Parameters are
    those of `ObjectServer`, but for `outside_bytes_per_second`.
    """

    slows_outsiders: ClassVar[bool] = False
    _script: ClassVar[Path] = Path(__file__).with_name("serve_files.py")

    def writing(self, key: str) -> tuple[str, dict[str, Any] | None]:
        """Return the path of the file: writing it needs no request."""
        return str(self._files / key.lstrip("/")), None

    @property
    def _files(self) -> Path:
        return self._directory / "objects"

    def _more_arguments(self) -> list[str]:
        return ["--directory", str(self._files)]


#: Kinds of object servers, by the name that `Testbed` takes.
OBJECT_SERVERS: Final[Mapping[str, type[ObjectServer]]] = MappingProxyType(
    {"moto": ObjectServer, "files": FileObjectServer}
)
