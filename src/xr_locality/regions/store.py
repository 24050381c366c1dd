"""Stores as values: where bytes lie, in a form that can be compared.

One place has many spellings: ``s3a://b/k/``, ``simplecache::s3://b/k`` and a
filesystem's ``b/k`` are all ``s3://b/k``. Bucket names repeat from one
S3-compatible service to the next, and Azure's containers from one account to
the next, so the service and the account are part of a store.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from xr_locality.errors import SourceError
from xr_locality.regions.access import Access

__all__ = ["Store", "has_credentials", "without_secrets"]

_ALIASES: Final = {
    "s3a": "s3",
    "s3n": "s3",
    "gcs": "gs",
    "abfs": "az",
    "abfss": "az",
    "wasb": "az",
    "wasbs": "az",
    "local": "file",
    "ssh": "sftp",
}
# fsspec's wrappers, which may stand alone when their options name the target.
_WRAPPERS: Final = frozenset({"blockcache", "cached", "dir", "filecache", "simplecache"})
# An "@" is a part of the name: ``oci://bucket@namespace``, ``github://owner:repository@ref``.
_NAMED_WITH_AT: Final = frozenset({"github", "oci"})
_WITHOUT_BUCKET: Final = frozenset({"file", "memory"})

_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
# A multi-region access point has two colons of its own.
_CHAINED: Final = re.compile(r"(?<!arn:aws:s3)::")
_AZURE_HOST: Final = re.compile(r"(?P<account>[^./@]+)\.(?:blob|dfs)\.core\.[a-z.]+")
# Before an "@" Azure's URLs name a container, web addresses may have a token.
_SECRETS: Final = re.compile(
    r"(?<=://)[^\s/@:]*:[^\s@]*@|(?<=http://)[^\s/]*@|(?<=https://)[^\s/]*@|(?<=\S)\?[^\s'\"]*"
)
_CONNECTION_FIELD: Final = re.compile(r"(?:^|;)\s*(AccountName|BlobEndpoint)\s*=([^;]*)")
# The provider's own endpoints: naming one is the same as naming none, since a
# bucket's name is then unique in the whole of the provider's cloud.
_OWN_ENDPOINT: Final = {
    "s3": re.compile(r"https?://s3(?:[.-][a-z0-9.-]+)?\.amazonaws\.com(?:\.cn)?"),
    "gs": re.compile(r"https?://(?:storage|www)\.googleapis\.com"),
    "az": re.compile(r"https?://[^./]+\.(?:blob|dfs)\.core\.[a-z.]+"),
}

_OWN_HOST: Final = {"s3": "s3.amazonaws.com", "gs": "storage.googleapis.com"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A prefix in some storage.

    Nothing in it is secret: user names, passwords, signatures and tokens that
    a URL carries are left out.
    """

    #: Canonical: ``s3``, ``gs``, ``az``, ``https``, ``http``, ``file``, ``memory``, …
    protocol: str
    #: Bucket, container or host; empty for files and memory.
    bucket: str = ""
    #: Key prefix inside the bucket, without slashes at its ends.
    path: str = ""
    #: The service; None where it is the provider's own.
    endpoint_url: str | None = None
    #: The storage account, for Azure.
    account: str | None = None
    #: How it is opened. Not part of what it is, never shown, and pickled without its secrets.
    access: Access | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.strip("/"))

    @classmethod
    def from_url(cls, url: Any, storage_options: Mapping[str, Any] | None = None) -> Store:
        """Make a store from a URL and the options it is opened with.

        Parameters
        ----------
        url : str or path
            As fsspec takes it: chained (``"simplecache::s3://…"``) and with any
            alias of a protocol. A plain path is a local file. A glob stands
            for the directory above its first ``*``.
        storage_options : Mapping, optional
            What the filesystem is opened with; read for endpoint and account.

        Returns
        -------
        Store

        Raises
        ------
        SourceError
            If `url` is empty or no text.

        Examples
        --------
        >>> Store.from_url("simplecache::s3a://bucket/a.zarr/").url
        's3://bucket/a.zarr'
        """
        url = os.fspath(url) if isinstance(url, os.PathLike) else url
        if not (isinstance(url, str) and url.strip()):
            raise SourceError(f"A store's URL must be text that is not empty, not {url!r}.")
        options = dict(storage_options or {})
        *outer, last = _CHAINED.split(url)
        scheme, rest = _split(last)
        if scheme in _WRAPPERS and "target_protocol" in options:
            inner = options.get("target_options") or {}
            return cls.from_url(f"{options['target_protocol']}://{rest}", inner)
        if outer:
            nested = options.get(scheme, options.get(_ALIASES.get(scheme, scheme)))
            options = dict(nested) if isinstance(nested, Mapping) else {}
        if scheme != "file":
            # A signed URL keeps its signature there.
            rest = rest.partition("?")[0].partition("#")[0]
        rest = _before_glob(rest)
        if scheme in ("http", "https"):
            rest = f"{scheme}://{rest}"
        return cls.at(scheme, rest, options)

    @classmethod
    def at(cls, protocol: str, path: str, options: Mapping[str, Any] | None = None) -> Store:
        """Make a store from a path as a filesystem of `protocol` writes it.

        Parameters
        ----------
        protocol : str
            Any alias.
        path : str
            ``"bucket/key"`` for object stores, the whole URL for HTTP.
        options : Mapping, optional
            What the filesystem was opened with.

        Returns
        -------
        Store
        """
        protocol = _ALIASES.get(protocol.lower(), protocol.lower())
        if protocol == "file":
            return cls(protocol=protocol, path=_absolute(path))
        if protocol in _WITHOUT_BUCKET:
            return cls(protocol=protocol, path=path)
        if protocol in ("http", "https"):
            parts = _parts(path)
            return cls(
                protocol=parts.scheme.lower() or protocol,
                bucket=parts.netloc.rpartition("@")[2].lower(),
                path=parts.path,
            )
        given, defaults = dict(options or {}), _defaults(protocol)
        known = defaults | given
        if protocol not in ("s3", "gs", "az") and known.get("host"):
            port = f":{known['port']}" if known.get("port") else ""
            return cls(protocol=protocol, bucket=f"{known['host']}{port}", path=path)
        if protocol in _NAMED_WITH_AT:
            bucket, _, key = path.lstrip("/").partition("/")
            return cls(protocol=protocol, bucket=bucket, path=key)
        bucket, _, key = _without_userinfo(path.lstrip("/")).partition("/")
        if protocol == "az":
            account, bucket, key = _azure(bucket, key, known)
        else:
            account, bucket = None, bucket.rpartition("@")[2]
        return cls(
            protocol=protocol,
            bucket=bucket,
            path=key,
            endpoint_url=_endpoint(protocol, known),
            account=account,
            access=Access.read(
                protocol, given, defaults=defaults, own_host=_OWN_HOST.get(protocol, "")
            ),
        )

    @property
    def url(self) -> str:
        """The store's URL, without anything secret and without its endpoint."""
        if self.protocol in _WITHOUT_BUCKET:
            return f"{self.protocol}:{'///' if self.protocol == 'file' else '//'}{self.path}"
        bucket, scheme = self.bucket, self.protocol
        if self.account:
            bucket, scheme = f"{bucket}@{self.account}.dfs.core.windows.net", "abfss"
        return f"{scheme}://{bucket}/{self.path}".rstrip("/")

    @property
    def at_service(self) -> Store | None:
        """The same place as the service's HTTP server shows it, bucket first.

        None where the bucket's name says it all.
        """
        endpoint = self.endpoint_url
        if endpoint is None and self.account is not None:
            endpoint = f"https://{self.account}.blob.core.windows.net"
        if endpoint is None:
            return None
        return Store.at("https", f"{endpoint}/{self.bucket}/{self.path}")

    @property
    def root(self) -> tuple[str, str | None, str | None, str]:
        """All but the path: what two stores share if one may hold the other."""
        return self.protocol, self.endpoint_url, self.account, self.bucket

    def prefixes(self) -> tuple[str, ...]:
        """Paths of the stores that hold this one: its own first, the root's last."""
        parts = self.path.split("/") if self.path else []
        return tuple("/".join(parts[:n]) for n in range(len(parts), -1, -1))

    def __truediv__(self, path: str) -> Store:
        """Go down to `path` inside this store."""
        return Store(
            protocol=self.protocol,
            bucket=self.bucket,
            path=f"{self.path}/{path.strip('/')}",
            endpoint_url=self.endpoint_url,
            account=self.account,
            access=self.access,
        )

    def __str__(self) -> str:
        return f"{self.url} at {self.endpoint_url}" if self.endpoint_url else self.url


