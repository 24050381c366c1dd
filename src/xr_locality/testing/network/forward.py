"""Carry packets between TUN devices, late, at a rate, and not all of them.

Run as a script, by path, so that the process imports nothing of xr-locality but
this file. It ends when its owner closes the control socket or is gone,
and ends the processes in the namespaces that it served.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import math
import os
import random
import select
import signal
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

TUNSETOFFLOAD = 0x400454D0
# The kernel may hand over segments of up to 64 KB, not cut into packets and without
# checksums (linux/if_tun.h: TUN_F_CSUM | TUN_F_TSO4).
OFFLOAD = 0x01 | 0x02
# struct virtio_net_hdr, which precedes each packet.
HEADER_NBYTES = 10
READ_NBYTES = HEADER_NBYTES + 2**16
READS_AT_ONCE = 32

# A queue holds what crosses in so many round trips, so that TCP fills the link and BBR,
# which starts at 2.9 times the rate, drops nothing: with 2 it did, and stalled for 0.2 s
# (Linux 6.18). Never less than a few segments.
QUEUE_ROUND_TRIPS = 3
QUEUE_LEAST_NBYTES = 2**19
# How much later than it should a packet may be read here and still count as in time:
# on a busy machine this process waits for a core, which a real network does not.
LATE_SECONDS = 0.002

OWNER_CHECK_SECONDS = 1.0
KILL_SECONDS = 10.0
POLL_SECONDS = 0.01
MESSAGE_NBYTES = 2**20


class QueuedLink:
    """One direction between two devices: a queue of bytes, a rate, a delay."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self.bytes_per_second = math.inf
        self.loss = 0.0
        self.queue_nbytes = 0.0
        #: Until when nothing passes, in seconds of the monotonic clock.
        self.cut_until = -math.inf
        #: Counts up with each cut: what was under way then does not arrive.
        self.era = 0
        self.free_at = -math.inf
        self.last_due = -math.inf
        self.nbytes = self.payload_nbytes = self.packets = self.dropped = 0

    def due(self, nbytes: int, now: float) -> float | None:
        """Queue so many bytes; return when the last of them arrives, None if they do not fit."""
        start = max(self.free_at, now - LATE_SECONDS)
        if (start - now) * self.bytes_per_second > self.queue_nbytes:
            return None
        self.free_at = start + nbytes / self.bytes_per_second
        # Packets do not overtake on a link that was made shorter.
        self.last_due = max(self.last_due, max(self.free_at, now) + self.delay_seconds)
        return self.last_due


