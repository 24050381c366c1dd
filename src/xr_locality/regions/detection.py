"""What a way to know the region of a store must offer, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Leaves, Replica

__all__ = ["Detection", "Detector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The region of a store, and why it is believed."""

    region: Region
    #: For people: ``"rule 's3://my-bucket'"``.
    evidence: str
    #: Name of the detector that answered.
    how: str
    #: Whether the reader pays for requests and egress; None if nobody said.
    requester_pays: bool | None = None
    #: What may leave the region.
    leaves: Leaves = "always"
    replicas: tuple[Replica, ...] = ()
    #: What stands in a reader's way, such as ``"controlled"``; None if nobody said.
    access: str | None = None
    #: What others say who contradict it, in the order in which they are believed.
    conflicts: tuple[Detection, ...] = ()

    @property
    def explanation(self) -> str:
        """The evidence, and after it who says something else."""
        others = "".join(f"; {each.evidence} says {each.region}" for each in self.conflicts)
        return f"{self.evidence}{others}"


@runtime_checkable
class Detector(Protocol):
    """One way to know the region of a store, from what is at hand: it asks no network.

    Write one in a file of its own and hand it to
    :func:`xr_locality.regions.chain.register_detector`.
    """

    @property
    def name(self) -> str:
        """A word that no other detector has."""
        ...

    def detect(self, store: Store) -> Detection | None:
        """Return the region of `store`; None if this way does not know it."""
        ...
