# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole life of three nodes: warmed, rolled out, verified, upgraded under load, saved from a bad release, removed.

One story: each test goes on where the one before it ended. The first release is an installed artifact, the others are
clones, and playbooks are called by their full names.
"""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e import attachment
from tests.e2e.cluster import Cluster, Placed, changed, fresh_nodes
from tests.lab.lab import Node
from tests.quality import artifact
from tests.support import next_release
from tests.support.ansible import program

STOP = "/run/e2e-stop"
# Pods of the stream find a rested NIC again soon, so that it does not need dozens.
SHORT_REST = ("-e", "qingagent_quarantine=4s", "-e", "qingagent_quarantine_min=1s")
VERIFY_POD = "verify-pod"
WARM = 3  # NICs that are made before there is an agent: no more than it would make itself
ACCESS = (
    "access_key_id={{ qingagent_access_key_id }} secret_access_key={{ qingagent_secret_access_key }} "
    "zone={{ qingagent_zone }} endpoint={{ qingagent_protocol }}://{{ qingagent_host }}:{{ qingagent_port }}/iaas"
)
# Where a roll-out, an agent or a pod leaves something that lasts; and what the kernel has of it.
FOOTPRINT = """
find /etc /opt /root /usr/lib/cni /usr/lib/hostnic /usr/local /var/lib/qingagent /run/netns /run/qingagent \\
     /run/systemd/network /run/systemd/system /run/NetworkManager ! -type d 2>/dev/null
nft list tables
ip -4 rule
ip -4 -brief link
ip -4 route show table all | grep -v cache
systemctl list-units --all --plain --no-legend 'qingagent*'
"""
# A drop-in of the agent's unit by which the restart of an upgrade takes the node away from those who come by SSH.
DROP_IN = "/run/systemd/system/qingagent.service.d"
AWAY = "table ip e2e_away { chain input { type filter hook input priority 0; tcp dport 22 reject with tcp reset; }; }"
MakeSandbox = t.Callable[[Node, str], attachment.Sandbox]
SERVICES: dict[str, t.Any] = {"isGateway": True, "ipam": {"routes": [{"dst": "10.96.0.0/12"}]}}


@dataclass
class Story:
    """What the tests hand on. `held`: the NICs of the cloud before anything was done; `traces`: of each node then."""

    cluster: Cluster
    held: set[str]
    traces: dict[str, set[str]]
    directory: Path
    clone: Path  # of the release that runs
    pods: dict[str, Placed] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.cluster.nodes

    def release(self, name: str, *changes: next_release.Changes) -> Path:
        """A tree of the collection to play from."""
        (self.directory / name).mkdir()
        return next_release.collection(self.directory / name, *changes)

    def digests(self) -> dict[str, str]:
        """Node ► the digest of the agent that answers there."""
        return {node.name: self.version(node)["digest"] for node in self.nodes}

    @staticmethod
    def version(node: Node) -> dict[str, t.Any]:
        program = (
            "import glob, json, sys; sys.path[:0] = glob.glob('/usr/lib/hostnic/current'); "
            "from hostnic import wire; print(json.dumps(wire.ask('/run/qingagent/qingagent.sock', 'version')))"
        )
        return dict(json.loads(node.run(["/usr/bin/python3", "-c", program]).stdout))

    @contextlib.contextmanager
    def stream(self) -> t.Iterator[None]:
        """Pods start and end on every node meanwhile; each ADD and DEL has to succeed, and some there have to be."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            streams = {node.name: pool.submit(attachment.storm, node, "stream", 1, STOP) for node in self.nodes}
            try:
                yield
            finally:
                for node in self.nodes:
                    node.run(["touch", STOP])
        self._check(streams)

    @staticmethod
    def _check(streams: t.Mapping[str, Future[list[dict[str, t.Any]]]]) -> None:
        calls = {name: stream.result() for name, stream in streams.items()}
        slowest = {name: max(call["seconds"] for call in of) for name, of in calls.items()}
        print({name: len(of) for name, of in calls.items()}, "calls, the slowest", slowest)
        assert [call for of in calls.values() for call in of if call["status"] != 0] == []
        assert min(len(of) for of in calls.values()) >= 10


@pytest.fixture(scope="module")
def story(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Story]:
    with fresh_nodes(3) as three:
        traces = {node.name: footprint(node) for node in three.nodes}
        yield Story(three, in_cloud(three), traces, tmp_path_factory.mktemp("releases"), installed(tmp_path_factory))


