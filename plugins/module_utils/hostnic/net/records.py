# SPDX-License-Identifier: GPL-3.0-or-later
"""What each NIC was like when it was first seen, kept where no container can write and a restarted agent can read it.

Each NIC has an alternative name on the `lo` of the parking namespace: that lasts exactly as long as the links keep what
was done to them, and plays no part in anything else. An alias of the NIC would be in the pod's hands.
"""

from __future__ import annotations

import logging
import re
import typing as t

from ..errors import LinkFailed
from . import requests
from .devices import NUMBERS, Device, Numbers, named
from .netlink import Netlink

log = logging.getLogger("hostnic.net")

# several times the NICs of a node, since a new NIC has a new MAC; the kernel tells 64 KiB of names at most
MOST: t.Final = 256

# the letter of each number in a record
_LETTERS: t.Final = dict(zip("mtsghij", NUMBERS.values()))
_RECORD: t.Final = re.compile(r"q([0-9a-f]{12})((?:-[a-z][0-9]+)+)")
_FIELD: t.Final = re.compile(r"-([a-z])([0-9]+)")


class Records:
    """Reads what is there once. Any thread may call; where two meet, the worst is a record that is forgotten."""

    def __init__(self, channel: Netlink) -> None:
        """`channel`: a socket of the parking namespace."""
        self._numbers: dict[str, Numbers] = {}  # oldest first
        loopback = named(channel, "lo")
        self._index = loopback.index if loopback is not None else 0
        for altname in loopback.altnames if loopback is not None else ():
            known = parse(altname.decode("ascii", "replace"))
            if known is not None:
                self._numbers[known[0]] = known[1]

    def of(self, mac: str) -> Numbers:
        """Empty where nothing is known."""
        return self._numbers.get(mac, {})

    def remember(self, channel: Netlink, mac: str, device: Device) -> None:
        """As it is now, unless it is known already. The oldest are forgotten."""
        if mac in self._numbers:
            return
        self._numbers[mac] = device.numbers
        changes = [requests.add_altname(self._index, text(mac, device.numbers), f"remember what NIC {mac} was like")]
        for old in list(self._numbers)[:-MOST]:
            gone = text(old, self._numbers.pop(old, {})).encode()
            changes.append(requests.drop_altnames(self._index, (gone,), f"forget what NIC {old} was like"))
        try:
            channel.send(*changes)
        except LinkFailed as error:
            log.warning("a restarted agent may not know the MTU that a NIC had: %s", error)


def text(mac: str, numbers: Numbers) -> str:
    """At most 97 of the 127 characters that an alternative name may have."""
    fields = (f"-{letter}{numbers[name]}" for letter, name in _LETTERS.items() if name in numbers)
    return f"q{mac.replace(':', '')}{''.join(fields)}"


def parse(record: str) -> t.Optional[tuple[str, Numbers]]:
    """MAC and numbers; None where it is no record. Letters of other versions of this program are passed over."""
    found = _RECORD.fullmatch(record)
    if found is None:
        return None
    digits, fields = found.groups()
    known = {_LETTERS[letter]: int(number) for letter, number in _FIELD.findall(fields) if letter in _LETTERS}
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2)), known
