# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent doctor` on a node of the lab: healthy, then with one fault after the other, each told by its own check.

Each remedy that is a command is run as it is told. A fault that is gone is seen by the next look, which tells of the
next fault and of nothing else.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import typing as t
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import STATE, Cluster
from tests.e2e.test_managers import MANAGERS, manager
from tests.lab.lab import Node
from tests.lab.machine import Machine
from tests.lab.wait import until
from tests.support.api import Api

HEALTHY, FOUND = 0, 3
AGENT, SETTINGS, ACCESS = "qingagent.service", "/etc/qingagent/QingAgent.yaml", "/etc/qingcloud/client.yaml"
STATEDIR, CONF_DIR = "/var/lib/qingagent", "/etc/cni/net.d"
GUARD = "/run/NetworkManager/conf.d/05-qingcni.conf"
LONELY = "vxnet-lonely01"
RIVAL = {"cniVersion": "1.0.0", "name": "rival", "plugins": [{"type": "bridge", "bridge": "rival0"}]}

Planting = t.Iterator[None]


class Bed:
    """One node."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.node: Node = cluster.nodes[0]

    def sh(self, *lines: str) -> str:
        return self.node.run(["sh", "-ec", "\n".join(lines)]).stdout

    def look(self) -> tuple[int, dict[str, t.Any]]:
        done = self.node.run(["qingagent", "doctor", "--output", "json"], check=False)
        assert done.returncode in (HEALTHY, FOUND), done.stderr
        return done.returncode, json.loads(done.stdout)

    def write(self, path: str, text: str) -> None:
        self.node.run(["tee", path], stdin=text)

    @contextlib.contextmanager
    def changed(self, path: str, pattern: str, new: str) -> Planting:
        """Owner and mode stay."""
        before = self.node.path(path).read_text()
        after = re.sub(pattern, new, before, count=1, flags=re.MULTILINE)
        assert after != before
        self.write(path, after)
        try:
            yield
        finally:
            self.write(path, before)


# -- faults: planted, and taken away again whatever becomes of the test ------------------------------------------------


@contextlib.contextmanager
def by_commands(bed: Bed, plant: str, undo: str) -> Planting:
    try:
        bed.sh(plant)
        yield
    finally:
        bed.sh(undo)


def commands(plant: str, undo: str = "true") -> t.Callable[[Bed], t.ContextManager[None]]:
    return lambda bed: by_commands(bed, plant, undo)


@contextlib.contextmanager
def route_to_pods(bed: Bed) -> Planting:
    network = bed.cluster.lab.vxnets[0].cidr.replace("/24", "/25")
    with by_commands(bed, f"ip route add {network} dev lo", f"ip route del {network} dev lo 2>&- || true"):
        yield


@contextlib.contextmanager
def rival(bed: Bed) -> Planting:
    path = f"{CONF_DIR}/00-rival.conflist"
    bed.write(path, json.dumps(RIVAL))
    with by_commands(bed, "true", f"rm -f {path} {path}.disabled"):
        yield


@contextlib.contextmanager
def refused(bed: Bed) -> Planting:
    fault = {"action": "DescribeJobs", "kind": "ret_code", "ret_code": 1400, "count": None}
    message = "PermissionDenied, you are not allowed to describe jobs"
    ordered = bed.cluster.lab.control("POST", "faults", {**fault, "message": message})
    try:
        yield
    finally:
        bed.cluster.lab.control("DELETE", f"faults/{ordered['fault_id']}")


def cloud(**settings: t.Any) -> t.Callable[[Bed], t.ContextManager[None]]:
    """These settings of the emulated cloud."""

    @contextlib.contextmanager
    def plant(bed: Bed) -> Planting:
        before = bed.cluster.lab.control("GET", "settings")
        bed.cluster.lab.control("POST", "settings", settings)
        try:
            yield
        finally:
            bed.cluster.lab.control("POST", "settings", {name: before[name] for name in settings})

    return plant


@contextlib.contextmanager
def lonely(bed: Bed) -> Planting:
    """One more vxnet of pods, which nobody has joined to the router, and an agent that was told of it."""
    network = bed.cluster.lab.vxnets[-1].cidr.rpartition(".0/")[0].rpartition(".")[0] + ".77.0/24"
    bed.cluster.lab.control("POST", "vxnets", {"vxnet_id": LONELY, "ip_network": network})
    try:
        with bed.changed(SETTINGS, r"^vxnet:\n", f"vxnet:\n- {LONELY}\n"):
            bed.sh(f"systemctl restart {AGENT}")
            yield
    finally:
        bed.sh(f"systemctl restart {AGENT}")
        Api(bed.cluster.lab).call("DeleteVxnets", vxnets=[LONELY])


@contextlib.contextmanager
def not_reloaded(bed: Bed) -> Planting:
    with bed.changed(SETTINGS, r"^pool-high: .*$", "pool-high: 9"):
        yield
    bed.sh(f"systemctl reload {AGENT}")


def closed_port(bed: Bed) -> t.ContextManager[None]:
    return bed.changed(ACCESS, r"^port: .*$", "port: 9")


@contextlib.contextmanager
def untold(bed: Bed) -> Planting:
    """NetworkManager runs, and somebody has taken away what the agent told it."""
    with manager(bed.node, *MANAGERS["NetworkManager"]):
        bed.sh(f"rm {GUARD}")
        yield


@contextlib.contextmanager
def foreign_journal(bed: Bed) -> Planting:
    """As if the disk had been another machine's."""
    path = Machine(bed.node.name).root / STATE
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as link:
        link.execute("UPDATE binding SET instance_id = 'i-0therone'")
        link.commit()
    yield