def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there is nothing but the collection as users install it."""
    built = artifact.build(Path(program("ansible-galaxy")), tmp_path_factory.mktemp("installed"))
    settings = ("[defaults]", f"collections_path = {built.path}", "callback_result_format = yaml", "forks = 20")
    (built.path.parent / "ansible.cfg").write_text("\n".join([*settings, "[ssh_connection]", "pipelining = True", ""]))
    return built.path.parent


def in_cloud(cluster: Cluster) -> set[str]:
    return {nic["nic_id"] for nic in cluster.lab.control("GET", "nics")}


def footprint(node: Node) -> set[str]:
    return set(node.run(["sh", "-c", FOOTPRINT]).stdout.splitlines())


def test_nics_that_were_made_before_there_was_an_agent_are_its_pool(story: Story) -> None:
    made = f"state=attached vxnet={story.cluster.lab.vxnets[0].vxnet_id} count={WARM} {ACCESS}"
    for changes in (True, False):
        done = story.cluster.ansible("ansible", "all", "--become", "--module-name", "qingcloud_nic", "--args", made)
        assert done.returncode == 0, done.stdout[-3000:]
        assert done.stdout.count("CHANGED" if changes else "SUCCESS") == 3
    warmed = {node.name: set(story.cluster.cloud_nics(node)) - story.held for node in story.nodes}
    assert [len(nics) for nics in warmed.values()] == [WARM] * 3
    story.cluster.play("site", *SHORT_REST, clone=story.clone)
    for node in story.nodes:
        assert story.cluster.wait_ready(node, WARM) == warmed[node.name]
        story.pods[node.name] = story.cluster.pod(node, "stays")
        assert story.pods[node.name].mac() in warmed[node.name]


def test_verify_has_pods_of_all_nodes_ping_each_other_and_names_the_silent_one(story: Story) -> None:
    """That is in a namespace with a filter, as a run that was killed may leave one; it is gone afterwards."""
    silent = story.nodes[2]
    silent.run(["ip", "netns", "add", VERIFY_POD])
    rules = "table ip e2e { chain input { type filter hook input priority 0; policy drop; }; }"
    silent.run(["ip", "netns", "exec", VERIFY_POD, "nft", "-f", "-"], stdin=rules)
    done = story.cluster.ansible("ansible-playbook", "qingcloud.cni.verify", clone=story.clone)
    assert done.returncode != 0
    told = dict(
        re.findall(r"^fatal: \[(\S+)\].*?gets\s+no\s+answer\s+from\s+those\s+of\s+(.*?):", done.stdout, re.M | re.S)
    )
    first, second, third = (node.name for node in story.nodes)
    assert told == {first: third, second: third, third: f"{first}, {second}"}, done.stdout[-3000:]
    rows = re.findall(r"^ *- '? *(\S+)((?: +(?:-|none|[0-9.]+)){3})'?$", done.stdout, re.M)
    assert [name for name, _ in rows] == [first, second, third], done.stdout[-3000:]
    trips = [re.sub(r"[0-9.]+", "ms", row).split() for _, row in rows]
    assert trips == [["-", "ms", "none"], ["ms", "-", "none"], ["none", "none", "-"]]
    for node in story.nodes:
        assert VERIFY_POD not in node.run(["ip", "netns", "list"]).stdout
        assert [lease["container_id"] for lease in story.cluster.ask(node, "leases")] == [
            story.pods[node.name].pod.sandbox_id
        ]


@contextlib.contextmanager
def goes_away(node: Node) -> t.Iterator[None]:
    """Whoever restarts its agent meanwhile is the last one to reach it, until the end of this."""
    node.run(["mkdir", "-p", DROP_IN])
    node.run(["tee", f"{DROP_IN}/e2e.conf"], stdin=f"[Service]\nExecStartPre=+nft '{AWAY}'\n")
    node.run(["systemctl", "daemon-reload"])
    try:
        yield
    finally:
        node.run(["rm", "-r", DROP_IN])
        node.run(["systemctl", "daemon-reload"])
        node.run(["nft", "delete", "table", "ip", "e2e_away"])


def test_an_upgrade_stops_where_a_node_goes_away_and_says_what_runs_where(story: Story) -> None:
    """One of two that are taken at a time: the other one is finished, and the third one is not touched."""
    first, second, third = story.nodes
    before = story.digests()
    story.clone = story.release("next", next_release.PROTOCOL, next_release.schema("shade"))
    two_at_a_time = ("-e", "upgrade_serial=2", "-e", "upgrade_timeout=15")
    with story.stream(), goes_away(second):
        done = story.cluster.ansible("ansible-playbook", "qingcloud.cni.upgrade", *two_at_a_time, clone=story.clone)
    told, after = " ".join(done.stdout.split()), story.digests()
    assert done.returncode != 0
    assert f"{second.name} was not well with version {after[first.name]} (it went away) and could not be" in told
    assert "either may run there, and no further node is touched" in told
    assert f"Version {after[first.name]} runs on {first.name}; not touched: {third.name}." in told
    assert after[first.name] != before[first.name] and after[third.name] == before[third.name]


def test_an_upgrade_fails_no_pod(story: Story) -> None:
    """This one goes on where the last one had to stop."""
    *__, last = story.nodes
    before, pools = story.digests(), [story.cluster.pool(node) for node in story.nodes]
    old = story.version(last)
    with story.stream():
        story.cluster.play("upgrade", clone=story.clone)
    after = story.digests()
    assert len(set(after.values())) == 1 and after[last.name] != before[last.name]
    former = f"/usr/lib/hostnic/{old['digest']}/bin/qingcni"
    status = ["env", "CNI_COMMAND=STATUS", "CNI_PATH=/opt/cni/bin", former]
    assert last.run(status, stdin='{"cniVersion": "1.1.0", "name": "e2e", "type": "qingcni"}').stdout == ""
    now = story.version(last)
    assert (now["protocol"], now["journal_schema"]) == (2, old["journal_schema"] + 1)
    for node, pool in zip(story.nodes, pools):
        assert pool.keys() <= story.cluster.pool(node).keys()
        pod = story.pods[node.name]
        assert story.cluster.pool(node)[pod.mac()]["state"] == "IN_USE"
        assert pod.pings(story.cluster.lab.vxnets[0].gateway)
    again = story.cluster.play("upgrade", clone=story.clone)
    assert changed(again) == {node.name: 0 for node in story.nodes}


def test_a_bad_release_stops_at_the_first_node_which_gets_its_version_back(story: Story) -> None:
    first, *others = story.nodes
    before = {node.name: story.version(node) for node in story.nodes}
    bad = story.release(
        "bad", next_release.PROTOCOL, next_release.schema("shade"), next_release.schema("tint"), next_release.BROKEN
    )
    with story.stream():
        done = story.cluster.ansible("ansible-playbook", "qingcloud.cni.upgrade", clone=bad)
    assert done.returncode != 0
    assert f"runs {before[first.name]['digest']} again" in " ".join(done.stdout.split()), done.stdout[-3000:]
    assert "never tried out" in done.stdout
    after = {node.name: story.version(node) for node in story.nodes}
    assert after[first.name]["digest"] == before[first.name]["digest"]
    assert after[first.name]["pid"] != before[first.name]["pid"]
    assert [after[node.name] for node in others] == [before[node.name] for node in others]
    led = first.run(["journalctl", "--unit", "qingagent.service", "--grep", "was led from schema"]).stdout
    assert f"from schema {before[first.name]['journal_schema'] + 1} back to" in led
    assert {"shade"} == {"shade", "tint"} & story.cluster.journal(first, "nic")[0].keys()
    pod = story.pods[first.name]
    assert story.cluster.pool(first)[pod.mac()]["state"] == "IN_USE"


def test_remove_refuses_while_pods_have_nics(story: Story) -> None:
    first = story.nodes[0]
    pool, leases = story.cluster.pool(first), story.cluster.ask(first, "leases")
    done = story.cluster.ansible("ansible-playbook", "qingcloud.cni.remove", clone=story.clone)
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert "pods have NICs of this node: e2e/stays" in told and "remove_force=true" in told, done.stdout[-3000:]
    assert set(changed(done.stdout).values()) == {0}
    assert pool.keys() <= story.cluster.pool(first).keys() and story.cluster.ask(first, "leases") == leases


def test_a_drained_node_has_what_its_pods_have(
    story: Story, sandbox: t.Callable[[Node, str], attachment.Sandbox]
) -> None:
    first = story.nodes[0]
    pod = sandbox(first, "services")
    pod.add(**SERVICES)
    assert "GATEWAY" in {nic["state"] for nic in story.cluster.pool(first).values()}
    pod.close()
    story.cluster.play("drain", clone=story.clone)
    for node in story.nodes:
        pool = story.cluster.pool(node)
        assert {nic["purpose"] for nic in pool.values()} | {"gateway"} == {"pool", "gateway"}
        assert {nic_id for nic_id, nic in pool.items() if nic["purpose"] == "pool"} == {story.pods[node.name].mac()}


def test_removed_without_a_trace_even_where_the_agent_is_dead_or_pods_are_not(story: Story) -> None:
    """The first node has a gateway NIC, the second one's pod runs on, the third one's package is damaged."""
    first, second, third = story.nodes
    for node in (first, third):
        story.cluster.stop(story.pods[node.name])
    third.run(["ln", "-sfn", "nowhere", "/usr/lib/hostnic/current"])
    third.run(["systemctl", "kill", "--signal=KILL", "qingagent.service"])
    story.cluster.play("remove", "-e", "remove_force=true", clone=story.clone)
    story.cluster.remove_pods()
    assert in_cloud(story.cluster) == story.held
    for node in story.nodes:
        now, before = footprint(node), story.traces[node.name]
        assert (now - before, before - now) == (set(), set())


def test_what_is_removed_is_removed_once_and_others_networks_are_used_again(story: Story) -> None:
    assert changed(story.cluster.play("remove", clone=story.clone)) == {node.name: 0 for node in story.nodes}
    pod = story.cluster.pod(story.nodes[0], "after")
    assert pod.address().startswith("10.88.")  # 87-podman-bridge.conflist
    story.cluster.stop(pod)
