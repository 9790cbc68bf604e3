# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling out: repeatable, honest in check mode, and stopped by preflight before anything is half done."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from tests.e2e.attachment import NETWORK, PLUGIN, Sandbox
from tests.e2e.cluster import PARKING, Cluster, changed, fresh_node
from tests.lab.lab import Node

# What a roll-out lays down; none of it may be there after a preflight that failed.
LAID_DOWN = (
    "/usr/lib/hostnic",
    "/usr/local/sbin/qingagent",
    "/opt/cni/bin/qingcni",
    "/usr/lib/cni/qingcni",
    "/etc/qingagent",
    "/etc/qingcloud/client.yaml",
    "/etc/systemd/system/qingagent.service",
    "/etc/systemd/system/qingagent.socket",
    "/etc/systemd/system/qingagent-netns.service",
    "/etc/cni/net.d/05-qingcloud.conflist",
    "/run/netns/qingagent",
    "/run/qingagent",
)


def laid_down(cluster: Cluster) -> list[str]:
    node = cluster.nodes[0]
    return [path for path in LAID_DOWN if node.run(["test", "-e", path], check=False).returncode == 0]


def test_the_second_run_changes_nothing(cluster: Cluster) -> None:
    cluster.play("site")
    assert changed(cluster.play("site")) == {node.name: 0 for node in cluster.nodes}


def test_verify_finds_a_healthy_cluster(cluster: Cluster) -> None:
    cluster.play("verify")


@pytest.fixture(scope="module")
def untouched(cluster: Cluster) -> t.Iterator[Cluster]:
    """A node on which nothing was ever installed, and on which the failing runs of this file install nothing."""
    with fresh_node() as fresh:
        yield fresh


FAILURES = {
    "a wrong key": (["-e", "qingagent_secret_access_key=wrong"], r"signature|secret_access_key"),
    "an unknown key": (["-e", "qingagent_access_key_id=QYNOSUCHKEYAAAAAAAAA"], r"access_key_id"),
    "an unknown vxnet": (["-e", '{"qingagent_vxnet": ["vxnet-nosuch1"]}'], r"vxnet-nosuch1"),
    "an API that is down": (["-e", "qingagent_port=9"], r"no answer|refused|reach"),
    "an unknown zone": (["-e", "qingagent_zone=mars1"], r"mars1"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_preflight_stops_with_a_sentence(untouched: Cluster, case: str) -> None:
    words, sentence = FAILURES[case]
    done = untouched.ansible("ansible-playbook", "playbooks/site.yml", *words)
    assert done.returncode != 0
    assert re.search(sentence, " ".join(done.stdout.split())), done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    assert laid_down(untouched) == []


def test_preflight_misses_the_instance_id(untouched: Cluster) -> None:
    node = untouched.nodes[0]
    node.run(["mv", "/etc/qingcloud/instance-id", "/root/instance-id"])
    try:
        done = untouched.ansible("ansible-playbook", "playbooks/site.yml")
    finally:
        node.run(["mv", "/root/instance-id", "/etc/qingcloud/instance-id"])
    assert done.returncode != 0
    assert "/etc/qingcloud/instance-id" in done.stdout
    assert laid_down(untouched) == []


def test_preflight_notices_someone_elses_instance_id(cluster: Cluster, untouched: Cluster) -> None:
    node = untouched.nodes[0]
    node.run(["tee", "/etc/qingcloud/instance-id"], stdin=f"{cluster.nodes[0].instance_id}\n")
    try:
        done = untouched.ansible("ansible-playbook", "playbooks/site.yml")
    finally:
        node.run(["tee", "/etc/qingcloud/instance-id"], stdin=f"{node.instance_id}\n")
    assert done.returncode != 0
    assert "no link of this machine" in " ".join(done.stdout.split()), done.stdout[-3000:]
    assert laid_down(untouched) == []


def test_a_rival_configuration_stops_the_run(untouched: Cluster) -> None:
    node = untouched.nodes[0]
    node.run(["mkdir", "-p", "/etc/cni/net.d"])
    node.run(["tee", "/etc/cni/net.d/00-rival.conflist"], stdin='{"name": "rival", "plugins": []}')
    try:
        done = untouched.ansible("ansible-playbook", "playbooks/site.yml")
    finally:
        node.run(["rm", "/etc/cni/net.d/00-rival.conflist"])
    assert done.returncode != 0
    assert "00-rival.conflist" in done.stdout
    assert laid_down(untouched) == []


def test_check_mode_works_on_a_fresh_node_and_changes_nothing(untouched: Cluster) -> None:
    output = untouched.play("site", "--check", "--diff")
    assert changed(output)[untouched.nodes[0].name] > 0
    assert laid_down(untouched) == []


def test_the_first_command_ever_may_be_the_module_alone(untouched: Cluster) -> None:
    node = untouched.nodes[0]
    assert node.run(["/usr/bin/python3", "-c", "import yaml"], check=False).returncode != 0
    done = untouched.ansible("ansible", "all", "-m", "qingcloud.cni.hostnic_install")
    assert done.returncode == 0, done.stdout[-3000:]
    assert node.run(["qingagent", "version"]).stdout.startswith("qingagent 0.")
    again = untouched.ansible("ansible", "all", "-m", "hostnic_install")
    assert "CHANGED" not in again.stdout and "SUCCESS" in again.stdout, again.stdout[-3000:]


def test_afterwards_the_node_is_rolled_out_like_any_other(untouched: Cluster) -> None:
    node = untouched.nodes[0]
    untouched.play("site")
    untouched.wait_ready(node)
    ipv6 = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
    assert node.run(["cat", ipv6]).stdout == "0\n", "the host's own is nobody's business"
    assert node.run(["ip", "netns", "exec", PARKING, "cat", ipv6]).stdout == "1\n"


def test_the_report_shows_nodes_as_they_are(
    cluster: Cluster, sandbox: t.Callable[[Node, str], Sandbox], tmp_path: Path
) -> None:
    """A pod whose name is no name, and an agent that is stopped: its NICs are the journal's, and it stays stopped."""
    (first, second), page = cluster.nodes[:2], tmp_path / "page.html"
    container = sandbox(first, "report")
    named = "CNI_ARGS=K8S_POD_NAMESPACE=shop;K8S_POD_NAME=<script>alert(1)</script>"
    second.run(["systemctl", "stop", "qingagent.service"])
    try:
        asked = [named, f"CNI_CONTAINERID={container.name}", f"CNI_NETNS={container.netns}", "CNI_PATH=/opt/cni/bin"]
        conf = json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "type": "qingcni"})
        first.run(["env", *asked, "CNI_COMMAND=ADD", "CNI_IFNAME=eth0", PLUGIN], stdin=conf)
        output = cluster.play("report", "-e", f"report_path={page}")
        active = second.run(["systemctl", "is-active", "qingagent.service"], check=False).stdout.strip()
        container.call_del()
    finally:
        second.run(["systemctl", "start", "qingagent.service"])
    text = page.read_text(encoding="utf-8")
    assert active == "inactive" and changed(output)[first.name] == 1
    assert "<script" not in text and "shop/&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "the journal, since no agent answers" in text and "qingagent.service is inactive" in text
    # the cloud was asked; nodes that other tests took away may have left NICs
    assert re.search("no NIC of an instance that is gone|NICs whose instance is gone", text)
    assert "free ones unknown" not in text
    assert all(f"<h3>{node.name}</h3>" in text for node in cluster.nodes)
    assert cluster.lab.api.secret_access_key not in text + output
