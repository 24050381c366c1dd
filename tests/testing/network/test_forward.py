"""The forwarder's arithmetic, without a device."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from xr_locality.testing.network.forward import LATE_SECONDS, QueuedLink, end_processes, measure


def link(**figures: float) -> QueuedLink:
    """Make a link of a megabyte a second, with room for a hundred kilobytes."""
    made = QueuedLink(target=1)
    made.delay_seconds = figures.get("delay_seconds", 0.05)
    made.bytes_per_second = figures.get("bytes_per_second", 1e6)
    made.queue_nbytes = figures.get("queue_nbytes", 1e5)
    return made


def packet(*, payload: int, protocol: int = socket.IPPROTO_TCP, segment: int = 0) -> bytes:
    """Make what a device with ``IFF_VNET_HDR`` gives: TCP with timestamps, or UDP."""
    virtio = bytes([0, 1 if segment else 0, 0, 0]) + segment.to_bytes(2, "little") + bytes(4)
    version_4 = bytes([0x45]) + bytes(8) + bytes([protocol]) + bytes(10)
    transport = bytes(8)
    if protocol == socket.IPPROTO_TCP:
        transport = bytes(12) + bytes([8 << 4]) + bytes(19)
    return virtio + version_4 + transport + bytes(payload)


def test_bytes_wait_for_each_other() -> None:
    """What arrives at once leaves one after the other, at the link's rate."""
    slow = link(delay_seconds=0.05)
    times = [slow.due(10_000, now=100.0) for _ in range(3)]
    # The first may have been read late.
    first = 100.0 + 0.05 + 0.01 - LATE_SECONDS
    assert times == pytest.approx([first, first + 0.01, first + 0.02])


def test_rate_holds_over_time() -> None:
    """Packets that are read late make up for it, and no more than that."""
    slow = link(delay_seconds=0.0)
    # One packet each 10 ms is what the link takes; each is read up to 1 ms late.
    for i in range(1000):
        last = slow.due(10_000, now=100.0 + i * 0.01 + (i % 2) * 0.001)
    assert last == pytest.approx(110.0, abs=2 * LATE_SECONDS)


def test_full_queue_drops() -> None:
    """What finds more waiting than the queue holds does not pass; later it does again."""
    slow = link(queue_nbytes=25_000)
    passed = [slow.due(10_000, now=0.0) is not None for _ in range(6)]
    assert passed == [True, True, True, False, False, False]
    assert slow.due(10_000, now=0.02) is not None


def test_no_rate_is_as_fast_as_asked() -> None:
    """A link without a rate delays, and never drops."""
    fast = link(bytes_per_second=math.inf, delay_seconds=0.5, queue_nbytes=0)
    assert [fast.due(10**9, now=1.0) for _ in range(3)] == [1.5, 1.5, 1.5]


def test_a_shorter_link_keeps_the_order() -> None:
    """Packets sent after the delay was cut do not overtake."""
    changing = link(delay_seconds=1.0)
    before = changing.due(1000, now=0.0)
    changing.delay_seconds = 0.0
    assert changing.due(1000, now=0.01) == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (packet(payload=100), (152, 100, 1)),
        (packet(payload=0), (52, 0, 1)),
        (packet(payload=3000, segment=1448), (3000 + 3 * 52, 3000, 3)),
        (packet(payload=2896, segment=1448), (2896 + 2 * 52, 2896, 2)),
        (packet(payload=100, protocol=socket.IPPROTO_UDP), (128, 100, 1)),
    ],
    ids=["tcp", "acknowledgement", "segment", "even segment", "udp"],
)
def test_segments_count_as_their_packets(given: bytes, expected: tuple[int, int, int]) -> None:
    """A segment not yet cut counts with one header for each packet that it becomes."""
    assert measure(given) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_ends_only_what_is_in_the_namespaces() -> None:
    """Processes elsewhere live on."""
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        try:
            end_processes([Path("/proc/self/ns/net").stat().st_ino + 1])
            assert sleeping.poll() is None
        finally:
            sleeping.kill()
