# SPDX-License-Identifier: GPL-3.0-or-later
"""One bad input, and what may come of it."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass, field

from hostnic import wire

SUCCESS: t.Final = 0
CLOSED: t.Final = -1  # the connection ended without an answer

CONFIG: t.Final[t.Mapping[str, t.Any]] = {"cniVersion": "1.1.0", "name": "pods", "type": "qingcni"}
ENV: t.Final[t.Mapping[str, str]] = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/proc/self/ns/net",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@dataclass(frozen=True)
class Case:
    """`ends`: codes, `SUCCESS` and `CLOSED`, one of which it must end with; None: any of them that is documented.

    What is sent: `raw`, else a request with these fields; `descriptors` beside it, "netns" for the pod's. `patience`:
    seconds that an ADD may wait for a NIC. `stalls`: nothing comes back until the agent loses its patience.
    """

    ends: t.Optional[frozenset[int]] = None
    env: t.Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    raw: t.Optional[bytes] = None
    descriptors: tuple[str, ...] = ("netns",)
    patience: float = 20.0
    stalls: bool = False
    pieces: tuple[int, ...] = ()  # sizes in which it is sent; the rest at once

    def message(self, now: float) -> bytes:
        if self.raw is not None:
            return self.raw
        return wire.encode_request(wire.Request("cni", "fuzz", now + self.patience, now, self.env, self.stdin))


Generator = t.Callable[[random.Random], Case]


def one_of(*codes: int) -> frozenset[int]:
    return frozenset(codes)
