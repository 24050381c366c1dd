"""An emulated network does what its links say, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest

from support.polling import patience, until
from xr_locality.errors import ConfigurationError, EndpointError
from xr_locality.regions.region import Region
from xr_locality.testing import EmulatedLink, EmulatedNetwork, LinkCounts, Testbed
from xr_locality.testing.watchdog import marked_processes

AWS, GCP, AZURE, LOCAL = map(
    Region.parse, ("aws:us-west-2", "gcp:us-central1", "azure:westeurope", "local")
)
MISSING = EmulatedNetwork.missing()
#: Rates small enough for a machine that does other things too.
LINKS = {
    (AWS, GCP): EmulatedLink(delay_seconds=0.015, bytes_per_second=12.5e6),
    (GCP, AWS): EmulatedLink(delay_seconds=0.01, bytes_per_second=6e6),
    (AWS, AZURE): EmulatedLink(delay_seconds=0.04, bytes_per_second=5e6),
    (GCP, AZURE): EmulatedLink(delay_seconds=0.03, bytes_per_second=8e6),
    (LOCAL, AWS): EmulatedLink(delay_seconds=0.005, bytes_per_second=1.25e6),
    (AWS, LOCAL): EmulatedLink(delay_seconds=0.005, bytes_per_second=10e6),
    (LOCAL, GCP): EmulatedLink(delay_seconds=0.02, bytes_per_second=10e6),
    (LOCAL, AZURE): EmulatedLink(delay_seconds=0.0, bytes_per_second=5e6),
}
PATIENCE_SECONDS = patience(20)
#: Of IP, and of TCP with timestamps.
HEADER_NBYTES = 52

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}"),
]


@pytest.fixture(scope="module")
def network() -> Iterator[EmulatedNetwork]:
    """Three regions with a link of its own for each pair."""
    with EmulatedNetwork([AWS, GCP, AZURE], links=LINKS) as running:
        yield running


@pytest.fixture
def restored(network: EmulatedNetwork) -> Iterator[EmulatedNetwork]:
    """The network, put back as it was."""
    links = dict(network.links)
    yield network
    for (source, target), link in links.items():
        network.restore(source, target)
        network.set_link(source, target, link, both_ways=False)


def connect(
    network: EmulatedNetwork, source: Region, target: Region
) -> tuple[socket.socket, socket.socket]:
    """Connect two regions; return both ends."""
    with network.host(target).listen() as listening:
        address = listening.getsockname()
        sending = network.call(source, socket.create_connection, address, PATIENCE_SECONDS)
        receiving, _ = listening.accept()
    receiving.settimeout(PATIENCE_SECONDS)
    return sending, receiving


def transfer(network: EmulatedNetwork, source: Region, target: Region, nbytes: int) -> float:
    """Send so many bytes from region to region; return the seconds until the last one arrived."""
    sending, receiving = connect(network, source, target)
    with sending, receiving:
        start = time.monotonic()
        thread = threading.Thread(target=sending.sendall, args=[bytes(nbytes)])
        thread.start()
        received = 0
        while received < nbytes:
            received += len(receiving.recv(2**20))
        seconds = time.monotonic() - start
        thread.join()
    return seconds


class TestShape:
    def test_each_link_is_as_it_was_set(self, network: EmulatedNetwork) -> None:
        """Round trip and throughput of all twelve links are within a tenth of the matrix."""
        measured = network.verify(tolerance=0.1, slack_seconds=0.002, seconds=0.6)
        assert [each.pair for each in measured] == list(network.links)
        there = {each.pair: each for each in measured}
        assert there[AWS, AZURE].expected_rtt_seconds == 0.08
        assert there[AWS, GCP].expected_bytes_per_second == 12.5e6 * 1448 / 1500

    def test_what_is_off_is_named(self, restored: EmulatedNetwork) -> None:
        """The check fails where a link is not as it was set, and names that link alone."""
        expected = restored.links[LOCAL, AZURE]
        restored.set_link(LOCAL, AZURE, delay_seconds=0.01, both_ways=False)
        # Behind the network's back, so that it expects what was before.
        restored._links[LOCAL, AZURE] = expected
        with pytest.raises(EndpointError, match="1 of 2 links are off") as caught:
            restored.verify(pairs=[(LOCAL, AZURE), (GCP, AZURE)], seconds=0.3)
        assert "local to azure:westeurope: round trip 10." in str(caught.value)
        assert "gcp" not in str(caught.value)

    def test_inside_a_region_nothing_is_slow_or_counted(self, network: EmulatedNetwork) -> None:
        """What stays in a region does not pass the forwarder."""
        before = settled_counts(network)
        assert transfer(network, AZURE, AZURE, 50_000_000) < 5.0
        assert not any(counts.packets for counts in network.counts(before).values())

    def test_rate_changes_while_it_runs(self, restored: EmulatedNetwork) -> None:
        """A link made slower is slower for what comes next, the way back as it was."""
        restored.set_link(AWS, GCP, bytes_per_second=1e6, both_ways=False)
        assert transfer(restored, AWS, GCP, 1_000_000) > 0.9
        assert restored.links[AWS, GCP].delay_seconds == LINKS[AWS, GCP].delay_seconds
        assert restored.links[GCP, AWS] == LINKS[GCP, AWS]

    def test_packets_get_lost(self, restored: EmulatedNetwork) -> None:
        """A fraction of packets is dropped, and counted as such."""
        restored.set_link(LOCAL, AZURE, loss=0.1, both_ways=False)
        before = restored.counts()

        def passed() -> int:
            counts = restored.counts(before)[LOCAL, AZURE]
            return counts.packets + counts.dropped

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for n_sent in range(100, 1001, 100):
                # The device itself holds no more than some hundred.
                for _ in range(100):
                    sending.sendto(bytes(100), (restored.host(AZURE).address, 9))
                assert until(partial(lambda n: passed() == n, n_sent))
        counts = restored.counts(before)[LOCAL, AZURE]
        assert 0.07 < counts.dropped / passed() < 0.13
        assert counts.payload_nbytes == counts.packets * 100


class TestCounts:
    def test_known_transfer(self, network: EmulatedNetwork) -> None:
        """Payload is counted to the byte, headers are 52 bytes a packet, and only there."""
        before = settled_counts(network)
        transfer(network, AWS, GCP, 5_000_000)
        counts = network.counts(before)
        there, back = counts[AWS, GCP], counts[GCP, AWS]
        # What was sent again, on a machine too busy to acknowledge in time, counts twice.
        assert 5_000_000 <= there.payload_nbytes < 5_250_000
        assert there.nbytes - there.payload_nbytes == pytest.approx(
            there.packets * HEADER_NBYTES, abs=100
        )
        assert back.payload_nbytes == 0
        others = {pair for pair, each in counts.items() if each.packets}
        assert others == {(AWS, GCP), (GCP, AWS)}


class TestCut:
    def test_cut_until_restored(self, restored: EmulatedNetwork) -> None:
        """Nothing passes a cut link, others are as before, and it comes back as it was."""
        sending, receiving = connect(restored, AWS, GCP)
        with sending, receiving:
            sending.sendall(b"before")
            assert receiving.recv(100) == b"before"
            restored.cut(AWS, GCP)
            before = restored.counts()
            sending.sendall(b"after")
            receiving.settimeout(0.3)
            with pytest.raises(TimeoutError):
                receiving.recv(100)
            transfer(restored, AWS, AZURE, 1000)
            counts = restored.counts(before)[AWS, GCP]
            assert counts.nbytes == 0
            assert counts.dropped > 0
            restored.restore(AWS, GCP)
            receiving.settimeout(PATIENCE_SECONDS)
            assert receiving.recv(100) == b"after"

    def test_cut_for_some_time(self, restored: EmulatedNetwork) -> None:
        """A link cut for a time restores itself."""
        sending, receiving = connect(restored, LOCAL, AWS)
        with sending, receiving:
            restored.cut(LOCAL, AWS, seconds=0.5)
            start = time.monotonic()
            sending.sendall(b"late")
            assert receiving.recv(100) == b"late"
            assert time.monotonic() - start > 0.4

    def test_region_cut_from_everybody(self, restored: EmulatedNetwork) -> None:
        """Without a target a region is cut off, and the others still reach each other."""
        restored.cut(AZURE)
        address = (restored.host(AZURE).address, 9)
        for source in (AWS, GCP, LOCAL):
            with pytest.raises(TimeoutError):
                restored.call(source, socket.create_connection, address, 0.2)
        transfer(restored, AWS, GCP, 1000)

    def test_stranger_is_refused(self, network: EmulatedNetwork) -> None:
        """A region that takes no part cannot be cut, nor a region from itself."""
        with pytest.raises(ConfigurationError, match=r"'aws:us-east-1'"):
            network.cut("aws:us-east-1")
        with pytest.raises(ConfigurationError, match="itself"):
            network.cut(AWS, AWS)


class TestLife:
    def test_two_at_once(self, network: EmulatedNetwork) -> None:
        """Another network beside the first has addresses of its own, and both work."""
        with EmulatedNetwork([AWS], links=EmulatedLink()) as other:
            mine, its = (each.host(AWS).address for each in (network, other))
            assert mine.rpartition(".")[0] != its.rpartition(".")[0]
            transfer(network, LOCAL, AWS, 1000)
            transfer(other, LOCAL, AWS, 1000)

    def test_ends_after_an_exception(self) -> None:
        """An exception passes through; processes, device and forwarder are gone."""
        network = EmulatedNetwork([AWS], links=EmulatedLink())
        sleeping: list[subprocess.Popen[bytes]] = []
        devices: list[Path] = []

        def fail() -> None:
            with network:
                sleeping.append(network.popen(AWS, ["sleep", "60"]))
                devices.append(device_of(network))
                assert devices[0].exists()
                assert until(lambda: namespace_of(sleeping[0].pid) != namespace_of("self"))
                raise RuntimeError("on purpose")

        with pytest.raises(RuntimeError, match="^on purpose$"):
            fail()
        assert sleeping[0].wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert not devices[0].exists()
        assert not network.is_running
        network.close()
        with pytest.raises(EndpointError, match="not running"):
            network.host(AWS)
        with pytest.raises(EndpointError, match="started before"):
            network.start()

    def test_ended_forwarder_is_told(self) -> None:
        """Whoever asks a network whose forwarder was killed is told, and it still closes."""
        with EmulatedNetwork([AWS], links=EmulatedLink()) as network:
            sleeping = network.popen(AWS, ["sleep", "60"])
            assert until(lambda: namespace_of(sleeping.pid) != namespace_of("self"))
            assert network._forwarder is not None
            network._forwarder.process.kill()
            with pytest.raises(EndpointError, match="forwarder ended"):
                network.counts()
        assert sleeping.wait(PATIENCE_SECONDS) == -signal.SIGKILL

    def test_nothing_outlives_a_killed_owner(self) -> None:
        """After kill -9 of a testbed's process, servers, forwarder, namespace and device go."""
        script = """
            import signal
            from xr_locality.testing import EmulatedNetwork, Testbed

            network = EmulatedNetwork(["aws:us-west-2"])
            bed = Testbed(network=network, objects="files")
            bed.start()
            sleeping = network.popen("aws:us-west-2", ["sleep", "60"])
            host = network.host("local").address
            print(bed.marker, host, sleeping.pid, network._forwarder.process.pid, flush=True)
            signal.pause()
        """
        owner = subprocess.Popen(
            [sys.executable, "-c", dedent(script)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert owner.stdout is not None
            marker, address, *pids = owner.stdout.readline().split()
            device = Path("/sys/class/net", f"wan-{address.rpartition('.')[0]}")
            assert device.exists()
            assert until(lambda: namespace_of(pids[0]) != namespace_of("self"))
            servers = [process.pid for process in marked_processes(marker)]
            assert namespace_of(pids[0]) in map(namespace_of, servers)
            owner.kill()
            owner.wait(PATIENCE_SECONDS)
            assert until(lambda: not device.exists())
            assert until(lambda: not list(marked_processes(marker)))
            assert until(lambda: not any(Path("/proc", pid).exists() for pid in pids))
        finally:
            owner.kill()
            owner.communicate()

    def test_unprivileged_user_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without root, starting says that it is needed, and changes nothing."""
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        assert EmulatedNetwork.missing() == "root"
        with pytest.raises(EndpointError, match="needs root"):
            EmulatedNetwork([AWS]).start()

    def test_testbed_of_other_regions_is_refused(self) -> None:
        """A testbed's regions must take part in its network."""
        with pytest.raises(ConfigurationError, match="not in <EmulatedNetwork"):
            Testbed([GCP], network=EmulatedNetwork([AWS]))


def settled_counts(network: EmulatedNetwork) -> dict[tuple[Region, Region], LinkCounts]:
    """Count once nothing of an earlier test is under way."""
    # As long as a round trip and the queue of the slowest link.
    counts = network.counts()
    same_since = time.monotonic()
    while time.monotonic() - same_since < 0.3:
        if (latest := network.counts()) != counts:
            counts, same_since = latest, time.monotonic()
        time.sleep(0.02)
    return counts


def namespace_of(pid: int | str) -> int:
    """Tell a process's network namespace."""
    return Path("/proc", str(pid), "ns", "net").stat().st_ino


def device_of(network: EmulatedNetwork) -> Path:
    """Find a network's device on this machine."""
    prefix = network.host(LOCAL).address.rpartition(".")[0]
    return Path("/sys/class/net", f"wan-{prefix}")
