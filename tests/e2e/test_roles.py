# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles do beyond laying things down: keys that rotate, a kubelet and Mesos that are told, few round trips."""

from __future__ import annotations

import json
import re
import typing as t
from collections import Counter

import pytest

from tests.e2e.agent import ask
from tests.e2e.attachment import Sandbox
from tests.e2e.cluster import Cluster, fresh_node
from tests.lab.lab import Node
from tests.lab.wait import until

NEXT = {"access_key_id": "QYNEXTKEYFORTHELAB00", "secret_access_key": "n3xt-s3cr3t-0f-the-lab"}
CONFLIST = "/etc/cni/net.d/05-qingcloud.conflist"


# -- keys -------------------------------------------------------------------------------------------------------------


def rotate(cluster: Cluster, old: str, new: t.Mapping[str, str]) -> dict[str, int]:
    """A new key is issued, rolled out, and the old one revoked. Host ► tasks that changed something."""
    cluster.lab.control("POST", "access_keys", {**new, "owner": owner(cluster)})
    given = {f"qingagent_{name}": value for name, value in new.items()}
    said = cluster.play("site", "--tags", "qingagent_configure", "-e", json.dumps(given), "-vvvv")
    assert new["secret_access_key"] not in said.partition("\nPLAY [")[2]  # before it, ansible repeats its command line
    cluster.lab.control("DELETE", f"access_keys/{old}")
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", said, re.MULTILINE)}


def owner(cluster: Cluster) -> str:
    return str(cluster.lab.control("GET", "state")["vxnets"][0]["owner"])


def agent(node: Node) -> str:
    """Its pid."""
    return node.run(["systemctl", "show", "--value", "--property=MainPID", "qingagent.service"]).stdout.strip()


def test_a_rotated_key_needs_no_restart(cluster: Cluster) -> None:
    """There and back. The old key is revoked each time, and the agents go on making NICs."""
    api = cluster.lab.api
    first = {"access_key_id": api.access_key_id, "secret_access_key": api.secret_access_key}
    pids = {node.name: agent(node) for node in cluster.nodes}
    for old, new in ((first, NEXT), (NEXT, first)):
        assert rotate(cluster, old["access_key_id"], new) == dict.fromkeys(pids, 1)
        before = cluster.lab.control("GET", "counters")
        for node in cluster.nodes:
            one_more(cluster, node)
        after = cluster.lab.control("GET", "counters")
        assert after["calls"]["CreateNics"] >= before["calls"].get("CreateNics", 0) + len(cluster.nodes)
        assert refused(after) == refused(before)
        assert {node.name: agent(node) for node in cluster.nodes} == pids
    for node in cluster.nodes:
        cluster.ask(node, "trim")


# -- settings ---------------------------------------------------------------------------------------------------------


def test_only_a_setting_that_needs_it_restarts_the_agent(cluster: Cluster) -> None:
    """One that a running agent takes on the first node, one that it does not on the second."""
    first, second = cluster.nodes[:2]
    mine = f"{{{{ %s if inventory_hostname == '{first.name}' else %s }}}}"
    given = {"qingagent_idle_ttl": mine % ("'47m'", "'10m'"), "qingagent_reconcile_interval": mine % ("'30s'", "'53s'")}
    pids = [agent(node) for node in (first, second)]
    try:
        cluster.play("site", "--tags", "qingagent_configure", "-e", json.dumps(given))
        assert [running(node, "idle-ttl", "reconcile-interval") for node in (first, second)] == [[2820, 30], [600, 53]]
        assert [agent(node) == pid for node, pid in zip((first, second), pids)] == [True, False]
    finally:
        cluster.play("site", "--tags", "qingagent_configure")


def running(node: Node, *settings: str) -> list[t.Any]:
    """What the agent has of them now."""
    shown = ask(node, "settings")
    return [shown[name]["value"] for name in settings]


def one_more(cluster: Cluster, node: Node) -> None:
    """Has the agent make a NIC, whatever it has already."""

    def free() -> int:
        return len([nic for nic in cluster.pool(node).values() if nic["state"] not in ("IN_USE", "GATEWAY")])

    before = free()
    node.run(["qingagent", "warm", str(before + 1)])
    until(lambda: free() > before, 60, "one NIC more")


def refused(counters: t.Mapping[str, t.Any]) -> int:
    """Calls with a key that the cloud does not know."""
    return sum(int(codes.get("1200", 0)) for codes in counters["rejected"].values())


