# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent leases`: which pod has which NIC."""

from __future__ import annotations

import argparse
import typing as t

from .command import JSON, OK, Command, Terminal, ask, asks
from .output import ago, document, table
from .pool import by_address, pod_of

HEADINGS: t.Final = ("POD", "INTERFACE", "NIC", "ADDRESS", "SINCE", "NETWORK", "CONTAINER")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    leases = ask(arguments, "leases")
    if arguments.output == JSON:
        terminal.out.write(document(leases))
        return OK
    addresses = {nic["nic_id"]: nic["private_ip"] for nic in ask(arguments, "pool")}
    now = terminal.clock()
    rows = [
        (pod_of(one), one["ifname"], one["nic_id"], addresses.get(one["nic_id"]), ago(now - one["since"]),
         one["network"], one["container_id"][:13])
        for one in sorted(leases, key=lambda one: (pod_of(one), by_address(addresses.get(one["nic_id"], ""))))
    ]  # fmt: skip
    terminal.out.write(table(HEADINGS, rows) if rows else "no pod has a NIC\n")
    return OK


_ABOUT: t.Final = "Prints a row for each pod's interface: its NIC and address, since when, and by which network."
COMMAND = Command("leases", "show which pod has which NIC", _run, asks, _ABOUT)
