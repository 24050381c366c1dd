"""An emulated wide-area network between network namespaces of this machine."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from xr_locality.errors import ConfigurationError, EndpointError
from xr_locality.regions.region import Region
from xr_locality.testing.hosts import Host
from xr_locality.testing.lifetime import StartedOnce
from xr_locality.testing.namespaces import call_in, make_device, make_namespace, missing
from xr_locality.testing.network.addresses import claimed_network
from xr_locality.testing.network.emulated_links import (
    EmulatedLink,
    LinkCounts,
    Links,
    Pair,
    fill_in,
)
from xr_locality.testing.network.forward import end_processes
from xr_locality.testing.network.forwarder_process import ForwarderProcess
from xr_locality.testing.network.measure import MeasuredLink, measure, verify

__all__ = ["LOCAL", "EmulatedNetwork"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The user's own machine: this process and whatever else runs outside of the regions.
LOCAL: Final = Region.parse("local")

_DEVICE: Final = "wan0"
_MOST_REGIONS: Final = 250


class EmulatedNetwork(StartedOnce):
    """Regions as network namespaces, with a slow network between them.

    Inside a region processes share a fast loopback. Between regions, and between a
    region and this machine (the region ``local``), each packet passes a process that
    delays it, at the rate of its link, and counts it. Needs root on Linux. Nothing is
    left of it after `close`, after an exception, or after this process was killed:
    namespaces and devices go with the files that hold them.

    Parameters
    ----------
    regions : iterable of Region or str
        The regions, without ``local``, which always takes part.
    links : EmulatedLink or Mapping, optional
        One for all pairs, or by pair ``(source, target)``. What is given for one way
        holds for the way back too, unless that is given as well. Other pairs are as
        measured between clouds, at most 400 Mbit/s: see `EmulatedLink.between`.
    mtu : int, optional
        Bytes of a packet on the wire, with its headers.

    Raises
    ------
    ConfigurationError
        If a region is named twice or is ``local``, if there are more than 250, or if a
        link joins no two of them.

    Examples
    --------
    >>> slow = EmulatedLink(delay_seconds=0.03, bytes_per_second=25e6)
    >>> with EmulatedNetwork(["aws:us-west-2", "gcp:us-central1"], links=slow) as network:
    ...     network.verify()  # doctest: +SKIP
    """

    _kind: ClassVar[str] = "emulated network"

    def __init__(
        self,
        regions: Iterable[Region | str] = ("aws:us-west-2", "gcp:us-central1"),
        *,
        links: Links | None = None,
        mtu: int = 1500,
    ) -> None:
        #: The regions, in the order given.
        self.regions = tuple(Region.parse(region) for region in regions)
        if len({LOCAL, *self.regions}) != len(self.regions) + 1:
            listed = ", ".join(repr(str(region)) for region in self.regions)
            raise ConfigurationError(
                f"An emulated network has each region once, and 'local' always: got {listed}."
            )
        if len(self.regions) > _MOST_REGIONS:
            raise ConfigurationError(f"An emulated network has at most {_MOST_REGIONS} regions.")
        self._places = {region: place for place, region in enumerate((LOCAL, *self.regions))}
        self._links = fill_in(links, self._places)
        #: Bytes of a packet on the wire, with its headers.
        self.mtu = mtu
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._hosts: dict[Region, Host] = {}
        self._forwarder: ForwarderProcess | None = None

    @staticmethod
    def missing() -> str:
        """Return what this machine or user lacks to emulate a network; empty if nothing."""
        return missing()

    def start(self) -> None:
        """Make the namespaces and start forwarding.

        Raises
        ------
        EndpointError
            If this machine or user cannot emulate a network, or it was started before.
        """
        if lacking := missing():
            raise EndpointError(f"An emulated network needs {lacking}.")
        super().start()

    @property
    def is_running(self) -> bool:
        """Whether packets are forwarded."""
        return self._forwarder is not None and self._forwarder.is_running

    def host(self, region: Region | str) -> Host:
        """Return the address of a region, and its namespace.

        Parameters
        ----------
        region : Region or str
            One of `regions`, or ``local``.

        Raises
        ------
        ConfigurationError
            If the network has no such region.
        EndpointError
            If it is not running.
        """
        wanted = self._known(region)
        if wanted not in self._hosts:
            raise EndpointError("The emulated network is not running. Use it in a `with` block.")
        return self._hosts[wanted]

    def call(self, region: Region | str, function: Callable[..., T], *args: Any) -> T:
        """Call a function in a region, in a thread of its own; for ``local``, in this one.

        Sockets that it opens stay in the region; processes that it starts are the
        region's too.

        Parameters
        ----------
        region : Region or str
            Where.
        function : callable
            What to call.
        *args : Any
            Its arguments.

        Returns
        -------
        Any
            What it returns; what it raises is raised here.
        """
        return call_in(self.host(region).namespace, function, *args)

    def popen(
        self, region: Region | str, command: Sequence[str], **kwargs: Any
    ) -> subprocess.Popen[bytes]:
        """Start a process in a region. It is killed when the network closes.

        Parameters
        ----------
        region : Region or str
            Where; a process of ``local`` is not killed.
        command : sequence of str
            The program and its arguments.
        **kwargs : Any
            More for `subprocess.Popen`.
        """
        return subprocess.Popen(self.host(region).command(command), **kwargs)

    @property
    def links(self) -> Mapping[Pair, EmulatedLink]:
        """The link of each ordered pair, whether or not it is cut."""
        return MappingProxyType(self._links)

    def set_link(
        self,
        source: Region | str,
        target: Region | str,
        link: EmulatedLink | None = None,
        *,
        both_ways: bool = True,
        **changes: float,
    ) -> None:
        """Change a link while packets cross it.

        Parameters
        ----------
        source, target : Region or str
            From where to where.
        link : EmulatedLink, optional
            What it becomes; by default what it is.
        both_ways : bool, optional
            Whether the way back changes too.
        **changes : float
            Single figures, such as ``loss=0.01``.
        """
        for pair in self._ways(source, target, both_ways=both_ways):
            self._links[pair] = replace(link or self._links[pair], **changes)
        self._send_links()

    def cut(
        self,
        source: Region | str,
        target: Region | str | None = None,
        *,
        seconds: float = math.inf,
        both_ways: bool = True,
    ) -> None:
        """Stop all traffic, and lose what is under way.

        Connections stay open, and wait.

        Parameters
        ----------
        source, target : Region or str
            From where to where; without a target, to everywhere.
        seconds : float, optional
            After which all passes again; by default not before `restore`.
        both_ways : bool, optional
            Whether the way back is cut too.
        """
        self._cut(source, target, seconds=seconds, both_ways=both_ways)

    def restore(
        self,
        source: Region | str,
        target: Region | str | None = None,
        *,
        both_ways: bool = True,
    ) -> None:
        """Resume traffic after a `cut`.

        Parameters
        ----------
        source, target : Region or str
            From where to where; without a target, to everywhere.
        both_ways : bool, optional
            Whether the way back is restored too.
        """
        self._cut(source, target, seconds=0.0, both_ways=both_ways)

    def counts(self, since: Mapping[Pair, LinkCounts] | None = None) -> dict[Pair, LinkCounts]:
        """Read what has crossed each link.

        Parameters
        ----------
        since : Mapping, optional
            An earlier answer, to be subtracted.

        Returns
        -------
        dict of (Region, Region) to LinkCounts
            Both ways are counted apart.
        """
        regions = list(self._places)
        earlier = since or {}
        return {
            pair: LinkCounts(
                nbytes=nbytes, payload_nbytes=payload, packets=packets, dropped=dropped
            )
            - earlier.get(pair, LinkCounts())
            for source, target, nbytes, payload, packets, dropped in self._ask("count")
            for pair in [(regions[source], regions[target])]
        }

    def measure(
        self,
        *,
        pairs: Iterable[tuple[Region | str, Region | str]] | None = None,
        seconds: float = 1.0,
    ) -> tuple[MeasuredLink, ...]:
        """Measure round trip and throughput of each link.

        Parameters
        ----------
        pairs : iterable of (Region or str, Region or str), optional
            Whose links, by default all.
        seconds : float, optional
            How long each TCP stream is measured, after its start. Streams that
            together are slow enough run at the same time.
        """
        return measure(self, pairs=self._pairs(pairs), seconds=seconds)

    def verify(
        self,
        *,
        pairs: Iterable[tuple[Region | str, Region | str]] | None = None,
        tolerance: float = 0.1,
        slack_seconds: float = 0.001,
        seconds: float = 1.0,
    ) -> tuple[MeasuredLink, ...]:
        """Measure each link, and check that it is as it was set.

        Throughput is that of one TCP stream: the link's rate less 52 bytes of headers a
        packet, 3.5 % of 1500. It is not checked where packets get lost, since it then
        depends on how TCP takes that, nor where the link has no rate. Links that are
        off are measured again, twice at most: another process may have had the cores.

        Parameters
        ----------
        pairs : iterable of (Region or str, Region or str), optional
            Whose links, by default all.
        tolerance : float, optional
            Fraction by which a figure may be off.
        slack_seconds : float, optional
            By which a round trip may be off in any case.
        seconds : float, optional
            How long each TCP stream is measured, after its start.

        Raises
        ------
        EndpointError
            If a link is not as it was set. The message lists all of them.
        """
        return verify(
            self,
            pairs=self._pairs(pairs),
            tolerance=tolerance,
            slack_seconds=slack_seconds,
            seconds=seconds,
        )

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not running"
        listed = ", ".join(map(str, self.regions))
        return f"<{type(self).__name__}: {listed}; {state}>"

    def _start(self) -> None:
        network = self._stack.enter_context(claimed_network())
        inodes = []
        devices = []
        with ExitStack() as opened:
            for region, place in self._places.items():
                namespace = None
                if not region.is_local:
                    namespace = make_namespace()
                    self._stack.callback(os.close, namespace)
                    inodes.append(os.fstat(namespace).st_ino)
                address = f"{network}.{place + 1}"
                # This machine may have several such networks.
                name = f"wan-{network}" if region.is_local else _DEVICE
                device = make_device(namespace, name, address=address, mtu=self.mtu)
                # The forwarder's alone, so that it takes the devices with it.
                opened.callback(os.close, device)
                devices.append(device)
                self._hosts[region] = Host(address=address, namespace=namespace)
            self._stack.callback(end_processes, inodes)
            forwarder = ForwarderProcess(network, devices=devices, namespaces=inodes)
            self._stack.callback(forwarder.close)
            self._forwarder = forwarder
        self._send_links()
        logger.info("Emulated network %s.0/24 of %d regions", network, len(self.regions))

    def _close(self) -> None:
        with self._lock:
            self._hosts.clear()
            self._stack.close()
            self._forwarder = None

    def _send_links(self) -> None:
        if self._forwarder is None:
            return
        self._ask(
            "set",
            links=[
                (
                    self._places[source],
                    self._places[target],
                    link.delay_seconds,
                    link.bytes_per_second,
                    link.loss,
                    link.delay_seconds + self._links[target, source].delay_seconds,
                )
                for (source, target), link in self._links.items()
            ],
        )

    def _cut(
        self,
        source: Region | str,
        target: Region | str | None,
        *,
        seconds: float,
        both_ways: bool,
    ) -> None:
        one = self._known(source)
        others = [each for each in self._places if each != one] if target is None else [target]
        pairs = [
            (self._places[start], self._places[end])
            for other in others
            for start, end in self._ways(one, other, both_ways=both_ways)
        ]
        self._ask("cut", pairs=pairs, seconds=seconds)

    def _pairs(self, pairs: Iterable[tuple[Region | str, Region | str]] | None) -> list[Pair]:
        if pairs is None:
            return list(self._links)
        return [self._ways(*pair, both_ways=False)[0] for pair in pairs]

    def _ways(self, source: Region | str, target: Region | str, *, both_ways: bool) -> list[Pair]:
        pair = self._known(source), self._known(target)
        if pair[0] == pair[1]:
            raise ConfigurationError(f"No link joins {str(pair[0])!r} with itself.")
        return [pair, pair[::-1]] if both_ways else [pair]

    def _known(self, region: Region | str) -> Region:
        wanted = Region.parse(region)
        if wanted not in self._places:
            listed = ", ".join(map(str, self._places))
            raise ConfigurationError(
                f"The emulated network has no region {str(wanted)!r}, only {listed}.",
                region=str(wanted),
            )
        return wanted

    def _ask(self, what: str, **arguments: Any) -> Any:
        with self._lock:
            if self._forwarder is None:
                raise EndpointError("The emulated network is not running.")
            return self._forwarder.ask(what, **arguments)
