# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling out: repeatable, honest in check mode, and stopped by preflight before anything is half done."""

from __future__ import annotations

import re
import typing as t

import pytest

from tests.e2e.cluster import Cluster, changed, fresh_node

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
    assert re.search(sentence, done.stdout), done.stdout[-3000:]
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
    assert re.search(r"no link of this machine", done.stdout), done.stdout[-3000:]
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
    untouched.play("site")
    untouched.wait_ready(untouched.nodes[0])
