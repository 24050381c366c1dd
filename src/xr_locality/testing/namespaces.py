"""Network namespaces and TUN devices, through the kernel's own calls.

A namespace made here has no name: it lives as long as a process holds its file or
runs in it, so that nothing is left of it afterwards.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = ["call_in", "make_device", "make_namespace", "missing"]

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_TUN: Final = Path("/dev/net/tun")

# linux/if_tun.h
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000

# linux/sockios.h, linux/if.h
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFADDR: Final = 0x8916
_SIOCSIFNETMASK: Final = 0x891C
_SIOCSIFMTU: Final = 0x8922
_IFF_UP: Final = 0x1

# Of a namespace of ours alone. Windows large enough for a long fat link, whatever the
# machine's defaults; nothing remembered from one connection for the next.
_SETTINGS: Final = {
    "ipv4/tcp_rmem": "4096 131072 67108864",
    "ipv4/tcp_wmem": "4096 131072 67108864",
    "ipv4/tcp_no_metrics_save": "1",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}


def missing() -> str:
    """Return what this machine or this user lacks to emulate a network; empty if nothing."""
    if platform.system() != "Linux":
        return f"Linux (this is {platform.system()})"
    if os.geteuid() != 0:
        return "root"
    if not _TUN.exists():
        return f"the device {_TUN}"
    if shutil.which("nsenter") is None:
        return "the command nsenter, of the package util-linux"
    try:
        os.close(make_namespace())
        os.close(os.open(_TUN, os.O_RDWR))
    except OSError as error:
        return f"the right to make network namespaces and TUN devices ({error})"
    return ""


def make_namespace() -> int:
    """Make a network namespace with its loopback up; return a file that holds it."""

    def make() -> int:
        _libc("unshare", _CLONE_NEWNET)
        _configure("lo", up=True)
        for name, value in _SETTINGS.items():
            # Kernels without IPv6, say.
            with suppress(OSError):
                Path("/proc/sys/net", name).write_text(value, "ascii")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def call_in(namespace: int | None, function: Callable[..., T], *args: Any) -> T:
    """Call a function in a network namespace, in a thread of its own if it is another.

    Sockets that it makes stay in the namespace.

    Parameters
    ----------
    namespace : int or None
        A file of `make_namespace`; None for this process's own.
    function : callable
        What to call.
    *args : Any
        Its arguments.
    """
    if namespace is None:
        return function(*args)

    def call() -> T:
        _libc("setns", namespace, _CLONE_NEWNET)
        return function(*args)

    return _in_thread(call)


def make_device(namespace: int | None, name: str, *, address: str, mtu: int) -> int:
    """Make a TUN device in a namespace, with an address of a network of 256.

    Parameters
    ----------
    namespace : int or None
        A file of `make_namespace`; None for this process's own.
    name : str
        At most 15 characters.
    address : str
        Of version 4.
    mtu : int
        Bytes of a packet.

    Returns
    -------
    int
        Its file: what is read was sent from the namespace, what is written arrives in
        it. The device goes when it is closed.
    """
    # Not on every system.
    import fcntl

    def make() -> int:
        device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            _configure(name, address=address, mtu=mtu, up=True)
        except BaseException:
            os.close(device)
            raise
        return device

    return call_in(namespace, make)


def _configure(
    name: str, *, address: str | None = None, mtu: int | None = None, up: bool = False
) -> None:
    import fcntl

    encoded = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        if address is not None:
            for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0")):
                packed = struct.pack(
                    "16sHH4s16x", encoded, socket.AF_INET, 0, socket.inet_aton(value)
                )
                fcntl.ioctl(asked, request, packed)
        if mtu is not None:
            fcntl.ioctl(asked, _SIOCSIFMTU, struct.pack("16si20x", encoded, mtu))
        if up:
            answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("16sH22x", encoded, 0))
            (flags,) = struct.unpack_from("H", answer, 16)
            fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sH22x", encoded, flags | _IFF_UP))


def _libc(name: str, *args: int) -> None:
    """Call what the os module has since Python 3.12 only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _in_thread(function: Callable[[], T]) -> T:
    """Call in a new thread, whose namespace goes with it, and raise here what it raises."""
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(function())
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread.
            raised.append(error)

    thread = threading.Thread(target=run, name="xr-locality-namespace")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]