class Forwarder:
    """Moves packets between devices until its owner is gone.

    Parameters
    ----------
    devices : sequence of int
        File descriptors of TUN devices, with ``IFF_VNET_HDR``.
    network : str
        The first three numbers of all addresses; a device's last one is its place in
        `devices` and one more.
    control : socket
        Where the owner asks.
    """

    def __init__(self, devices: Sequence[int], *, network: str, control: socket.socket) -> None:
        self._devices = devices
        self._control = control
        self._owner = os.getppid()
        places = range(len(devices))
        self._links = [[QueuedLink(target) for target in places] for _ in places]
        prefix = bytes(map(int, network.split(".")))
        self._places = {prefix + bytes([place + 1]): place for place in places}
        self._addresses = {place: address for address, place in self._places.items()}
        self._under_way: list[tuple[float, int, QueuedLink, int, int, int, int, bytes]] = []
        self._read = 0
        self._random = random.Random(0)

    def run(self) -> None:
        """Forward until the owner closes the control socket, or is gone."""
        for device in self._devices:
            set_offload(device, OFFLOAD)
        place_of = {device: place for place, device in enumerate(self._devices)}
        control = self._control.fileno()
        waited_for = [control, *self._devices]
        next_check = 0.0
        while True:
            now = time.monotonic()
            if now >= next_check:
                if os.getppid() != self._owner:
                    return
                next_check = now + OWNER_CHECK_SECONDS
            until = min(next_check, self._under_way[0][0] if self._under_way else math.inf)
            readable, _, _ = select.select(waited_for, [], [], max(until - now, 0.0))
            self._deliver()
            for each in readable:
                if each == control:
                    if not self._answer():
                        return
                else:
                    self._receive(place_of[each])

    def _receive(self, source: int) -> None:
        device, links = self._devices[source], self._links[source]
        for _ in range(READS_AT_ONCE):
            try:
                data = os.read(device, READ_NBYTES)
            except BlockingIOError:
                return
            # Version 4 only; destination address.
            place = self._places.get(data[26:30]) if data[10] >> 4 == 4 else None
            if place is None or place == source or data[22:26] != self._addresses[source]:
                continue
            link = links[place]
            nbytes, payload_nbytes, packets = measure(data)
            now = time.monotonic()
            due = None
            if now >= link.cut_until and not (link.loss and self._random.random() < link.loss):
                due = link.due(nbytes, now)
            if due is None:
                link.dropped += packets
                continue
            self._read += 1
            heapq.heappush(
                self._under_way,
                (due, self._read, link, link.era, nbytes, payload_nbytes, packets, data),
            )

    def _deliver(self) -> None:
        under_way = self._under_way
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, link, era, nbytes, payload_nbytes, packets, data = heapq.heappop(under_way)
            try:
                if era != link.era:
                    raise OSError("Cut meanwhile")
                os.write(self._devices[link.target], data)
            except OSError:
                link.dropped += packets
            else:
                link.nbytes += nbytes
                link.payload_nbytes += payload_nbytes
                link.packets += packets

    def _answer(self) -> bool:
        """Answer one request of the owner; False if it is gone."""
        try:
            message = self._control.recv(MESSAGE_NBYTES)
        except ConnectionError:
            return False
        if not message:
            return False
        asked = json.loads(message)
        answer = getattr(self, f"do_{asked.pop('do')}")(**asked)
        with contextlib.suppress(BrokenPipeError):
            self._control.send(json.dumps(answer).encode())
        return True

    def do_set(self, *, links: Iterable[Sequence[Any]]) -> None:
        """Set links: source, target, delay, bytes a second, loss, round trip."""
        for source, target, delay, rate, loss, round_trip in links:
            link = self._links[source][target]
            link.delay_seconds, link.bytes_per_second, link.loss = delay, rate, loss
            # What is already queued keeps its time, but not what comes after it.
            link.free_at = -math.inf
            link.queue_nbytes = QUEUE_LEAST_NBYTES
            if rate < math.inf:
                link.queue_nbytes = max(QUEUE_ROUND_TRIPS * rate * round_trip, QUEUE_LEAST_NBYTES)
        # A fraction of packets is a fraction of packets only where they are not bundled.
        for device, links_out in zip(self._devices, self._links, strict=True):
            lossy = any(link.loss for link in links_out)
            set_offload(device, 0 if lossy else OFFLOAD)

    def do_cut(self, *, pairs: Iterable[Sequence[int]], seconds: float) -> None:
        """Stop all traffic for so many seconds; packets under way are lost."""
        until = time.monotonic() + seconds
        for source, target in pairs:
            link = self._links[source][target]
            link.cut_until = until
            if seconds > 0:
                link.era += 1
                link.free_at = link.last_due = -math.inf

    def do_count(self) -> list[list[int]]:
        """List for each link: source, target, bytes, of these payload, packets, dropped."""
        return [
            [source, link.target, link.nbytes, link.payload_nbytes, link.packets, link.dropped]
            for source, links in enumerate(self._links)
            for link in links
            if link.target != source
        ]


def set_offload(device: int, features: int) -> None:
    """Set what the kernel leaves to the reader of a device."""
    # Not on every system, and the owner imports this module too.
    import fcntl

    fcntl.ioctl(device, TUNSETOFFLOAD, features)


def measure(data: bytes) -> tuple[int, int, int]:
    """Return bytes on the wire, payload and number of the packets of one read.

    A segment not yet cut has one header here and one for each packet on the wire.
    """
    header = (data[10] & 0x0F) * 4
    protocol = data[19]
    if protocol == socket.IPPROTO_TCP:
        header += (data[HEADER_NBYTES + header + 12] >> 4) * 4
    elif protocol == socket.IPPROTO_UDP:
        header += 8
    payload = len(data) - HEADER_NBYTES - header
    size = int.from_bytes(data[4:6], "little") if data[1] else 0
    packets = max(math.ceil(payload / size), 1) if size else 1
    return payload + packets * header, payload, packets


def end_processes(namespaces: Iterable[int]) -> None:
    """Kill all processes in network namespaces, as ``kill -9`` does.

    Parameters
    ----------
    namespaces : iterable of int
        The namespaces' inode numbers.
    """
    wanted = set(namespaces)
    deadline = time.monotonic() + KILL_SECONDS
    # What is just forking may be missed once.
    empty_looks = 0
    while empty_looks < 2 and time.monotonic() < deadline:
        found = [
            int(process.name)
            for process in Path("/proc").iterdir()
            if process.name.isdecimal() and _namespace_of(process) in wanted
        ]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        empty_looks = 0 if found else empty_looks + 1
        time.sleep(POLL_SECONDS)


def _namespace_of(process: Path) -> int | None:
    """Return a process's network namespace; None for one that has ended."""
    try:
        return (process / "ns" / "net").stat().st_ino
    except OSError:
        return None


def main() -> None:
    """Forward between the devices given as file descriptors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--network", required=True, help="such as 10.1.2")
    parser.add_argument("--namespaces", type=int, nargs="*", default=[], help="inode numbers")
    parser.add_argument("--devices", type=int, nargs="+", required=True)
    given = parser.parse_args()
    # It stands for hardware, which does not wait for a core.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    control = socket.socket(fileno=given.control)
    forwarder = Forwarder(given.devices, network=given.network, control=control)
    try:
        forwarder.run()
    finally:
        end_processes(given.namespaces)


if __name__ == "__main__":
    main()
