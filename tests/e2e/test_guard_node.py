# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts on a node with everything rolled out: its port, its files. Each test is a row of docs/security.md."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest

from tests.e2e.attachment import Sandbox
from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until

STATE, KEY = "/var/lib/qingagent/state.db", "/etc/qingcloud/client.yaml"
# Asks by TCP with the token of the agent, as root or as another user; prints a list with each answer, null for none.
CALLER = """
import json, os, sys
sys.path.insert(0, "/usr/lib/hostnic/current")
from hostnic import wire
where, uid, requests = "127.0.0.1:31080", int(sys.argv[1]), json.loads(sys.argv[2])
token = open("/run/qingagent/token").read().strip()
os.setgid(uid)
os.setuid(uid)
told = []
for op, env, stdin in requests:
    request = wire.Request(op, "r", wire.boottime() + 20, wire.boottime(), env, stdin)
    try:
        answer = wire.call(where, request, 20, token)
        told.append([answer.exit, json.loads(answer.stdout or "null")])
    except wire.Unreachable:
        told.append(None)
print(json.dumps(told))
"""
REACH = "import socket, sys; socket.create_connection((sys.argv[1], 31080), 5)"
CONF = json.dumps({"cniVersion": "1.0.0", "name": "guard", "type": "qingcni"})


def by_tcp(node: Node, uid: int, *requests: tuple[str, dict[str, str], str]) -> t.Any:
    return json.loads(node.run(["/usr/bin/python3", "-I", "-", str(uid), json.dumps(requests)], stdin=CALLER).stdout)


def test_root_starts_a_pod_by_tcp_and_nobody_does_not(
    cluster: Cluster, sandbox: t.Callable[[Node, str], Sandbox]
) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node, 1)
    box = sandbox(node, "by-tcp")
    env = {"CNI_CONTAINERID": box.name, "CNI_NETNS": box.netns, "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin"}
    add, delete = (("cni", {**env, "CNI_COMMAND": verb}, CONF) for verb in ("ADD", "DEL"))
    assert by_tcp(node, 65534, ("ping", {}, ""), add) == [None, None]
    assert box.names() == {"lo"}
    pinged, (status, result) = by_tcp(node, 0, ("ping", {}, ""), add)
    assert (pinged, status) == ([0, {"answers": True}], 0)
    assert box.mac() == result["interfaces"][0]["mac"]
    assert box.pings(result["ips"][0]["gateway"])
    assert by_tcp(node, 0, delete) == [[0, None]]
    assert box.names() == {"lo"}


def test_another_node_does_not_reach_the_port(cluster: Cluster) -> None:
    here, there = cluster.nodes
    done = there.run(["python3", "-c", REACH, here.address], check=False)
    assert "Connection refused" in done.stderr
    here.run(["python3", "-c", REACH, "127.0.0.1"])


def plant_journal(node: Node) -> None:
    node.run(["mv", STATE, "/root/planted.db"])
    node.run(["ln", "-s", "/root/planted.db", STATE])


def pull_journal(node: Node) -> None:
    node.run(["rm", STATE])
    node.run(["mv", "/root/planted.db", STATE])


PLANTS: dict[str, tuple[t.Callable[[Node], object], t.Callable[[Node], object], str]] = {
    "a journal that is a link": (plant_journal, pull_journal, f"{STATE} is a symbolic link, which is not followed"),
    "a key that others may read": (
        lambda node: node.run(["chmod", "644", KEY]),
        lambda node: node.run(["chmod", "600", KEY]),
        f"{KEY} is open to others (mode 0644): run chmod 0600 {KEY}",
    ),
}


@pytest.mark.parametrize("what", PLANTS)
def test_an_agent_does_not_start_with_what_was_planted(cluster: Cluster, what: str) -> None:
    node = cluster.nodes[0]
    plant, pull, sentence = PLANTS[what]
    pool = set(cluster.pool(node))
    cursor = node.run(["journalctl", "-n", "0", "--show-cursor", "-q"]).stdout.rpartition("cursor: ")[2].strip()

    def said() -> bool:
        told = node.run(["journalctl", "--unit", "qingagent", "--output", "cat", "--after-cursor", cursor]).stdout
        return f"qingagent: {sentence}" in told

    with contextlib.ExitStack() as stack:
        stack.callback(node.run, ["systemctl", "restart", "qingagent.service"])
        stack.callback(pull, node)
        node.run(["systemctl", "stop", "qingagent.socket", "qingagent.service"])
        plant(node)
        node.run(["systemctl", "start", "--no-block", "qingagent.service"])
        until(said, 30, sentence)
        assert node.run(["systemctl", "is-active", "qingagent.service"], check=False).stdout.strip() != "active"
    assert pool <= set(cluster.pool(node))  # nothing of it was lost