def without_secrets(text: str) -> str:
    """Take out of a text what is secret in the URLs that it shows.

    Parameters
    ----------
    text : str
        Whatever a user wrote.

    Returns
    -------
    str
        With "…" for user names, passwords, and queries, which may be signatures.

    Examples
    --------
    >>> without_secrets("no s3://key:secret@bucket/a, nor https://host/a?sig=secret")
    'no s3://…bucket/a, nor https://host/a…'
    """
    return _SECRETS.sub("…", text)


def has_credentials(url: str) -> bool:
    """Tell whether a URL of an object store holds a key and a secret.

    No filesystem takes them from there: they would be a part of the bucket's name, and
    be sent, logged and shown with it.

    Examples
    --------
    >>> has_credentials("simplecache::s3://key:secret@bucket/a.zarr")
    True
    >>> has_credentials("abfss://container@account.dfs.core.windows.net/a.zarr")
    False
    """
    for part in _CHAINED.split(url):
        scheme, rest = _split(part)
        if scheme in ("s3", "gs", "az") and _without_userinfo(rest) != rest:
            return True
    return False


def _split(url: str) -> tuple[str, str]:
    """Take the scheme off a URL; a plain path is a file's."""
    match = _SCHEME.fullmatch(url)
    if match is None:
        return "file", url.removeprefix("file:")
    scheme = match["scheme"].lower()
    return _ALIASES.get(scheme, scheme), match["rest"]


