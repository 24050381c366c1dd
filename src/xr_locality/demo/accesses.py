"""Who read which bytes, from the access logs of the object servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xr_locality.regions.region import LOCAL, Region
from xr_locality.testing import EmulatedRegion
from xr_locality.testing.objects import CLIENT, AccessRecord

__all__ = ["Accesses", "clear_accesses", "count_accesses"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """Bytes of variables' chunks that object servers sent, by where from and where to."""

    #: By the region that stores them and the region that read them.
    nbytes: Mapping[tuple[Region, Region], int]

    @property
    def nbytes_inside(self) -> int:
        """Bytes read in the region that stores them."""
        return sum(count for (stored, reader), count in self.nbytes.items() if stored == reader)

    @property
    def nbytes_outside(self) -> int:
        """Bytes read from elsewhere."""
        return sum(self.nbytes.values()) - self.nbytes_inside


def clear_accesses(regions: Iterable[EmulatedRegion]) -> None:
    """Forget what was read so far."""
    for each in regions:
        each.objects.clear_requests()


def count_accesses(regions: Iterable[EmulatedRegion], *, variables: Iterable[str]) -> Accesses:
    """Count what was read since the logs were cleared.

    Parameters
    ----------
    regions : iterable of EmulatedRegion
        Whose object servers to ask.
    variables : iterable of str
        Whose chunks count. Metadata and coordinates are read wherever a dataset
        is opened.

    Returns
    -------
    Accesses
    """
    wanted = frozenset(variables)
    nbytes: dict[tuple[Region, Region], int] = {}
    for each in regions:
        for record in each.objects.requests():
            if _reads_chunk(record, wanted):
                pair = each.region, _reader(record)
                nbytes[pair] = nbytes.get(pair, 0) + (record.nbytes or 0)
    return Accesses(nbytes=MappingProxyType(dict(sorted(nbytes.items()))))


def _reads_chunk(record: AccessRecord, variables: frozenset[str]) -> bool:
    """Whether a request got a chunk: in zarr 3, ``store/variable/c/0/0``."""
    _, variable, kind, *_ = [*record.key.split("/"), "", ""]
    return record.method == "GET" and record.status < 300 and variable in variables and kind == "c"


def _reader(record: AccessRecord) -> Region:
    return LOCAL if record.reader == CLIENT else Region.parse(record.reader)