# -- and what is done about them ---------------------------------------------------------------------------------------


def as_told(bed: Bed, remedy: str) -> None:
    bed.sh(remedy)


def first_of_two(bed: Bed, remedy: str) -> None:
    """Where another way is told as well."""
    bed.sh(remedy.split(", or ")[0])


@dataclass(frozen=True)
class Fault:
    """`mend` None: the remedy is no command of the node, and taking away what was planted stands for it.

    `says`: what the finding and the remedy have to name.
    """

    check: str
    plant: t.Callable[[Bed], t.ContextManager[None]]
    says: tuple[str, str]
    mend: t.Optional[t.Callable[[Bed, str], None]] = as_told


DROP = "{ type filter hook forward priority 0; policy drop; }"
FAULTS = (
    Fault(
        "forward-policy",
        commands(f"nft add table ip hard; nft add chain ip hard walled '{DROP}'", "nft delete table ip hard"),
        ("ip hard walled", "nft insert rule ip hard walled"),
    ),
    Fault(
        "reverse-path",
        commands("sysctl -qw net.ipv4.conf.eth0.rp_filter=1", "sysctl -qw net.ipv4.conf.eth0.rp_filter=0"),
        ("source check of eth0", "rp_filter=2"),
    ),
    Fault(
        "mtu",
        commands("ip link set dev eth0 mtu 1400", "ip link set dev eth0 mtu 1500"),
        ("1500 and the host's own eth0 one of 1400", "ip link set dev eth0 mtu 1500"),
        first_of_two,
    ),
    Fault("routes", route_to_pods, ("dev lo takes what", "ip route del")),
    Fault(
        "kube-proxy",
        commands("nft add table ip kube-proxy; nft add chain ip kube-proxy services", "nft delete table ip kube-proxy"),
        ("not told to send services' packets", "qingcni_routes"),
        None,
    ),
    Fault("cni-configuration", rival, ("00-rival.conflist sorts before", "mv /etc/cni/net.d/00-rival.conflist")),
    Fault("cni-plugin", commands("rm /usr/lib/cni/qingcni"), ("/usr/lib/cni", "ln -sf /usr/lib/hostnic/current/")),
    Fault("state-directory", commands(f"chmod 0755 {STATEDIR}"), ("mode 0755", f"chmod 0700 {STATEDIR}")),
    Fault(
        "spool",
        commands(f"mkdir -p -m 0700 {STATEDIR}/spool; echo no >{STATEDIR}/spool/1-x.json.damaged"),
        ("1 DELs", f"rm {STATEDIR}/spool/*.damaged"),
    ),
    Fault(
        "held-still",
        commands(f"echo L1 >{STATEDIR}/degradation", f"rm -f {STATEDIR}/degradation"),
        ("says L1", f"rm {STATEDIR}/degradation"),
    ),
    Fault(
        "settings-in-use",
        not_reloaded,
        ("pool-high 8 instead of 9", f"systemctl reload {AGENT}"),
    ),
    Fault("units", commands("systemctl disable -q qingagent.service"), ("after a reboot", "systemctl enable")),
    Fault("access-file", commands(f"chmod 0644 {ACCESS}"), ("mode 0644", f"chmod 0600 {ACCESS}")),
    Fault("key-rights", refused, ("refused DescribeJobs", "the right to DescribeJobs"), None),
    # the node's clock is this machine's, so the cloud's is set instead
    Fault("clock", cloud(wall_ahead=300.0), ("s behind the API's", "timedatectl set-ntp true"), None),
    Fault("vxnet-addresses", cloud(reserved_addresses=300), ("has no free address", "name another in `vxnet`"), None),
    Fault("vxnets", lonely, (f"vxnet {LONELY} is in no router", "join it to the VPC's router"), None),
    Fault("api", closed_port, (":9", "host and port of the access file"), None),
    Fault("networkmanager", untold, (GUARD, f"systemctl restart {AGENT}")),
    Fault("agent", commands(f"systemctl stop {AGENT}"), ("does not run", f"systemctl start {AGENT}")),
    Fault(
        "parking",
        commands("ip netns delete qingagent"),
        ("is not there", f"systemctl restart qingagent-netns.service {AGENT}"),
    ),
    Fault("journal", foreign_journal, ("i-0therone", f"systemctl restart {AGENT}")),
)