# -- round trips ------------------------------------------------------------------------------------------------------

# Named, ansible does not look for it, which is a round trip of its own to each node of a run.
PYTHON = ("-e", "ansible_python_interpreter=/usr/bin/python3")


def round_trips(said: str) -> dict[str, Counter[str]]:
    """Task ► address ► commands that were sent there, by what ansible prints at -vvv."""
    found: dict[str, Counter[str]] = {}
    for block in re.split(r"^TASK ", said, flags=re.MULTILINE):
        name = block.splitlines()[0] if block else ""
        sent = Counter(re.findall(r"^<(\S+)> SSH: EXEC", block, re.MULTILINE))
        sent += Counter(re.findall(r"^<(\S+)> (?:PUT|FETCH) ", block, re.MULTILINE))
        found[name] = found.get(name, Counter()) + sent
    return found


@pytest.mark.parametrize("state", ["present", "staged"])
def test_an_unchanged_installation_costs_one_round_trip(cluster: Cluster, state: str) -> None:
    words = ("-m", "qingcloud.cni.hostnic_install", "-a", f"state={state}", "-vvv", *PYTHON)
    done = cluster.ansible("ansible", "all", *words)
    assert done.returncode == 0 and "CHANGED" not in done.stdout, done.stdout[-3000:]
    sent = sum(round_trips(done.stdout).values(), Counter())
    assert sent == {node.address: 1 for node in cluster.nodes}


def test_no_task_of_a_repeated_roll_out_costs_more_than_one_round_trip(cluster: Cluster) -> None:
    said = cluster.play("site", "-vvv", *PYTHON)
    assert re.findall(r"^TASK .*\n(?:.*\n)*?changed: .*", said, re.MULTILINE) == []
    assert set(re.findall(r"changed=(\d+)", said.rpartition("PLAY RECAP")[2])) == {"0"}
    trips = round_trips(said)
    assert {task: dict(sent) for task, sent in trips.items() if max(sent.values(), default=0) > 1} == {}
    total = sum(trips.values(), Counter())
    assert set(total) == {node.address for node in cluster.nodes}
    assert max(total.values()) <= 11, total


# -- a fresh node ------------------------------------------------------------------------------------------------------

# Takes its arguments from where kubeadm's unit does.
KUBELET = """[Service]
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/bin/python3 -c "import signal; signal.pause()" --config=/x $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
MESOS = {"network_cni_config_dir": "/etc/mesos-cni", "network_cni_plugins_dir": "/opt/mesos/cni:/opt/cni/bin"}
BROKEN = "/etc/systemd/system/qingagent.service.d/broken.conf"
DROP_IN = ("-e", "qingcni_kubelet_drop_in=true")


def put(node: Node, path: str, text: str) -> None:
    node.run(["mkdir", "-p", path.rpartition("/")[0]])
    node.run(["tee", path], stdin=text)


@pytest.fixture(scope="module")
def fresh(cluster: Cluster) -> t.Iterator[Cluster]:
    """A node with Mesos' flags and something in the role of a kubelet; `cluster` is there for its lab."""
    with fresh_node() as one:
        for name, value in MESOS.items():
            put(one.nodes[0], f"/etc/mesos-slave/{name}", f"{value}\n")
        put(one.nodes[0], "/etc/systemd/system/kubelet.service", KUBELET)
        one.nodes[0].run(["systemctl", "daemon-reload"])
        one.nodes[0].run(["systemctl", "start", "kubelet.service"])
        yield one


def network_ready(node: Node) -> bool:
    """What a kubelet asks its runtime, and its node is not ready for as long as this is false."""
    with node.cri() as cri:
        return cri.network_ready()


def there(node: Node, path: str) -> bool:
    return node.run(["test", "-e", path], check=False).returncode == 0


def arguments(node: Node) -> list[str]:
    """Of the kubelet's process."""
    pid = node.run(["systemctl", "show", "--value", "--property=MainPID", "kubelet.service"]).stdout.strip()
    return node.run(["cat", f"/proc/{pid}/cmdline"]).stdout.split("\0")


