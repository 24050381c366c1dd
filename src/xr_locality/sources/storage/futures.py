"""Find the clusters that hold what Futures stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from xr_locality.regions.store import Store
from xr_locality.sources.finder import Found, Walk

__all__ = ["CLUSTER", "FutureFinder"]

#: The protocol of a cluster's memory, which no URL names; the bucket is the
#: scheduler's address.
CLUSTER: Final = "dask"


class FutureFinder:
    """Finds distributed's Futures, which lie on the workers of their cluster."""

    name = "futures"

    def find(self, obj: object, walk: Walk) -> Iterable[Found] | None:
        """Return the cluster of a Future; None for other objects."""
        # By name, and any class below it: distributed may not have been imported.
        if not any(
            base.__name__ == "Future" and base.__module__.partition(".")[0] == "distributed"
            for base in type(obj).__mro__
        ):
            return None
        future: Any = obj
        # A client that was closed has no scheduler.
        scheduler = getattr(getattr(future, "client", None), "scheduler", None)
        if scheduler is None:
            return (Found.unknown(obj, detail="a Future without a client"),)
        return (Found.at(Store(protocol=CLUSTER, bucket=str(scheduler.address)), detail="Future"),)
