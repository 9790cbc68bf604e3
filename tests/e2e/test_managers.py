# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-networkd and NetworkManager, set to take every NIC, get none of ours."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import typing as t

import pytest

from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until
from tests.support.api import Api

NETWORKD = "[Match]\nName=!eth0\nType=ether\n[Network]\nDHCP=yes\n"
NETWORK_MANAGER = "[main]\nplugins=keyfile\n[keyfile]\nunmanaged-devices=interface-name:eth0\n"


class Watch:
    """What happens to links and addresses of the node's own netns, event by event."""

    def __init__(self, node: Node) -> None:
        argv = ["nsenter", "--target", str(node.pid), "--net", "--", "ip", "-o", "monitor", "link", "address", "rule"]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def of(self, mac: str) -> list[str]:
        """The link events of this NIC."""
        return [line for line in self.lines if mac in line and not line.startswith("Deleted")]

    def names(self, mac: str) -> set[str]:
        return {match[1] for line in self.of(mac) if (match := re.match(r"\d+: ([^:@]+)", line))}

    def taken(self, mac: str) -> bool:
        """Whether someone set it up, gave it an address or another name."""
        names = self.names(mac)
        up = any(re.search(r"<[^>]*\bUP\b", line) for line in self.of(mac))
        addressed = any(re.match(rf"\d+: {name}\s+inet6? ", line) for name in names for line in self.lines)
        return up or addressed or len(names) > 1


@contextlib.contextmanager
def manager(node: Node, unit: str, path: str, text: str) -> t.Iterator[None]:
    node.run(["mkdir", "-p", path.rpartition("/")[0]])
    node.run(["tee", path], stdin=text)
    node.run(["systemctl", "unmask", unit])
    node.run(["systemctl", "start", unit])
    try:
        yield
    finally:
        node.run(["systemctl", "stop", unit])
        node.run(["systemctl", "mask", unit])
        node.run(["rm", path])


MANAGERS = {
    "systemd-networkd": ("systemd-networkd.service", "/etc/systemd/network/99-all.network", NETWORKD),
    "NetworkManager": ("NetworkManager.service", "/etc/NetworkManager/conf.d/99-lab.conf", NETWORK_MANAGER),
}


# NetworkManager matches permanent MACs only, which a veth has not: here it may set a NIC up before that is parked.
NEVER_TOUCHES = {"systemd-networkd"}


@pytest.mark.parametrize("name", MANAGERS)
def test_no_network_manager_takes_a_nic_of_ours(cluster: Cluster, name: str) -> None:
    node = cluster.nodes[1]
    cluster.wait_ready(node)
    api = Api(cluster.lab)
    rules = node.run(["ip", "rule"]).stdout
    with manager(node, *MANAGERS[name]):
        watch = Watch(node)
        known = set(cluster.pool(node))
        foreign = api.attach_foreign(cluster.lab.vxnets[0].vxnet_id, node.instance_id)
        try:
            until(lambda: watch.taken(foreign), 30, f"{name} taking the NIC that is not ours")
            # more pods than there were NICs
            pods = [cluster.pod(node, f"managers-{number}") for number in range(len(known) + 1)]
            cluster.wait_ready(node)
            ours = (cluster.in_state(node, "READY") | cluster.in_state(node, "IN_USE")) - known  # others are to come
            assert ours
            assert all(watch.of(mac) for mac in ours)  # each was plugged in under the manager's eyes
            assert not {mac: watch.names(mac) for mac in ours if len(watch.names(mac)) > 1}
            if name in NEVER_TOUCHES:
                assert not {mac: watch.of(mac) for mac in ours if watch.taken(mac)}
            for placed in pods:
                (link,) = placed.ip("addr", "show", "dev", "eth0")
                addresses = [info["local"] for info in link["addr_info"] if info["family"] == "inet"]
                assert addresses == [placed.pod.ip]
            ready = cluster.in_state(node, "READY")  # first: more are to come
            parked = cluster.parked(node)
            assert all(not parked[mac]["addr_info"] for mac in ready)
            assert not cluster.pods_nics(node) & set(cluster.host_links(node))
            assert node.run(["ip", "rule"]).stdout == rules
        finally:
            watch.stop()
            api.remove(foreign)