def test_the_node_is_not_ready_before_the_agent_is(fresh: Cluster) -> None:
    """containerd's own answer, from a bare node over an agent that does not start to one that answers."""
    node = fresh.nodes[0]
    podman = node.run(["find", "/etc/cni/net.d", "-name", "*podman*"], check=False).stdout.split()
    node.run(["mkdir", "-p", "/root/aside"])
    for path in podman:  # the distribution's own configuration would make any node ready
        node.run(["mv", path, "/root/aside/"])
    until(lambda: not network_ready(node), 30, "a runtime without a network")

    put(node, BROKEN, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    done = fresh.ansible("ansible-playbook", "playbooks/site.yml", *DROP_IN)
    assert done.returncode != 0 and there(node, "/usr/local/sbin/qingagent"), done.stdout[-3000:]
    assert not there(node, CONFLIST) and not there(node, "/etc/mesos-cni/qingcloud.conf")
    assert not network_ready(node)

    node.run(["rm", BROKEN])
    node.run(["systemctl", "daemon-reload"])
    fresh.play("site", *DROP_IN)
    until(lambda: network_ready(node), 30, "a runtime that has the configuration")


def test_the_kubelet_runs_with_the_number_of_pods(fresh: Cluster) -> None:
    """As many as the pool may have NICs, and two of the host's own network."""
    node = fresh.nodes[0]
    assert f"--max-pods={fresh.ask(node, 'explain')['cap'] + 2}" in arguments(node)


def test_mesos_calls_the_plugin_by_the_file_that_was_written(fresh: Cluster) -> None:
    """As its isolator does: the file's object, with what it knows of the network in `args`, and results of 0.2.0."""
    node = fresh.nodes[0]
    conf = json.loads(node.run(["cat", "/etc/mesos-cni/qingcloud.conf"]).stdout)
    assert node.run(["ls", "/etc/mesos-cni"]).stdout.split() == ["qingcloud.conf"]
    conf["args"]["org.apache.mesos"] = {"network_info": {"name": conf["name"], "labels": {"labels": []}}}
    sandbox = Sandbox(node, "mesos")

    def called(verb: str) -> str:
        environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": sandbox.name, "CNI_NETNS": sandbox.netns,
                       "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/mesos/cni:/opt/cni/bin"}  # fmt: skip
        argv = ["env", *(f"{key}={value}" for key, value in environment.items()), "/opt/mesos/cni/qingcni"]
        return node.run(argv, stdin=json.dumps(conf)).stdout

    try:
        result = json.loads(called("ADD"))
        assert result["cniVersion"] == "0.2.0" and set(result) <= {"cniVersion", "ip4", "dns"}
        assert [lease["container_id"] for lease in sandbox.leases()] == [sandbox.name]
        links = json.loads(node.run(["ip", "-netns", sandbox.name, "-json", "addr", "show", "eth0"]).stdout)
        [address] = [item for item in links[0]["addr_info"] if item["family"] == "inet"]
        assert result["ip4"]["ip"] == f"{address['local']}/{address['prefixlen']}"
        assert called("DEL") == ""
        assert sandbox.leases() == []
    finally:
        sandbox.close()


def test_a_second_run_changes_nothing_of_all_this(fresh: Cluster) -> None:
    before = arguments(fresh.nodes[0])
    said = fresh.play("site", *DROP_IN)
    assert re.findall(r"changed=(\d+)", said.rpartition("PLAY RECAP")[2]) == ["0"]
    assert arguments(fresh.nodes[0]) == before


def test_a_directory_that_mesos_shares_stops_the_run(fresh: Cluster) -> None:
    done = fresh.ansible(
        "ansible-playbook", "playbooks/site.yml", "--tags", "qingcni_preflight",
        "-e", json.dumps({"qingcni_mesos_conf_dir": "/etc/cni/net.d", "qingcni_mesos_bin_dirs": ["/opt/cni/bin"]}),
    )  # fmt: skip
    assert done.returncode != 0
    assert "give Mesos' agent a directory of its own" in re.sub(r"\s+", " ", done.stdout), done.stdout[-2000:]


def test_arguments_that_would_win_over_the_drop_in_stop_the_run(fresh: Cluster) -> None:
    node = fresh.nodes[0]
    put(node, "/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--node-ip=192.0.2.1\n")
    try:
        done = fresh.ansible("ansible-playbook", "playbooks/site.yml", "--tags", "qingcni_preflight", *DROP_IN)
    finally:
        node.run(["rm", "/etc/default/kubelet"])
    assert done.returncode != 0 and "/etc/default/kubelet sets KUBELET_EXTRA_ARGS" in done.stdout, done.stdout[-2000:]
