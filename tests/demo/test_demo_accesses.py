"""What is counted of the object servers' access logs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from xr_locality.demo.accesses import count_accesses
from xr_locality.regions.region import LOCAL, Region
from xr_locality.testing import AccessRecord

AWS, GCP = Region.parse("aws:us-west-2"), Region.parse("gcp:us-central1")


def record(key: str, *, reader: str = str(AWS), method: str = "GET", status: int = 200) -> Any:
    """Make one line of a log."""
    return AccessRecord(
        method=method, path=f"/bucket/{key}", query="", status=status, nbytes=100, reader=reader
    )


def region(where: Region, *records: AccessRecord) -> Any:
    """Stand for an emulated region with this log."""
    return SimpleNamespace(region=where, objects=SimpleNamespace(requests=lambda: records))


def test_bytes_by_reader() -> None:
    """Chunks are counted by where they lie and who read them; the client is local."""
    found = count_accesses(
        [
            region(AWS, record("a.zarr/t/c/0/0"), record("a.zarr/t/c/1/0")),
            region(
                GCP,
                record("b.zarr/t/c/0", reader="client"),
                record("b.zarr/t/c/0", reader=str(GCP)),
            ),
        ],
        variables=["t"],
    )
    assert found.nbytes == {(AWS, AWS): 200, (GCP, GCP): 100, (GCP, LOCAL): 100}
    assert (found.nbytes_inside, found.nbytes_outside) == (300, 100)


def test_what_is_no_chunk() -> None:
    """Metadata, coordinates, listings, writes and refusals are not counted."""
    found = count_accesses(
        [
            region(
                AWS,
                record("a.zarr/zarr.json"),
                record("a.zarr/t/zarr.json"),
                record("a.zarr/time/c/0"),
                record(""),
                record("a.zarr/t/c/0", method="PUT"),
                record("a.zarr/t/c/0", method="HEAD"),
                record("a.zarr/t/c/9", status=404),
            )
        ],
        variables=["t"],
    )
    assert not found.nbytes
    assert found.nbytes_inside == found.nbytes_outside == 0
