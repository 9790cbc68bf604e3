# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent pool`: the table of NICs."""

from __future__ import annotations

import argparse
import ipaddress
import typing as t

from .. import model
from ..states import State
from .command import JSON, OK, Command, Terminal, ask, asks
from .output import ago, document, table

# What is in trouble comes first, then what pods use, what they can have, what is on its way.
_ORDER: t.Final = (
    State.BROKEN, State.IN_USE, State.RESERVED, State.GATEWAY, State.HELD, State.READY, State.QUARANTINE,
    State.ATTACHING, State.DETACHED, State.DRAINING, State.DETACHING, State.DELETING, State.GONE,
)  # fmt: skip
HEADINGS: t.Final = ("NIC", "STATE", "SINCE", "VXNET", "ADDRESS", "POD", "NOTE")


def pod_of(lease: t.Mapping[str, t.Any]) -> str:
    """`namespace/name` where the runtime told, else the container's id as runtimes show it."""
    return model.pod_of(lease["args"]) or str(lease["container_id"])[:13]


def by_address(address: str) -> tuple[int, str]:
    """To sort by; what is no address comes last."""
    try:
        return int(ipaddress.ip_address(address)), ""
    except ValueError:
        return 1 << 128, address


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    nics = ask(arguments, "pool")
    if arguments.output == JSON:
        terminal.out.write(document(nics))
        return OK
    pods = {lease["nic_id"]: pod_of(lease) for lease in ask(arguments, "leases")}
    now = terminal.clock()
    nics.sort(key=lambda nic: (_ORDER.index(State(nic["state"])), by_address(nic["private_ip"])))
    rows = [
        (nic["nic_id"], nic["state"], ago(now - nic["since"]), nic["vxnet_id"], nic["private_ip"],
         pods.get(nic["nic_id"]) or nic["workload"], _note(nic))
        for nic in nics
    ]  # fmt: skip
    terminal.out.write(table(HEADINGS, rows) if rows else "the pool has no NIC\n")
    return OK


def _note(nic: t.Mapping[str, t.Any]) -> str:
    words = [nic["note"], "pre-warmed" if nic["prewarmed"] else "", "on its way out" if nic["doomed"] else ""]
    return "; ".join(word for word in words if word)


_ABOUT: t.Final = (
    "Prints a row for each NIC: its state and since when, its vxnet and address, and whose it is. NICs in trouble come "
    "first, then those of pods, then those that wait for one."
)
COMMAND = Command("pool", "show the table of NICs", _run, asks, _ABOUT)
