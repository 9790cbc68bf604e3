# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent may go away at any time: nothing is lost, nothing fails that could wait."""

from __future__ import annotations

import threading
import time

import pytest
import yaml

from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until

RESTARTS = {
    "restart": ["systemctl", "restart", "qingagent.service"],
    "kill -9": ["systemctl", "kill", "--signal=KILL", "qingagent.service"],
}


def main_pid(node: Node) -> int:
    shown = node.run(["systemctl", "show", "--property=MainPID", "--value", "qingagent.service"]).stdout
    return int(shown)


def wait_for_new_agent(node: Node, old: int) -> None:
    until(lambda: main_pid(node) not in (0, old), 30, "a new agent")
    until(lambda: node.run(["qingagent", "ping"], check=False).returncode == 0, 30, "an answer of the new agent")


@pytest.mark.parametrize("how", RESTARTS)
def test_ready_nics_keep_their_index_and_their_netns(cluster: Cluster, how: str) -> None:
    node = cluster.nodes[0]
    ready = cluster.wait_ready(node)
    put_back = cluster.links_put_back()
    before = {mac: link["ifindex"] for mac, link in cluster.parked(node).items() if mac in ready}
    old = main_pid(node)
    node.run(RESTARTS[how])
    wait_for_new_agent(node, old)
    after = {mac: link["ifindex"] for mac, link in cluster.parked(node).items() if mac in ready}
    assert (after, cluster.links_put_back()) == (before, put_back)
    assert ready <= cluster.in_state(node, "READY")


def test_a_pod_asked_for_while_the_agent_restarts_is_served(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    old = main_pid(node)
    restart = threading.Thread(target=node.run, args=(RESTARTS["restart"],))
    restart.start()
    until(lambda: main_pid(node) != old, 10, "the agent's end")
    placed = cluster.pod(node, "impatient")
    restart.join()
    assert placed.pings(cluster.lab.vxnets[0].gateway)


def test_a_pod_deleted_while_the_agent_is_stopped_is_deleted(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    placed = cluster.pod(node, "orphan")
    (link,) = placed.ip("link", "show", "dev", "eth0")
    nic_id = link["address"]
    told = node.run(["qingagent", "stop"]).stdout
    assert told.startswith("stopped qingagent.socket and qingagent.service: no pod starts until systemctl start ")
    try:
        cluster.stop(placed)
        assert main_pid(node) == 0  # nothing that runtimes do has started it again
        with node.cri() as cri:
            assert placed.pod.sandbox_id not in [pod.sandbox_id for pod in cri.pods()]
    finally:
        node.run(["systemctl", "start", "qingagent.socket", "qingagent.service"])
    until(lambda: nic_id in cluster.in_state(node, "QUARANTINE"), 30, "the NIC's return")
    assert nic_id in cluster.parked(node)
    assert not [lease for lease in cluster.ask(node, "leases") if lease["nic_id"] == nic_id]


def test_a_nic_whose_netns_is_murdered_comes_back(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    node.run(["ip", "netns", "add", "victim"])
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "victim", "CNI_NETNS": "/run/netns/victim",
                   "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
    argv = ["env", *(f"{key}={value}" for key, value in environment.items()), "/opt/cni/bin/qingcni"]
    node.run(argv, stdin='{"cniVersion": "1.0.0", "name": "murder", "type": "qingcni"}')
    (nic_id,) = [lease["nic_id"] for lease in cluster.ask(node, "leases") if lease["container_id"] == "victim"]
    started = time.monotonic()
    node.run(["ip", "netns", "del", "victim"])
    until(lambda: nic_id in cluster.in_state(node, "QUARANTINE"), 30, "the NIC's return")
    assert nic_id in cluster.parked(node)
    assert time.monotonic() - started < 30


def test_a_reload_takes_a_level_and_refuses_a_bad_file_while_the_agent_runs_on(cluster: Cluster) -> None:
    """And at that level neither the node's journal nor a support bundle holds a secret of the node's."""
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    old = main_pid(node)
    file = "/etc/qingagent/QingAgent.yaml"
    before = node.run(["cat", file]).stdout
    try:
        node.run(["sed", "-i", "s/^loglevel:.*/loglevel: debug/", file])
        node.run(["systemctl", "reload", "qingagent.service"])
        cluster.pod(node, "debugged")
        node.run(["qingagent", "look"])
        until(lambda: "action=DescribeNics" in said(node, "--lines=200"), 30, "a call of the cloud in the log")
        node.run(["sed", "-i", "s/^loglevel:.*/loglevel: loud/", file])
        assert node.run(["systemctl", "reload", "qingagent.service"], check=False).returncode != 0
        assert "loglevel 'loud' is none of debug, info, warn, error" in said(node, "--lines=20")
    finally:
        node.run(["tee", file], stdin=before)
        node.run(["systemctl", "reload", "qingagent.service"])
    assert main_pid(node) == old

    access = yaml.safe_load(node.run(["cat", "/etc/qingcloud/client.yaml"]).stdout)
    token = node.run(["cat", "/run/qingagent/token"]).stdout.strip()
    secrets = (access["qy_access_key_id"], access["qy_secret_access_key"], token)
    assert min(map(len, secrets)) >= 16
    node.run(["sh", "-c", "rm -rf /tmp/bundle* && mkdir /tmp/bundle"])
    node.run(["qingagent", "support-bundle", "--file", "/tmp/bundle.tar.gz"])
    node.run(["tar", "-xzf", "/tmp/bundle.tar.gz", "-C", "/tmp/bundle"])
    everything = node.run(["sh", "-c", "journalctl --no-pager --output=cat; cat $(find /tmp/bundle -type f)"]).stdout
    assert "action=DescribeNics" in everything and '"want"' in everything
    assert [secret for secret in secrets if secret in everything] == []


def said(node: Node, *how: str) -> str:
    return node.run(["journalctl", "--unit=qingagent.service", "--output=cat", "--no-pager", *how]).stdout


def test_its_unit_lets_its_threads_choose_their_processors(cluster: Cluster) -> None:
    """Of those that wait for calls each keeps to one half, see `hostnic.agent.ahead`; the rest may run anywhere."""
    node = cluster.nodes[0]
    cluster.stop(cluster.pod(node, "halves"))
    shell = f"grep -h Cpus_allowed: /proc/{main_pid(node)}/task/*/status"
    allowed = {int(line.split()[-1].replace(",", ""), 16) for line in node.run(["sh", "-c", shell]).stdout.splitlines()}
    whole = max(allowed)
    assert any(one and one & other == 0 and one | other == whole for one in allowed for other in allowed), allowed
