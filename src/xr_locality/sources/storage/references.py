"""Where references lead: files elsewhere, of which chunks are parts.

Formats of references (kerchunk's, VirtualiZarr's) name a file for each chunk, of
hundreds of thousands. They are few files, in fewer buckets, and only those matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found

__all__ = ["Referenced", "found_at", "group_by_bucket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Referenced:
    """Chunks that lie below one prefix of one bucket.

    Attributes
    ----------
    url : str
        The longest that all their files' URLs begin with, up to a slash.
    n_chunks : int or float
        How many, or about how many.
    nbytes : int or None
        Bytes of them; None where whole files are referred to.
    """

    url: str
    n_chunks: float
    nbytes: int | None


def group_by_bucket(files: Mapping[str, tuple[float, int | None]]) -> list[Referenced]:
    """Put files of one bucket together.

    Parameters
    ----------
    files : mapping of str to (float, int or None)
        For the URL or path of each file the number of chunks in it, and their bytes.

    Returns
    -------
    list of Referenced
        One for each bucket, sorted by URL.
    """
    buckets: dict[str, list[str]] = {}
    for url in files:
        buckets.setdefault(_bucket(url), []).append(url)
    grouped = []
    for urls in buckets.values():
        sizes = [files[url][1] for url in urls]
        grouped.append(
            Referenced(
                url=_prefix(urls),
                n_chunks=sum(files[url][0] for url in urls),
                nbytes=None if None in sizes else sum(size for size in sizes if size),
            )
        )
    return sorted(grouped, key=lambda each: each.url)


def _bucket(url: str) -> str:
    scheme, found, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if found else ""


def _prefix(urls: list[str]) -> str:
    # What the first and the last in order begin with, all between them do.
    first, last = min(urls), max(urls)
    if first == last:
        return first
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(letter for letter, _ in same).rpartition("/")[0]


def found_at(
    referenced: Iterable[Referenced], locate: Callable[[str], Store], *, kind: str
) -> tuple[Found, ...]:
    """Say where chunks are that were put together.

    Parameters
    ----------
    referenced : iterable of Referenced
        Chunks of one array.
    locate : callable
        Maps a URL to its store.
    kind : str
        What holds the references, for people.

    Returns
    -------
    tuple of Found
        With the share of the array's chunks that lies in each.
    """
    grouped = list(referenced)
    n_chunks = sum(each.n_chunks for each in grouped)
    return tuple(
        replace(
            Found.at(locate(each.url), detail=kind),
            share=each.n_chunks / n_chunks if n_chunks else None,
            stored_nbytes=_constantly(each.nbytes),
        )
        for each in grouped
    )


def _constantly(nbytes: int | None) -> Callable[[], int | None]:
    return lambda: nbytes
