"""Which data the demonstration writes into which region."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import xarray as xr

from xr_locality.demo.datasets import daily_field, model_run
from xr_locality.testing import Testbed

__all__ = ["REGIONS", "DemoStore", "demo_stores", "write_stores"]

#: The emulated regions: A1B is stored in the first, E1 in the second.
REGIONS: Final = ("aws:us-west-2", "gcp:us-central1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStore:
    """A zarr store to be written, and an entry of the catalog."""

    name: str
    region: str
    #: Description for the reader.
    content: str
    make: Callable[[], xr.Dataset]


def demo_stores(*, nbytes: int) -> tuple[DemoStore, ...]:
    """List the stores.

    Parameters
    ----------
    nbytes : int
        Bytes of each of the daily fields, at least.
    """
    a1b, e1 = REGIONS
    run = "climate model, yearly, 1860–2099"
    daily = "generated, daily, to 2099"
    return (
        DemoStore(name="a1b", region=a1b, content=run, make=partial(model_run, "A1B")),
        DemoStore(name="e1", region=e1, content=run, make=partial(model_run, "E1")),
        DemoStore(
            name="daily_a1b",
            region=a1b,
            content=daily,
            make=partial(daily_field, nbytes=nbytes, warming=2.0, seed=1),
        ),
        DemoStore(
            name="daily_e1",
            region=e1,
            content=daily,
            make=partial(daily_field, nbytes=nbytes, warming=0.0, seed=2),
        ),
    )


def write_stores(bed: Testbed, stores: Iterable[DemoStore]) -> dict[str, str]:
    """Make the data and write them.

    Returns
    -------
    dict of str to str
        URLs by the stores' names.
    """
    return {
        store.name: bed.write(store.make(), store.region, f"{store.name}.zarr") for store in stores
    }
