"""Addresses for an emulated network, claimed among all processes of this machine."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from xr_locality.errors import EndpointError

__all__ = ["claimed_network"]

_ATTEMPTS: Final = 50


@contextmanager
def claimed_network() -> Iterator[str]:
    """Claim a network of 256 addresses that is free, such as ``10.64.3``."""
    taken = _routed_networks()
    for _ in range(_ATTEMPTS):
        # Seeded by the system: two tests that seed alike must differ here.
        chosen = random.SystemRandom()
        second, third = chosen.randrange(64, 250), chosen.randrange(256)
        first_address = (10 << 24) + (second << 16) + (third << 8)
        if any(first_address & mask == network for network, mask in taken):
            continue
        network = f"10.{second}.{third}"
        # Goes with this process, however it ends, and is there for all processes.
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0xr-locality-network-{network}")
            except OSError:
                continue
            yield network
            return
    raise EndpointError("Found no free addresses in 10.0.0.0/8 for an emulated network.")


def _routed_networks() -> list[tuple[int, int]]:
    """List the networks and masks of this machine's routes, but for the default one."""
    lines = Path("/proc/net/route").read_text("ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    networks = [
        tuple(int.from_bytes(bytes.fromhex(each[column]), "little") for column in (1, 7))
        for each in fields
    ]
    return [(network, mask) for network, mask in networks if mask]
