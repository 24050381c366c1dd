"""What a graph reads, and from where: the sources of each layer and their regions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key

from xr_locality.compat.dask_graph import is_future
from xr_locality.errors import EndpointError, PlacementError, RegionError
from xr_locality.graph.collections import Part
from xr_locality.graph.layers import (
    ancestors,
    embedded_objects,
    holds_futures,
    toposort_layers,
    writes_chunks,
)
from xr_locality.graph.persisted import KEPT
from xr_locality.graph.tasks import future_address
from xr_locality.regions.chain import Chain
from xr_locality.regions.detection import Detection
from xr_locality.regions.region import LOCAL, Region
from xr_locality.regions.store import Store
from xr_locality.regions.tag import Replica
from xr_locality.regions.tag_registry import layer_tag
from xr_locality.sources.finder import Found
from xr_locality.sources.local_objects import local_tasks
from xr_locality.sources.search import Contents, find_contents, find_sources_of_each

__all__ = ["Source", "Survey", "survey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Data that tasks read.

    Attributes
    ----------
    url : str
        Where it lies; never with credentials.
    region : Region or None
        The region it lies in; None where nobody knows.
    evidence : str
        How that is known.
    variables : tuple of str
        The variables of the computed objects that need it.
    requester_pays : bool or None
        Whether the reader is billed; None where nobody says.
    leaves : str
        Whether its values may leave the region: ``always``, ``never`` or ``reduced``.
    replicas : tuple of Replica
        Copies of it that may be read instead.
    """

    url: str
    region: Region | None
    evidence: str
    variables: tuple[str, ...]
    requester_pays: bool | None = None
    leaves: str = "always"
    replicas: tuple[Replica, ...] = ()
    found: tuple[Found, ...] = field(default=(), repr=False, compare=False)
    #: The graph's layers that hold it, and what of it each holds.
    layers: Mapping[str, tuple[Found, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where it lies, and its replicas after it."""
        return (self.region or LOCAL, *(replica.region for replica in self.replicas))

    @property
    def array_nbytes(self) -> int | None:
        """Bytes of the source's arrays in memory; None where nobody knows."""
        sizes = [found.array_nbytes for found in self.found]
        return None if None in sizes or not sizes else sum(size for size in sizes if size)

    @property
    def nbytes(self) -> int | None:
        """Stored (compressed) bytes, from a listing of the store; None where unknown.

        The listing is made once, on first use, and only for arrays of few chunks.
        """
        sizes = [found.stored_nbytes() for found in self.found]
        return None if None in sizes or not sizes else sum(size for size in sizes if size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Where everything that a graph reads lies.

    Attributes
    ----------
    sources : tuple of Source
        One for each store, in the order of the graph; one for each region of a store
        that spans buckets in several.
    layers : mapping of str to frozenset of Region
        Regions of what each layer itself holds; layers that hold nothing are absent.
    keys : mapping of str to mapping of key to tuple of Region
        For layers whose keys lie in several regions, those of each: more than one where
        references of one array lead to several.
    pins : mapping of str to Region
        Layers that ``dask.annotate(locality=…)`` pins, or that write to a store.
    links : tuple of str
        Web addresses among the arguments of tasks, of unknown region: they may be read, or be
        no more than text.
    """

    sources: tuple[Source, ...]
    layers: Mapping[str, frozenset[Region]]
    keys: Mapping[str, Mapping[Key, tuple[Region, ...]]]
    pins: Mapping[str, Region]
    #: Tasks, and values of tasks, that are bound to this process, in layers where not all are.
    local_keys: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    @property
    def pinned(self) -> frozenset[Region]:
        """The regions of all pins."""
        return frozenset(self.pins.values()) | ({LOCAL} if self.local_keys else set())


@dataclass(slots=True)
class _Surveyor:
    """Gathers what the layers hold."""

    chain: Chain
    unknown: Region | None
    find_cluster: Callable[[str], Region | None]
    variables: Mapping[str, tuple[str, ...]]
    layers: dict[str, frozenset[Region]] = field(default_factory=dict)
    keys: dict[str, dict[Key, tuple[Region, ...]]] = field(default_factory=dict)
    #: By place, and by region: one store's references may lead to buckets in several.
    grouped: dict[tuple[Store | str, Region | None], dict[str, Any]] = field(default_factory=dict)
    problems: list[Exception] = field(default_factory=list)
    pins: dict[str, Region] = field(default_factory=dict)
    local_keys: dict[str, frozenset[Key]] = field(default_factory=dict)
    #: Layers with tasks that hold objects of this process.
    local: set[str] = field(default_factory=set)
    links: dict[str, None] = field(default_factory=dict)

    def layer(self, graph: HighLevelGraph, name: str, contents: Contents) -> None:
        layer, found, clusters = graph.layers[name], contents.sources, contents.clusters
        tagged = layer_tag(name)
        local = local_tasks(graph, name, contents)
        if local is not None:
            self.local.add(name)
            if local:
                self.local_keys[name] = local
            else:
                self.pins[name] = LOCAL
        if writes_chunks(layer):
            if local is None:
                self._target(name, found)
            return
        regions = {self._region(each, name, tagged) for each in found}
        held = {self._cluster(address) for address in clusters} - {None}
        regions |= held
        if len(held) == 1 and local is None and not holds_futures(layer):
            # Inside of tasks: these run where the values are.
            self.pins[name] = next(iter(held))  # type: ignore[assignment]
        if tagged is not None and not found:
            regions.add(tagged)
            self._tagged(name, tagged)
        for url, (region, leaves) in (layer.collection_annotations or {}).get(KEPT, {}).items():
            self._held(name, url, region, leaves)
        located = {region for region in regions if region is not None}
        if located:
            self.layers[name] = frozenset(located)
        if len(located) > 1 and isinstance(layer, MaterializedLayer):
            self.keys[name] = self._by_key(name, layer)

    def _region(self, found: Found, layer: str, tagged: Region | None) -> Region | None:
        detected = self.chain.detect(found.store)
        region = tagged or (detected.region if detected else None)
        if detected is not None and detected.region == region:
            evidence = detected.explanation
        elif tagged is not None:
            evidence = "tagged by hand"
        else:
            evidence = self.chain.why_unknown(found.store)
        if region is None and found.named and found.store.protocol in ("http", "https"):
            # It may be a link in an attribute, which no task follows.
            self.links[found.url] = None
            return None
        entry = self.grouped.setdefault(
            (found.group, region),
            {
                "region": region,
                "evidence": evidence,
                "variables": {},
                "found": {},
                "layers": {},
                "requester_pays": detected.requester_pays if detected else None,
                "leaves": detected.leaves if detected else "always",
                "replicas": () if detected is None else _replicas(detected, region),
            },
        )
        entry["variables"].update(dict.fromkeys(self.variables.get(layer, ())))
        entry["found"][found.store] = found
        entry["layers"].setdefault(layer, {})[found.store] = found
        return region if region is not None else self.unknown

    def _target(self, layer: str, found: tuple[Found, ...]) -> None:
        """Pin tasks that write to a store beside it."""
        for each in found:
            detected = self.chain.detect(each.store)
            region = detected.region if detected else self.unknown
            if region is None:
                self.problems.append(
                    RegionError(
                        f"The region of {each.group_url!r}, which is written to, is not known. "
                        "Say it in locality.rules, or with rules={prefix: region}.",
                        url=each.group_url,
                    )
                )
            else:
                self.pins[layer] = region

    def pin(self, layer: str, region: Region) -> None:
        """Pin tasks as ``dask.annotate`` says."""
        if layer in self.local and not region.is_local:
            self.problems.append(
                PlacementError(
                    f"Layer {layer!r} is pinned to {str(region)!r} by dask.annotate, and holds an "
                    "object of this process: an array or file that it writes to, or a file that "
                    "is open here. Take the annotation away, or name a store that workers reach."
                )
            )
        self.pins[layer] = region

    def _tagged(self, layer: str, region: Region) -> None:
        self.grouped.setdefault(
            (f"graph layer {layer}", region),
            {
                "region": region,
                "evidence": "tagged by hand",
                "variables": dict.fromkeys(self.variables.get(layer, ())),
                "found": {},
                "layers": {layer: {}},
                "requester_pays": None,
                "leaves": "always",
                "replicas": (),
            },
        )

    def _held(self, layer: str, url: str, region: Region, leaves: str) -> None:
        """Note a source of which a cluster holds what may not leave."""
        entry = self.grouped.setdefault(
            (f"{url}, persisted", region),
            {
                "region": region,
                "evidence": "persisted there",
                "variables": {},
                "found": {},
                "layers": {},
                "requester_pays": None,
                "leaves": leaves,
                "replicas": (),
            },
        )
        entry["variables"].update(dict.fromkeys(self.variables.get(layer, ())))
        entry["layers"].setdefault(layer, {})

    def _cluster(self, address: str) -> Region | None:
        region = self.find_cluster(address)
        if region is None:
            self.problems.append(
                EndpointError(
                    f"The graph holds Futures of a cluster at {address!r}, which is not an "
                    "endpoint of this session. Add that cluster to endpoints=, or compute "
                    "with the client that made the Futures.",
                    address=address,
                )
            )
        return region

    def _by_key(self, name: str, layer: MaterializedLayer) -> dict[Key, tuple[Region, ...]]:
        placed: dict[Key, tuple[Region, ...]] = {}
        tagged = layer_tag(name)
        found_in = find_sources_of_each(layer.mapping.values())
        for (key, value), found in zip(layer.mapping.items(), found_in, strict=True):
            if is_future(value):
                regions = [self._cluster(future_address(value))]
            else:
                regions = [self._region(each, name, tagged) for each in found]
            known = tuple(dict.fromkeys(each for each in regions if each is not None))
            if known:
                placed[key] = known
        return placed

    def sources(self) -> tuple[Source, ...]:
        return tuple(
            Source(
                url=_url(place),
                region=entry["region"],
                evidence=entry["evidence"],
                variables=tuple(entry["variables"]),
                requester_pays=entry["requester_pays"],
                leaves=entry["leaves"],
                replicas=entry["replicas"],
                found=tuple(entry["found"].values()),
                layers={layer: tuple(found.values()) for layer, found in entry["layers"].items()},
            )
            for (place, _), entry in self.grouped.items()
        )


def _replicas(detected: Detection, region: Region | None) -> tuple[Replica, ...]:
    """List the copies that may be read instead of a store.

    Of what is tagged by hand with another region nobody knows what it is; and copies on
    this machine are of no use to others.
    """
    if detected.region != region:
        return ()
    return tuple(replica for replica in detected.replicas if not replica.region.is_local)


def _url(place: Store | str) -> str:
    return place if isinstance(place, str) else place.url


def survey(
    graph: HighLevelGraph,
    parts: Iterable[Part],
    *,
    chain: Chain,
    unknown: Region | None,
    find_cluster: Callable[[str], Region | None],
) -> tuple[Survey, list[Exception]]:
    """Find what the layers that some parts need read, and where it lies.

    Parameters
    ----------
    graph : HighLevelGraph
        The merged graph of the parts, not optimised.
    parts : iterable of Part
        What is computed.
    chain : Chain
        Ways to know a store's region.
    unknown : Region or None
        The region to read stores of unknown region from; None leaves them unplaced.
    find_cluster : callable
        Maps a scheduler's address to the region of the endpoint it belongs to.

    Returns
    -------
    survey : Survey
        Layers stay symbolic; of the stores, none but their clouds are asked, by the chain.
    problems : list of Exception
        Futures of clusters that nobody knows, malformed tags.
    """
    surveyor = _Surveyor(chain, unknown, find_cluster, _variables_by_layer(graph, parts))
    names = [name for name in toposort_layers(graph) if name in surveyor.variables]
    found_in = {name: find_contents(embedded_objects(graph.layers[name])) for name in names}
    chain.ask(each.store for found in found_in.values() for each in found.sources)
    for name in names:
        layer = graph.layers[name]
        try:
            surveyor.layer(graph, name, found_in[name])
            if (pin := (layer.annotations or {}).get("locality")) is not None:
                surveyor.pin(name, Region.parse(pin))
        except RegionError as error:
            surveyor.problems.append(error)
    found = Survey(
        sources=surveyor.sources(),
        layers=surveyor.layers,
        keys=surveyor.keys,
        pins=surveyor.pins,
        local_keys=surveyor.local_keys,
        links=tuple(surveyor.links),
    )
    # What is wrong of a store, a pin or a cluster is wrong in each of its layers.
    return found, list({str(problem): problem for problem in surveyor.problems}.values())


def _variables_by_layer(graph: HighLevelGraph, parts: Iterable[Part]) -> dict[str, tuple[str, ...]]:
    """Name the variables that need each layer; layers that nobody needs are absent."""
    named: dict[str, dict[str, None]] = {}
    for part in parts:
        for layer in ancestors(graph, part.layers):
            named.setdefault(layer, {})
            if part.variable is not None:
                named[layer][part.variable] = None
    return {layer: tuple(variables) for layer, variables in named.items()}
