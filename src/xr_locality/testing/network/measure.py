"""Whether an emulated network does what its links say: measured with TCP."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xr_locality.errors import EndpointError
from xr_locality.testing.network.emulated_links import EmulatedLink, Pair

if TYPE_CHECKING:
    from xr_locality.testing.network.network import EmulatedNetwork

__all__ = ["MeasuredLink", "measure", "verify"]

# IP, TCP and its timestamps, of each packet.
_HEADER_NBYTES: Final = 20 + 20 + 12

# Connecting takes one round trip; the quickest of so many is without what the
# machine's other processes add.
_CONNECTS: Final = 7
_TIMEOUT_SECONDS: Final = 20.0
_BUFFER_NBYTES: Final = 2**20

# TCP's start is not measured: round trips until it fills a link, and seconds at least.
_START_ROUND_TRIPS: Final = 12
_START_SECONDS: Final = 0.3

# What is measured at the same time, so that neither the forwarder nor this process's
# threads are the limit. An infinite rate counts as more, and is measured alone.
_TOGETHER_BYTES_PER_SECOND: Final = 80e6

# How often a link that is off is measured before it counts as off.
_MEASUREMENTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLink:
    """One link as it is and as it should be.

    Attributes
    ----------
    pair : tuple of Region
        From where to where.
    rtt_seconds, expected_rtt_seconds : float
        Round trip: this delay and the way back's.
    bytes_per_second, expected_bytes_per_second : float
        Of one TCP stream, without headers. What is expected is the link's rate less 52
        of each packet's bytes; infinite where nothing is, because packets get lost or
        the link has no rate.
    """

    pair: Pair
    rtt_seconds: float
    expected_rtt_seconds: float
    bytes_per_second: float
    expected_bytes_per_second: float

    def agrees(self, *, tolerance: float, slack_seconds: float) -> bool:
        """Check both figures."""
        late = abs(self.rtt_seconds - self.expected_rtt_seconds)
        if late > max(tolerance * self.expected_rtt_seconds, slack_seconds):
            return False
        if math.isinf(self.expected_bytes_per_second):
            return True
        ratio = self.bytes_per_second / self.expected_bytes_per_second
        return 1 - tolerance <= ratio <= 1 + tolerance

    def __str__(self) -> str:
        source, target = self.pair
        return (
            f"{source} to {target}: round trip {self.rtt_seconds * 1e3:.1f} ms of "
            f"{self.expected_rtt_seconds * 1e3:.1f} ms, {self.bytes_per_second / 1e6:.2f} MB/s of "
            f"{self.expected_bytes_per_second / 1e6:.2f} MB/s"
        )


def measure(
    network: EmulatedNetwork, *, pairs: Sequence[Pair], seconds: float
) -> tuple[MeasuredLink, ...]:
    """Measure links of a running network.

    Parameters
    ----------
    network : EmulatedNetwork
        Which is running.
    pairs : sequence of (Region, Region)
        Whose links.
    seconds : float
        How long each TCP stream is measured, after its start.

    Returns
    -------
    tuple of MeasuredLink
        In the order of `pairs`.
    """
    links = {pair: network.links[pair] for pair in pairs}
    rtts = {pair: _round_trip(network, pair) for pair in pairs}
    rates: dict[Pair, float] = {}
    for group in _groups(links):
        with ThreadPoolExecutor(len(group)) as pool:
            measured = pool.map(lambda pair: _throughput(network, pair, seconds=seconds), group)
            rates.update(zip(group, measured, strict=True))
    return tuple(
        MeasuredLink(
            pair=pair,
            rtt_seconds=rtts[pair],
            expected_rtt_seconds=_expected_round_trip(network, pair),
            bytes_per_second=rates[pair],
            expected_bytes_per_second=(
                math.inf
                if link.loss
                else link.bytes_per_second * (network.mtu - _HEADER_NBYTES) / network.mtu
            ),
        )
        for pair, link in links.items()
    )


def verify(
    network: EmulatedNetwork,
    *,
    pairs: Sequence[Pair],
    tolerance: float,
    slack_seconds: float,
    seconds: float,
) -> tuple[MeasuredLink, ...]:
    """Measure links, and those that are off again: see `EmulatedNetwork.verify`."""
    found: dict[Pair, MeasuredLink] = {}
    wrong = list(pairs)
    for _ in range(_MEASUREMENTS):
        found.update({each.pair: each for each in measure(network, pairs=wrong, seconds=seconds)})
        wrong = [
            pair
            for pair in wrong
            if not found[pair].agrees(tolerance=tolerance, slack_seconds=slack_seconds)
        ]
        if not wrong:
            break
    measured = tuple(found[pair] for pair in pairs)
    if wrong:
        listed = "\n".join(str(found[pair]) for pair in wrong)
        raise EndpointError(
            f"{len(wrong)} of {len(measured)} links are off by more than {tolerance:.0%}. "
            f"A busy machine is too slow for fast links.\n{listed}"
        )
    return measured


def _groups(links: Mapping[Pair, EmulatedLink]) -> Iterator[list[Pair]]:
    """Put pairs together that can be measured at once.

    They are slow enough, and no two are ways of one pair: what one acknowledges would
    wait in the other's queue.
    """
    waiting = sorted(links, key=lambda pair: links[pair].bytes_per_second, reverse=True)
    while waiting:
        group: list[Pair] = []
        left = _TOGETHER_BYTES_PER_SECOND
        for pair in list(waiting):
            rate = links[pair].bytes_per_second
            if not group or (rate <= left and pair[::-1] not in group):
                group.append(pair)
                waiting.remove(pair)
                left -= rate
        yield group


def _expected_round_trip(network: EmulatedNetwork, pair: Pair) -> float:
    links = network.links
    return links[pair].delay_seconds + links[pair[::-1]].delay_seconds


def _round_trip(network: EmulatedNetwork, pair: Pair) -> float:
    source, target = pair
    with network.host(target).listen() as listening:
        address = listening.getsockname()

        def connect() -> float:
            start = time.perf_counter()
            with socket.create_connection(address, _TIMEOUT_SECONDS):
                return time.perf_counter() - start

        return min(network.call(source, connect) for _ in range(_CONNECTS))


def _throughput(network: EmulatedNetwork, pair: Pair, *, seconds: float) -> float:
    """Receive one TCP stream; return its bytes a second, once it has started."""
    source, target = pair
    with network.host(target).listen() as listening:
        address = listening.getsockname()
        sending = network.call(source, socket.create_connection, address, _TIMEOUT_SECONDS)
        receiving, _ = listening.accept()
        receiving.settimeout(_TIMEOUT_SECONDS)
        with sending, receiving:
            thread = threading.Thread(target=_send, args=[sending], name="xr-locality-measure")
            thread.start()
            try:
                round_trip = _expected_round_trip(network, pair)
                _receive(receiving, seconds=_START_SECONDS + _START_ROUND_TRIPS * round_trip)
                return _receive(receiving, seconds=seconds)
            finally:
                # Wakes the sender, and takes nothing more off the link.
                sending.shutdown(socket.SHUT_RDWR)
                receiving.close()
                thread.join()


def _send(connection: socket.socket) -> None:
    """Send until the connection is shut down."""
    data = bytes(_BUFFER_NBYTES)
    try:
        while True:
            connection.sendall(data)
    except OSError:
        return


def _receive(connection: socket.socket, *, seconds: float) -> float:
    """Receive for some time; return bytes a second."""
    data = bytearray(_BUFFER_NBYTES)
    received = 0
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        received += connection.recv_into(data)
    return received / passed
