# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings on a host with real chains, and whether the remedies that they name let packets through."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest

from tests.kernel.net_world import World, ip, until
from tests.support.ansible import ansible

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft"),
]

CHAINS = {
    "ip filter FORWARD": "type filter hook forward priority 0",
    "inet hard ahead": "type filter hook forward priority -10",
}


class Host:
    """Between two peers: one behind the gateway NIC qg1, one behind the primary, ens2."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.peers = [world.pod(f"peer{number}")[0] for number in (1, 2)]
        for number, (name, peer) in enumerate(zip(("qg1", "ens2"), self.peers), 1):
            ip("-n", world.host, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", peer)
            self._address(world.host, name, f"10.{number}.0.1/24")
            self._address(peer, "eth0", f"10.{number}.0.2/24")
            ip("-n", peer, "route", "add", "default", "via", f"10.{number}.0.1")
        self.sysctl("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.ens2.rp_filter=0",
                    "net.ipv4.conf.qg1.rp_filter=0")  # fmt: skip

    def _address(self, namespace: str, name: str, address: str) -> None:
        ip("-n", namespace, "addr", "add", address, "dev", name)
        ip("-n", namespace, "link", "set", name, "up")

    def sysctl(self, *settings: str) -> None:
        ip("netns", "exec", self.world.host, "sysctl", "-qw", *settings)

    def nft(self, script: str) -> None:
        command = ["ip", "netns", "exec", self.world.host, "nft", "-f", "-"]
        subprocess.run(command, input=script, text=True, check=True)

    def hears(self, sender: str, source: str, receiver: str, address: str) -> bool:
        """Whether a datagram from this namespace and address arrives."""

        def bound(name: str, to: str) -> socket.socket:
            made = self.world.within(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            made.bind((to, 0))
            return made

        with bound(sender, source) as out, bound(receiver, address) as ear:
            ear.settimeout(0.5)
            out.sendto(b"x", ear.getsockname())
            try:
                return ear.recv(2) == b"x"
            except TimeoutError:
                return False

    def forwards(self) -> bool:
        """Both ways."""
        one, two = self.peers
        return self.hears(one, "10.1.0.2", two, "10.2.0.2") and self.hears(two, "10.2.0.2", one, "10.1.0.2")

    def findings(self) -> t.Sequence[str]:
        return self.world.links.host_findings("ens2")


@pytest.fixture
def host() -> t.Iterator[Host]:
    with World() as world:
        yield Host(world)


def test_nothing_is_told_of_a_host_that_is_right(host: Host) -> None:
    host.nft("table ip mild { chain c { type filter hook forward priority 0; policy accept; }; }")
    host.nft("table ip qingcni { chain c { type filter hook forward priority 0; policy accept; }; }")
    assert list(host.findings()) == [] and until(host.forwards)


@pytest.mark.parametrize("chain", CHAINS)
def test_what_is_told_of_a_chain_that_drops_helps(host: Host, chain: str) -> None:
    assert until(host.forwards)
    family, table, name = chain.split()
    host.nft(f"table {family} {table} {{ chain {name} {{ {CHAINS[chain]}; policy drop; }}; }}")
    host.nft("table ip ours { chain c { type filter hook forward priority 5; accept; }; }")
    assert not host.forwards(), "an accept in another table does not help"
    (told,) = host.findings()
    assert f"the policy of chain {chain} is drop" in told
    remedies = re.findall(r"`nft ([^`]+)`", told)
    assert len(remedies) == 2
    for remedy in remedies:
        host.nft(f"{remedy}\n")
    assert until(host.forwards)


def test_what_is_told_of_a_strict_source_check_helps(host: Host) -> None:
    """What has come by the router has its way back by the gateway NIC."""
    ip("-n", host.peers[1], "addr", "add", "10.1.0.9/32", "dev", "lo")

    def arrives() -> bool:
        return host.hears(host.peers[1], "10.1.0.9", host.world.host, "10.2.0.1")

    assert until(arrives)
    host.sysctl("net.ipv4.conf.all.rp_filter=1")
    assert not arrives()
    (told,) = host.findings()
    setting = re.search(r"Set (\S+) to (\d)", told)
    assert setting is not None
    host.sysctl(f"{setting[1]}={setting[2]}")
    assert until(arrives) and list(host.findings()) == []


def test_an_answer_comes_from_the_hosts_namespace_and_no_other(host: Host) -> None:
    """And a second call finds what has changed since."""
    other, _ = host.world.pod("other")
    chain = "table ip t { chain c { type filter hook forward priority 0; policy drop; }; }"
    subprocess.run(["ip", "netns", "exec", other, "nft", "-f", "-"], input=chain, text=True, check=True)
    assert list(host.findings()) == []
    host.nft(chain)
    assert len(host.findings()) == 1


def test_preflight_warns_and_goes_on(host: Host, tmp_path: Path) -> None:
    host.nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }")
    host.sysctl("net.ipv4.conf.ens2.rp_filter=1")
    (tmp_path / "instance-id").write_text("i-0a1b2c3d\n")
    settings = {"vxnet": ["vxnet-0a1b2c3d"], "zone": "pek3a", "iface": "ens2"}
    arguments = json.dumps({"settings": settings, "instance_id_path": str(tmp_path / "instance-id")})
    within = ("sh", "-c", f'exec ip netns exec {host.world.host} "$@" 2>&1', "sh")
    told = ansible("ansible", "localhost", "-m", "qingcloud.cni.hostnic_preflight", "-a", arguments, within=within)
    warnings = re.findall(r"\[WARNING\]: (the policy of chain ip filter FORWARD|the source check of ens2)", told)
    assert warnings == ["the policy of chain ip filter FORWARD", "the source check of ens2"]
    assert "problems: []" in told
