# SPDX-License-Identifier: GPL-3.0-or-later
"""As seen by programs that nobody here wrote: containerd with its own configuration, ctr, podman, loopback, portmap."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.lab.image import IMAGE

ADDRESS = re.compile(r"inet ([\d.]+)/24")
# The lab's kernel lets nobody raise limits.
PODMAN_LIMITS = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024"


def conflist(cluster: Cluster) -> dict[str, object]:
    path = Path(cluster.nodes[0].cni_conf) / "05-qingcloud.conflist"
    return dict(json.loads(path.read_text()))


def test_the_configuration_chains_the_distributions_plugins(cluster: Cluster) -> None:
    plugins = conflist(cluster)["plugins"]
    assert isinstance(plugins, list)
    assert [plugin["type"] for plugin in plugins] == ["qingcni", "portmap"]
    present = cluster.nodes[0].run(["ls", "-L", "/usr/lib/cni"]).stdout.split()
    assert {"loopback", "portmap", "qingcni"} <= set(present)


def test_containerd_takes_it_with_loopback_and_portmap(cluster: Cluster) -> None:
    placed = cluster.pod(cluster.nodes[0], "own-config")
    (loopback,) = placed.ip("addr", "show", "dev", "lo")
    assert "UP" in loopback["flags"]
    assert {link["ifname"] for link in placed.ip("link")} == {"lo", "eth0"}


def test_ctr_gives_a_container_a_nic(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    before = cluster.ask(node, "leases")
    command = ["ctr", "-n", "k8s.io", "run", "--rm", "--cni", IMAGE, "ctr-test", "/bin/ip", "addr", "show", "eth0"]
    shown = node.run(command).stdout
    address = ADDRESS.search(shown)
    assert address, shown
    assert address[1] in {nic["private_ip"] for nic in cluster.pool(node).values()}
    assert cluster.ask(node, "leases") == before


def test_podman_gives_a_container_a_nic(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    before = cluster.ask(node, "leases")
    network = str(conflist(cluster)["name"])
    node.ssh("podman load --input /usr/share/qclab/image.tar")
    shown = node.ssh(f"podman run --rm --network {network} {PODMAN_LIMITS} {IMAGE} /bin/ip addr show eth0").stdout
    address = ADDRESS.search(shown)
    assert address, shown
    assert address[1] in {nic["private_ip"] for nic in cluster.pool(node).values()}
    assert cluster.ask(node, "leases") == before
