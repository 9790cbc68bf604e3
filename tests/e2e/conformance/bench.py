# SPDX-License-Identifier: GPL-3.0-or-later
"""The node on which the matrix is run: the installed executable, namespaces for it, and what the kernel says."""

from __future__ import annotations

import ipaddress
import itertools
import json
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster import PARKING, Cluster
from tests.e2e.conformance import driver
from tests.e2e.conformance.reply import Reply
from tests.lab.lab import Node
from tests.lab.wait import until

EXECUTABLE = "/opt/cni/bin/qingcni"
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
NETWORK = "conformance"
PREFIX = "conf-"

Command = dict[str, t.Any]


def qingcni(env: t.Mapping[str, str], stdin: t.Optional[str]) -> Command:
    """None for a stdin that cannot be read."""
    return {"argv": [EXECUTABLE], "env": dict(env), "stdin": stdin}


def program(*argv: str) -> Command:
    return {"argv": list(argv), "env": {"PATH": PATH}, "stdin": ""}


def _link(shown: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Without what changes by itself, such as IPv6 addresses that are tentative at first."""
    ipv4 = [f"{info['local']}/{info['prefixlen']}" for info in shown["addr_info"] if info["family"] == "inet"]
    return {"address": shown["address"], "mtu": shown["mtu"], "up": "UP" in shown["flags"], "ipv4": ipv4}


@dataclass(frozen=True)
class Pod:
    """A network namespace without a container."""

    bench: Bench
    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def ip(self, *words: str) -> t.Any:
        return self.bench.ip("-netns", self.name, *words)

    def change(self, *words: str) -> None:
        """`ip` inside, for what prints nothing."""
        self.bench.sh("ip", "-netns", self.name, *words)

    def links(self) -> dict[str, dict[str, t.Any]]:
        """By name: `address` (the MAC), `mtu`, `up`, `ipv4` (addresses with prefix); loopback left out."""
        return {link["ifname"]: _link(link) for link in self.ip("addr") if link["ifname"] != "lo"}

    def addresses(self, ifname: str = "eth0") -> list[str]:
        return list(self.links()[ifname]["ipv4"])

    def routes(self) -> dict[str, str]:
        """Network ► gateway, those of links left out."""
        shown = {route["dst"]: route.get("gateway", "") for route in self.ip("route")}
        named = {"0.0.0.0/0" if dst == "default" else dst: via for dst, via in shown.items() if via}
        return {dst if "/" in dst else f"{dst}/32": via for dst, via in named.items()}


@dataclass(frozen=True)
class Attachment:
    """What an ADD of the harness made."""

    pod: Pod
    container: str
    ifname: str
    config: t.Mapping[str, t.Any]
    result: t.Mapping[str, t.Any]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.config["name"], self.container, self.ifname

    @property
    def router(self) -> str:
        """Of the vxnet that its address is in."""
        address = ipaddress.ip_interface(self.pod.addresses(self.ifname)[0])
        return next(one.gateway for one in self.pod.bench.vxnets if ipaddress.ip_network(one.cidr) == address.network)


class Bench:
    """One for a session. `close` says whether anything was left."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self.cluster = cluster
        self.node = node
        self.vxnets = cluster.lab.vxnets
        source = Path(driver.__file__).read_text(encoding="utf-8")
        self._driver = subprocess.Popen(
            ["nsenter", "--target", str(node.pid), "--all", "--", "/usr/bin/python3", "-I", "-S", "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._numbers = itertools.count(1)
        self._sweep()
        self._leases = cluster.ask(node, "leases")
        self.empty = self.pod("empty")
        self.added: dict[str, Attachment] = {}  # version ► an ADD of it that stands
        self.away: dict[tuple[str, str], Reply] = {}  # (verb, version) ► what was said while there was no agent

    def close(self) -> None:
        """Ends what the bench began; raises AssertionError where a lease or a NIC is not as before."""
        for one in self.added.values():
            self.delete(one)
        self._sweep()
        self._driver.communicate(timeout=30)
        self.cluster.wait_sound(self.node)
        left = [lease for lease in self.cluster.ask(self.node, "leases") if lease not in self._leases]
        assert not left, left

    # -- commands --

    def run(self, *commands: Command, together: bool = False) -> list[Reply]:
        if self._driver.stdin is None or self._driver.stdout is None:
            raise AssertionError("the driver was started without pipes")
        print(json.dumps({"together": together, "calls": commands}), file=self._driver.stdin, flush=True)
        return [Reply(*ended) for ended in json.loads(self._driver.stdout.readline())]

    def sh(self, *argv: str) -> str:
        (reply,) = self.run(program(*argv))
        assert reply.exit == 0, (argv, reply)
        return reply.stdout

    def ip(self, *words: str) -> t.Any:
        return json.loads(self.sh("ip", "-json", *words) or "[]")

    def places(self) -> tuple[set[str], set[str]]:
        """MACs of the links that are parked, and of the host's own."""
        parked, host = (self.ip(*words, "link") for words in (("-netns", PARKING), ()))
        return {link["address"] for link in parked}, {link["address"] for link in host}

    # -- pods --

    def number(self) -> int:
        return next(self._numbers)

    def pod(self, name: str = "") -> Pod:
        one = Pod(self, f"{PREFIX}{name or self.number()}")
        self.sh("ip", "netns", "add", one.name)
        return one

    def remove(self, pod: Pod) -> None:
        self.sh("ip", "netns", "del", pod.name)

    def delete(self, one: Attachment) -> None:
        """Its DEL, and its pod's end."""
        env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": one.container, "CNI_NETNS": one.pod.path,
               "CNI_IFNAME": one.ifname, "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
        (reply,) = self.run(qingcni(env, json.dumps({**one.config, "cniVersion": "1.0.0", "prevResult": None})))
        assert reply.exit == 0, reply

    def ready(self) -> dict[str, t.Any]:
        """A NIC of the pool that waits for a pod."""
        return until(self._ready, 60, "a READY NIC")

    def _ready(self) -> t.Optional[dict[str, t.Any]]:
        pool = self.cluster.ask(self.node, "pool")
        return next((nic for nic in pool if (nic["state"], nic["purpose"]) == ("READY", "pool")), None)

    def _sweep(self) -> None:
        """Also what a run that was killed has left: a NIC comes home when its netns ends."""
        names = [line.split()[0] for line in self.sh("ip", "netns", "list").splitlines() if line]
        for name in names:
            if name.startswith(PREFIX):
                self.sh("ip", "netns", "del", name)