@pytest.fixture
def bed(cluster: Cluster) -> t.Iterator[Bed]:
    """The node has its pool afterwards, for whoever comes next; what a lost journal has to rest, it rests briefly.

    The agent is started anew: what systemd had to restart in other tests is history.
    """
    bed = Bed(cluster)
    with cluster.short_rest(bed.node):
        cluster.wait_ready(bed.node)
        until(lambda: cluster.ask(bed.node, "explain")["looked_ago"] is not None, 20, "the agent's first look")
        yield bed
        cluster.wait_ready(bed.node)


def test_each_fault_is_found_by_its_check_and_gone_by_its_remedy(bed: Bed) -> None:
    status, report = bed.look()
    assert (status, report["healthy"], report["findings"]) == (HEALTHY, True, [])
    assert len({fault.check for fault in FAULTS} & set(report["checks"])) == len(FAULTS) >= 12

    with closed_port(bed):
        done = bed.node.run(["qingagent", "doctor"], check=False)
    told = done.stdout
    assert re.search(r"^  error: api: ", told, re.MULTILINE) and "► from this node" in told and "\x1b" not in told
    assert told.endswith(f"{len(report['checks'])} checks: 1 error, no warnings\n") and done.stderr == ""

    complaints = []
    for fault in FAULTS:
        with fault.plant(bed):
            status, report = bed.look()
            found = report["findings"]
            if {finding["check"] for finding in found} != {fault.check}:
                complaints.append(f"{fault.check}: {found or report}")
                continue
            finding = found[0]
            assert fault.says[0] in finding["what"] and fault.says[1] in finding["remedy"], finding
            assert status == (FOUND if any(one["severity"] == "error" for one in found) else HEALTHY)
            if fault.mend:
                fault.mend(bed, finding["remedy"])
    assert complaints == []
    # the remedy of the last one was a restart
    until(lambda: bed.look()[1]["findings"] == [], 30, "a healthy node again")