def _parts(url: str) -> SplitResult:
    parts = None
    with suppress(ValueError):
        split = urlsplit(url)
        # A password with a slash in it makes a port that is no number.
        _ = split.port
        parts = split
    if parts is None:
        # Not from the error, which shows what may be a password.
        raise SourceError(
            "A store's URL cannot be understood: its host or its port is malformed. Percent-encode "
            "what stands before its '@', or leave it out."
        )
    return parts


def _before_glob(path: str) -> str:
    head, star, _ = path.partition("*")
    return head.rpartition("/")[0] if star else path


def _without_userinfo(path: str) -> str:
    """Drop ``key:secret@``; secrets of AWS have slashes in them, names of buckets no colons."""
    bucket = path.partition("/")[0]
    if ":" in bucket and "@" in path and not bucket.startswith("arn:"):
        return path.partition("@")[2]
    return path


def _absolute(path: str) -> str:
    # Not Path.expanduser: it raises for a file that is called "~name" and is no home.
    expanded = os.path.expanduser(path)  # noqa: PTH111
    return os.path.abspath(expanded).replace(os.sep, "/")


def _defaults(protocol: str) -> dict[str, Any]:
    """Read what fsspec's own configuration adds to every filesystem of a kind."""
    from fsspec.config import conf

    names = [protocol, *(alias for alias, name in _ALIASES.items() if name == protocol)]
    merged: dict[str, Any] = {}
    for name in names:
        merged |= conf.get(name) or {}
    return merged


def _endpoint(protocol: str, options: Mapping[str, Any]) -> str | None:
    client = options.get("client_kwargs")
    nested = client.get("endpoint_url") if isinstance(client, Mapping) else None
    given = options.get("endpoint_url") or nested
    if protocol == "s3":
        # In botocore's own order.
        given = given or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    elif protocol == "gs":
        given = given or _emulator()
    elif protocol == "az":
        given = given or _connection(options).get("BlobEndpoint")
    if not given:
        return None
    parts = _parts(str(given))
    host = parts.netloc.rpartition("@")[2].lower()
    endpoint = f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"
    own = _OWN_ENDPOINT.get(protocol)
    return None if own is not None and own.fullmatch(endpoint) else endpoint


def _emulator() -> str | None:
    """Read the address of a GCS emulator as gcsfs does."""
    host = os.environ.get("STORAGE_EMULATOR_HOST")
    if not host or host == "default":
        return None
    return host if host.startswith(("http://", "https://")) else f"http://{host}"


def _azure(bucket: str, key: str, options: Mapping[str, Any]) -> tuple[str | None, str, str]:
    """Return account, container and key; the URL's account wins over the options'."""
    container, _, host = bucket.rpartition("@") if "@" in bucket else ("", "", bucket)
    if match := _AZURE_HOST.fullmatch(host):
        if not container:
            container, _, key = key.partition("/")
        return match["account"], container, key
    match = _AZURE_HOST.fullmatch(str(options.get("account_host") or ""))
    account = (
        options.get("account_name")
        or (match and match["account"])
        or _connection(options).get("AccountName")
        or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    )
    return (str(account) if account else None), container or host, key


def _connection(options: Mapping[str, Any]) -> dict[str, str]:
    """Take the two fields that are no secret out of an Azure connection string."""
    text = (
        options.get("connection_string") or os.environ.get("AZURE_STORAGE_CONNECTION_STRING") or ""
    )
    return dict(_CONNECTION_FIELD.findall(str(text)))
