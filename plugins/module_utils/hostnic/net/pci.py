# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI address of a link's device, asked of the kernel by ethtool's ioctl.

/sys/class/net shows the links of the one network namespace that it was mounted for; a socket sees those of its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import logging
import re
import socket
import struct
import typing as t

from ..errors import LinkFailed
from .netns import Envoy

log = logging.getLogger("hostnic.net")

# <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL: t.Final = 0x8946
_GDRVINFO: t.Final = 3
# cmd, driver, version, fw_version, bus_info, erom_version, reserved2, five numbers
_DRVINFO: t.Final = struct.Struct("=I32s32s32s32s32s12s5I")
_IFREQ: t.Final = struct.Struct("@16sP16x")
_ADDRESS: t.Final = re.compile(rb"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


_MOST: t.Final = 256  # several times the NICs of a node


class Addresses:
    """Of the links of one namespace. Any thread may call; each link is asked once: the kernel has its link lock for it.

    A link keeps its index and its name there, and one that is plugged in anew has another index.
    """

    def __init__(self, envoy: Envoy, descriptor: int) -> None:
        """`LinkFailed` where the kernel gives no socket there."""
        try:
            self._socket = envoy.visit(descriptor, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        except OSError as error:
            raise LinkFailed(f"cannot open a socket: {error.strerror}", errno=error.errno) from error
        self._known = functools.lru_cache(maxsize=_MOST)(lambda _index, name: address(self._socket, name))

    def close(self) -> None:
        """Nothing may be called afterwards."""
        self._socket.close()

    def of(self, index: int, name: str) -> str:
        """Empty where the link is no PCI device, or where the kernel does not tell."""
        try:
            return self._known(index, name)
        except OSError as error:
            log.debug("no PCI address of %s: %s", name, error)
            return ""


def visited(name: str) -> str:
    """As `Addresses.of`, of a link of the namespace in which this is called."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            return address(control, name)
    except OSError as error:
        log.debug("no PCI address of %s: %s", name, error)
        return ""


def address(control: socket.socket, name: str) -> str:
    """Of the link of this name in the socket's namespace; "" where it is no PCI device. `OSError` as of an ioctl."""
    buffer = ctypes.create_string_buffer(_DRVINFO.pack(_GDRVINFO, *(b"",) * 6, *(0,) * 5), _DRVINFO.size)
    fcntl.ioctl(control, _SIOCETHTOOL, _IFREQ.pack(name.encode(), ctypes.addressof(buffer)))
    return parse(buffer.raw)


def parse(drvinfo: bytes) -> str:
    """The PCI address in a `struct ethtool_drvinfo`; a bus of another kind has addresses of another shape."""
    bus_info = _DRVINFO.unpack(drvinfo)[4].partition(bytes(1))[0]
    return bus_info.decode("ascii") if _ADDRESS.fullmatch(bus_info) else ""
