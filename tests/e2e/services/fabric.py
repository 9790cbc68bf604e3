# SPDX-License-Identifier: GPL-3.0-or-later
"""What is around the nodes: the VPC router, a machine outside, and what the fabric's links are called."""

from __future__ import annotations

import contextlib
import json
import typing as t

from tests.e2e.services.capture import Names
from tests.e2e.services.cases import SERVICES
from tests.emulator.dataplane import names
from tests.lab import netns
from tests.lab.lab import Lab
from tests.lab.paths import PREFIX
from tests.lab.sh import run

FABRIC: t.Final = f"/run/netns/{PREFIX}-fabric"
ROUTER: t.Final = f"{PREFIX}-router"
OUTSIDE: t.Final = f"{PREFIX}-outside"
_NETWORK: t.Final = "192.0.2.{}/30"
_STATEFUL: t.Final = """
table ip e2e
delete table ip e2e
table ip e2e {
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state invalid counter drop
	}
}
"""


@contextlib.contextmanager
def outside() -> t.Iterator[str]:
    """A machine beyond the router, for as long as it is needed; yields its address.

    It swallows what is meant for services, which comes so far where no node knows them.
    """
    _remove_outside()  # of a run that was killed
    router, machine = (_NETWORK.format(number) for number in (1, 2))
    netns.add(OUTSIDE)
    try:
        run(["ip", "-n", OUTSIDE, "link", "add", "eth0", "type", "veth", "peer", "name", "outside", "netns", ROUTER])
        for space, link, address in ((ROUTER, "outside", router), (OUTSIDE, "eth0", machine)):
            run(["ip", "-n", space, "addr", "add", address, "dev", link])
            run(["ip", "-n", space, "link", "set", link, "up"])
        here, there = machine.partition("/")[0], router.partition("/")[0]
        run(["ip", "-n", OUTSIDE, "route", "add", "default", "via", there])
        run(["ip", "-n", OUTSIDE, "route", "add", "blackhole", SERVICES])
        run(["ip", "-n", ROUTER, "route", "add", SERVICES, "via", here])
        yield here
    finally:
        _remove_outside()


def _remove_outside() -> None:
    """The link by itself, since those of a namespace that ends go some time later."""
    run(["ip", "-n", ROUTER, "link", "delete", "outside"], check=False)
    if OUTSIDE in netns.names():
        netns.delete(OUTSIDE)


@contextlib.contextmanager
def stateful_router() -> t.Iterator[None]:
    """The router drops what belongs to no connection that it has seen from its beginning, in both directions."""
    loose = "net.netfilter.nf_conntrack_tcp_loose"
    inside = ["ip", "netns", "exec", ROUTER]
    run([*inside, "nft", "-f", "-"], stdin=_STATEFUL)
    before = run([*inside, "sysctl", "-n", loose]).stdout.strip()
    run([*inside, "sysctl", "-q", "-w", f"{loose}=0"])
    try:
        yield
    finally:
        run([*inside, "sysctl", "-q", "-w", f"{loose}={before}"])
        run([*inside, "nft", "delete", "table", "ip", "e2e"])


def forget_neighbours() -> None:
    """The router knows no NIC that had a pod's address before.

    It believes no announcement within a second of the one before (`locktime`); a cloud is told by whoever gave the
    address away.
    """
    run(["ip", "-n", ROUTER, "neighbour", "flush", "all"])


def known_as(lab: Lab, nics: t.Mapping[str, str]) -> Names:
    """`nics`: NIC id ► name; others are known by their id. Each of the router's legs is `r`."""
    legs = json.loads(run(["ip", "-n", ROUTER, "-json", "link"]).stdout)
    macs = {link["ifname"]: link["address"] for link in legs}
    vxnets = [vxnet["vxnet_id"] for vxnet in lab.control("GET", "state")["vxnets"]]
    every = {nic["nic_id"]: nics.get(nic["nic_id"], nic["nic_id"]) for nic in lab.control("GET", "nics")}
    ports = {names.fabric_leg(vxnet): "r" for vxnet in vxnets} | {names.port(nic): every[nic] for nic in every}
    return Names(ports, {macs[names.bridge(vxnet)]: "r" for vxnet in vxnets} | dict(nics))


def inside_node(pid: int) -> str:
    """The path of a node's own network namespace."""
    return f"/proc/{pid}/ns/net"


@contextlib.contextmanager
def port_security(lab: Lab, mode: str) -> t.Iterator[None]:
    """What the fabric checks of NICs whose `enable_aspoof` is 1."""
    before = lab.control("GET", "settings")["port_security"]
    lab.control("POST", "settings", {"port_security": mode})
    try:
        yield
    finally:
        lab.control("POST", "settings", {"port_security": before})
