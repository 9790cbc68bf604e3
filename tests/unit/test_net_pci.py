# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI addresses out of the bytes that the kernel answers with."""

from __future__ import annotations

import socket

import pytest

from hostnic.net import pci


def drvinfo(bus_info: bytes, driver: bytes = b"virtio_net") -> bytes:
    """As kernel 6.18 answers for a virtio NIC: fixed fields of 32 bytes, text that ends with a zero byte."""
    fields = (driver, b"1.0.0", b"", bus_info, b"")
    return b"\x03\0\0\0" + b"".join(field.ljust(32, b"\0") for field in fields) + bytes(12 + 20)


@pytest.mark.parametrize("address", ["0000:00:03.0", "0000:0b:1f.7", "10000:e1:00.0"])
def test_a_pci_address(address: str) -> None:
    assert pci.parse(drvinfo(address.encode())) == address


@pytest.mark.parametrize(
    "bus_info",
    [
        b"",
        b"virtio2",  # virtio without PCI
        b"usb-0000:00:14.0-1",
        b"vmbus_0_15",
        b"0000:00:03.8",
        b"0000:00:03.0x",
        b"0000:00:03.0".rjust(32, b"x"),
        b"\xff\xfe",
        b"tap",
    ],
)
def test_an_address_of_another_bus(bus_info: bytes) -> None:
    assert pci.parse(drvinfo(bus_info)) == ""


def test_what_lies_behind_the_end_of_the_text_does_not_count() -> None:
    assert pci.parse(drvinfo(b"0000:00:03.0\0left over")) == "0000:00:03.0"


def test_a_link_without_a_device_and_one_that_is_not_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name in ("lo", "nosuch", "much-too-long-for-a-name"):
            with pytest.raises(OSError):
                pci.address(control, name)
