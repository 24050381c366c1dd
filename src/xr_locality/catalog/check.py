"""Every entry of a catalog: is its region known, is there an endpoint, who pays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xr_locality.catalog.entries import Entry, shown
from xr_locality.catalog.learn import entries_of
from xr_locality.errors import LocalityError
from xr_locality.regions.chain import Chain
from xr_locality.regions.detection import Detection
from xr_locality.regions.region import Region
from xr_locality.regions.store import Store
from xr_locality.session import current_session

__all__ = ["CheckedEntry", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedEntry:
    """What is known of one entry.

    Attributes
    ----------
    name : str
        With the names of the catalogs that it is in.
    urls : tuple of str
        What it names; without anything secret.
    region : Region or None
        Where it is stored; None where unknown.
    evidence : str
        How that is known, or why not.
    requester_pays : bool or None
        Whether the reader pays; None where unknown.
    leaves : str
        What may leave its region.
    endpoint : bool
        Whether a configured endpoint serves its region, or a replica's.
    replicas : tuple of (str, Region)
        Copies, and where they are.
    conflicts : tuple of Detection
        Who contradicts the region.
    problem : str or None
        What is wrong with the entry.
    """

    name: str
    urls: tuple[str, ...]
    region: Region | None
    evidence: str
    requester_pays: bool | None
    leaves: str
    endpoint: bool
    replicas: tuple[tuple[str, Region], ...]
    conflicts: tuple[Detection, ...]
    problem: str | None

    @property
    def ok(self) -> bool:
        """Whether its data can be computed on beside them."""
        return self.problem is None and self.region is not None and self.endpoint

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, ready for JSON."""
        return {
            "name": self.name,
            "ok": self.ok,
            "urls": list(self.urls),
            "region": self.region and str(self.region),
            "evidence": self.evidence,
            "requester_pays": self.requester_pays,
            "leaves": self.leaves,
            "endpoint": self.endpoint,
            "replicas": [{"url": url, "region": str(region)} for url, region in self.replicas],
            "conflicts": [
                {"region": str(each.region), "evidence": each.evidence} for each in self.conflicts
            ],
            "problem": self.problem,
        }

    def to_text(self) -> str:
        """Return it as lines for people."""
        lines = [f"{self.name}  {' '.join(self.urls)}".rstrip()]
        if self.problem is not None:
            lines.append(f"  problem: {self.problem}")
            return "\n".join(lines)
        lines.append(f"  {self.region or 'unknown'}: {self.evidence}")
        lines += [f"  but {each.region}: {each.evidence}" for each in self.conflicts]
        lines += [f"  replica in {region}: {url}" for url, region in self.replicas]
        if self.region is not None and not self.endpoint:
            lines.append("  no endpoint there")
        if self.requester_pays:
            lines.append("  the reader pays for requests and egress")
        if self.leaves != "always":
            lines.append(f"  leaves: {self.leaves}")
        return "\n".join(lines)


def check(catalog: Any, **policy: Any) -> tuple[CheckedEntry, ...]:
    """Say of every entry whether its region is known and has an endpoint, and who pays.

    Nothing that an entry names is opened. Catalogs inside the catalog are gone through
    if they are files of this machine.

    Parameters
    ----------
    catalog : catalog, Mapping, str or Path
        As :func:`xr_locality.catalog.learn` takes it.
    **policy : Any
        Settings for this call, such as ``probe`` and ``rules``.

    Returns
    -------
    tuple of CheckedEntry
        In the catalog's order.

    Raises
    ------
    ConfigurationError
        If it is no catalog that is known, or a setting cannot be understood.
    """
    session = current_session()
    chain = Chain.from_settings(session.settings(**policy))
    entries = list(entries_of(catalog, local_only=isinstance(catalog, str | Path)))
    chain.ask(store for entry in entries for store in entry.stores)
    return tuple(_check(entry, chain, session.regions) for entry in entries)


def _check(entry: Entry, chain: Chain, usable: tuple[Region, ...]) -> CheckedEntry:
    problem = entry.problem
    tag = None
    try:
        tag = entry.tag()
    except LocalityError as err:
        problem = shown(err)
    known = [each for each in map(chain.detect, entry.stores) if each is not None]
    said = list(_distinct(known))
    region = said[0].region if said else None
    evidence = said[0].evidence if said else _why_unknown(chain, entry.stores)
    conflicts = (*said[1:], *(each for one in known for each in one.conflicts))
    paid = [each.requester_pays for each in known if each.requester_pays is not None]
    leaves = known[0].leaves if known else "always"
    if tag is not None:
        region, evidence = tag.region, tag.evidence
        conflicts = tuple(each for each in said if not _agree(each.region, tag.region))
        if tag.requester_pays is not None:
            paid.insert(0, tag.requester_pays)
        leaves = tag.leaves
    if len(said) > 1 and tag is None and problem is None:
        problem = "its URLs lie in several regions, which no tag can say"
    copies = () if tag is None else tag.replicas
    lying = [each for each in (region, *(copy.region for copy in copies)) if each is not None]
    return CheckedEntry(
        name=entry.name,
        urls=tuple(map(str, entry.stores)),
        region=region,
        evidence=evidence,
        requester_pays=paid[0] if paid else None,
        leaves=leaves,
        endpoint=any(
            each.is_local or any(_agree(each, other) for other in usable) for each in lying
        ),
        replicas=tuple((str(copy.store), copy.region) for copy in copies),
        conflicts=conflicts,
        problem=problem,
    )


def _distinct(known: Iterable[Detection]) -> Iterable[Detection]:
    """Give the first who names each region."""
    seen: set[Region] = set()
    for each in known:
        if each.region not in seen:
            seen.add(each.region)
            yield each


def _why_unknown(chain: Chain, stores: tuple[Store, ...]) -> str:
    return chain.why_unknown(stores[0]) if stores else "it names no store"


def _agree(one: Region, other: Region) -> bool:
    return one.overlaps(other)
