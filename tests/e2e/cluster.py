# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end-to-end tests do with a lab: playbooks, pods, a look into netns, captures on the fabric."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import agent, attachment, networks
from tests.e2e.inside import Inside
from tests.lab.cri import Pod
from tests.lab.errors import LabError
from tests.lab.lab import Lab, Node
from tests.lab.machine import Machine
from tests.lab.paths import CLONE, PREFIX
from tests.lab.wait import until
from tests.support.ansible import program

PARKING = "qingagent"
STATE = "var/lib/qingagent/state.db"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NAMESPACE = "e2e"
KILLED = -signal.SIGKILL
FABRIC = f"{PREFIX}-fabric"
OFTEN = ("pool", "leases")  # asked while waiting: a process for each time would take the machine from what is tested


@dataclass(frozen=True)
class Placed(Inside):
    """A pod and the node it runs on."""

    node: Node
    pod: Pod

    @property
    def netns(self) -> str:
        return self.pod.netns


class Cluster:
    """`nodes` are those that playbooks and pods are limited to; all of the lab's by default."""

    def __init__(self, lab: Lab, nodes: t.Optional[tuple[Node, ...]] = None) -> None:
        self.lab = lab
        self.nodes = nodes or lab.nodes
        self._placed: list[Placed] = []

    # -- Ansible --

    def ansible(self, name: str, *words: str, clone: Path = CLONE) -> subprocess.CompletedProcess[str]:
        """`ansible` or `ansible-playbook` against this cluster, for the caller to look at.

        `clone`: where it is run, that is, where there is an `ansible.cfg` by which it finds the collection.
        """
        argv = [program(name), "-i", self.lab.inventory, *words]
        env = {**os.environ, "ANSIBLE_CONFIG": str(clone / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        limit = ["--limit", ",".join(node.name for node in self.nodes)]
        return subprocess.run([*argv, *limit], cwd=clone, env=env, capture_output=True, text=True, check=False)

    def play(self, playbook: str, *words: str, clone: Path = CLONE) -> str:
        """A playbook, by its full name, that must succeed; returns what it printed."""
        done = self.ansible("ansible-playbook", f"qingcloud.cni.{playbook}", *words, clone=clone)
        if done.returncode:
            journals = "\n".join(self._units_said(node) for node in self.nodes)
            raise AssertionError(f"{playbook} failed:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}\n{journals}")
        return done.stdout

    @staticmethod
    def _units_said(node: Node) -> str:
        """A playbook quotes systemd, which says no more than that a unit failed."""
        argv = ["journalctl", "--boot", "--no-pager", "--lines=20", "--unit=qingagent*"]
        return f"{node.name}:\n{node.run(argv, check=False).stdout}"

    # -- pods --

    def pod(self, node: Node, name: str, workload: bool = False, **options: t.Any) -> Placed:
        """`options` are those of `Cri.run_pod`."""
        with node.cri() as cri:
            cri.wait_ready()
            placed = Placed(node, cri.run_pod(name, NAMESPACE, workload=workload, **options))
        self._placed.append(placed)
        return placed

    def stop(self, placed: Placed) -> None:
        with placed.node.cri() as cri:
            cri.stop_pod(placed.pod)
            cri.remove_pod(placed.pod)
        if placed in self._placed:
            self._placed.remove(placed)

    def remove_pods(self) -> None:
        for placed in list(self._placed):
            self.stop(placed)

    def sweep(self) -> None:
        """Remove what a killed run of these tests has left: pods, netns, CNI configurations."""
        for node in self.nodes:
            attachment.sweep(node)
            networks.sweep(node)
            with node.cri() as cri:
                for pod in cri.pods():
                    if pod.namespace == NAMESPACE:
                        cri.remove_pod(pod)

    def reboot(self, node: Node) -> Node:
        """Off and on again with the disk it has; its pods end with it, and everyone's old `Node` of it is stale."""
        lab("reboot-node", node.name)
        self._placed = [placed for placed in self._placed if placed.node.name != node.name]
        self.lab = Lab.load()
        self.nodes = tuple(self.lab.node(known.name) for known in self.nodes)
        return self.lab.node(node.name)

    @staticmethod
    def qingcni(
        node: Node, verb: str, container: str, netns: str, network: str, patience: t.Optional[float] = None
    ) -> tuple[int, t.Any]:
        """The executable as a runtime executes it: its exit status and what it printed.

        With `patience` it is killed after so many seconds, and the status is `KILLED`.
        """
        said = attachment.qingcni(node, verb, container, netns, {"name": network}, patience=patience)
        return said.status, said.object

    # -- the agent --

    @contextlib.contextmanager
    def unit(self, node: Node, *directives: str) -> t.Iterator[None]:
        """The agent's service with these directives as well; they hold over a reboot."""
        directory = "/etc/systemd/system/qingagent.service.d"
        node.run(["mkdir", "-p", directory])
        node.run(["tee", f"{directory}/e2e.conf"], stdin="\n".join(["[Service]", *directives, ""]))
        self._restart_agent(node)
        try:
            yield
        finally:
            node = self.lab.node(node.name)  # a reboot may have been in between
            node.run(["rm", "-r", directory])
            self._restart_agent(node)

    def short_rest(self, node: Node, *directives: str) -> t.ContextManager[None]:
        """Released NICs are READY after seconds instead of a minute, and none is given back meanwhile."""
        settings = ("Environment=QINGAGENT_QUARANTINE=8s", "Environment=QINGAGENT_IDLE_TTL=1h")
        return self.unit(node, *settings, *directives)

    @contextlib.contextmanager
    def own_boot_id(self, node: Node) -> t.Iterator[str]:
        """A directive by which the agent sees the node's boot id.

        That is a file mounted over the kernel's; the sandbox of the agent's unit drops the mount. Without this the
        agent sees the boot id of the machine that the lab runs on, which no reboot of a node changes, and takes what
        qingcni has written down for that of another boot.
        """
        rule, copy = "/etc/tmpfiles.d/e2e.conf", "/run/e2e-boot-id"
        node.run(["tee", rule], stdin=f"C {copy} - - - - {BOOT_ID}\n")
        node.run(["systemd-tmpfiles", "--create", rule])
        try:
            yield f"BindReadOnlyPaths={copy}:{BOOT_ID}"
        finally:
            self.lab.node(node.name).run(["rm", rule, copy])  # a reboot may have been in between

    @staticmethod
    def _restart_agent(node: Node) -> None:
        node.run(["systemctl", "daemon-reload"])
        node.run(["systemctl", "restart", "qingagent.service"])

    def wait_rest(self, node: Node, seconds: float = 60) -> set[str]:
        """Until every NIC is a pod's, a gateway or READY, and nothing is under way; returns those that are READY.

        A NIC that an ADD or a DEL left half done keeps it from its rest.
        """
        return until(lambda: self.at_rest(node), seconds, f"a pool at rest on {node.name}")

    def at_rest(self, node: Node) -> t.Optional[set[str]]:
        states = {nic_id: nic["state"] for nic_id, nic in self.pool(node).items()}
        if set(states.values()) - {"READY", "IN_USE", "GATEWAY"} or self.journal(node, "intent"):
            return None
        return {nic_id for nic_id, state in states.items() if state == "READY"}

    @staticmethod
    def journal(node: Node, table: str) -> list[dict[str, t.Any]]:
        """The rows of `state.db`, past the agent."""
        path = Machine(node.name).root / STATE  # sqlite takes the root in /proc/PID/root for this host's
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as link:
            link.row_factory = sqlite3.Row
            return [dict(row) for row in link.execute(f"SELECT * FROM {table}")]

    def ask(self, node: Node, question: str) -> t.Any:
        if question in OFTEN:
            return agent.ask(node, question)
        return json.loads(node.run(["qingagent", question, "--output", "json"]).stdout)

    def pool(self, node: Node) -> dict[str, dict[str, t.Any]]:
        """NIC id ► its record."""
        return {nic["nic_id"]: nic for nic in self.ask(node, "pool")}

    def in_state(self, node: Node, state: str) -> set[str]:
        return {nic_id for nic_id, nic in self.pool(node).items() if nic["state"] == state}

    def wait_ready(self, node: Node, count: int = 3, seconds: float = 60) -> set[str]:
        """Until so many NICs are READY."""
        return until(lambda: self._at_least(node, count), seconds, f"{count} READY NICs on {node.name}")

    def _at_least(self, node: Node, count: int) -> t.Optional[set[str]]:
        ready = self.in_state(node, "READY")
        return ready if len(ready) >= count else None

    # -- cloud and kernel --

    def cloud_nics(self, node: Node) -> dict[str, dict[str, t.Any]]:
        """The NICs that the cloud has attached to this instance, the primary included."""
        nics = self.lab.control("GET", "nics")
        return {nic["nic_id"]: nic for nic in nics if nic["instance_id"] == node.instance_id}

    def pods_nics(self, node: Node) -> set[str]:
        """The pool without gateway NICs."""
        return {nic_id for nic_id, nic in self.pool(node).items() if nic["purpose"] == "pool"}

    def wait_sound(self, node: Node, seconds: float = 30) -> None:
        """Until there are no `disagreements`; raises AssertionError with those that stay."""
        found: list[str] = []

        def sound() -> bool:
            found[:] = self.disagreements(node)
            return not found

        try:
            until(sound, seconds, f"a sound pool on {node.name}")
        except LabError as error:
            raise AssertionError("; ".join(found)) from error

    def disagreements(self, node: Node) -> list[str]:
        """Where cloud, journal, agent and kernel do not say the same of this node's NICs; nothing for a sound pool."""
        pool, links = self.pool(node), self.links(node)
        nics = self.lab.control("GET", "nics")
        sets = {
            "the agent": set(pool),
            "the journal": {nic["nic_id"] for nic in self.journal(node, "nic")},
            "the cloud, attached": {nic_id for nic_id, nic in self.cloud_nics(node).items() if nic["role"] == 0},
            "the cloud, by name": {nic["nic_id"] for nic in nics if nic["nic_name"].endswith(f"_{node.instance_id}")},
        }
        sets["the kernel"] = set().union(*sets.values()) & links.keys()
        found = [f"{who} lacks {sorted(lacking)}" for who, has in sets.items() if (lacking := set(pool) - has)]
        found += [f"{who} has {sorted(more)} as well" for who, has in sets.items() if (more := has - set(pool))]

        leases = {lease["nic_id"]: lease for lease in self.ask(node, "leases")}
        written = sorted(lease["nic_id"] for lease in self.journal(node, "lease"))
        if written != sorted(leases) or len(leases) < len(self.ask(node, "leases")):
            found.append(f"the journal has leases of {written}, the agent of {sorted(leases)}")
        for nic_id, nic in pool.items():
            place = links.get(nic_id, "nowhere")
            held = nic_id in leases and place == str(leases[nic_id]["netns_inode"])
            fits = {"IN_USE": held, "GATEWAY": place == "host"}.get(nic["state"], place == "parking")
            if not fits or (nic_id in leases) != (nic["state"] == "IN_USE"):
                found.append(f"{nic_id} is {nic['state']}, its link in {place}, its lease {leases.get(nic_id)}")
        return found

    def links(self, node: Node) -> dict[str, str]:
        """MAC ► `host`, `parking`, or the inode of a named netns; without other netns that hold none of our NICs."""
        found = dict.fromkeys(self.host_links(node), "host")
        for name in [line.split()[0] for line in node.run(["ip", "netns", "list"]).stdout.splitlines()]:
            place = "parking" if name == PARKING else str(node.path(f"/run/netns/{name}").stat().st_ino)
            shown = json.loads(node.run(["ip", "-netns", name, "-json", "link"]).stdout)
            found.update({link["address"]: place for link in shown if link["link_type"] == "ether"})
        return found

    def links_put_back(self) -> int:
        return int(self.lab.control("GET", "counters")["links_put_back"])

    @staticmethod
    def host_links(node: Node) -> dict[str, dict[str, t.Any]]:
        """Of the node's own netns: MAC ► link, loopback left out."""
        links = json.loads(node.run(["ip", "-json", "addr"]).stdout)
        return {link["address"]: link for link in links if link["link_type"] == "ether"}

    @staticmethod
    def parked(node: Node) -> dict[str, dict[str, t.Any]]:
        """Of the parking netns: MAC ► link."""
        links = json.loads(node.run(["ip", "-netns", PARKING, "-json", "addr"]).stdout)
        return {link["address"]: link for link in links if link["link_type"] == "ether"}

    @contextlib.contextmanager
    def capture(self, expression: str, count: int) -> t.Iterator[list[str]]:
        """Frames seen on the fabric's ports in the meantime, as tcpdump prints them with their Ethernet header."""
        argv = ["ip", "netns", "exec", FABRIC, "tcpdump", "-n", "-e", "-l", "-c", str(count), "-i", "any", expression]
        frames: list[str] = []
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            if process.stderr is None:
                raise AssertionError("tcpdump was started without stderr")
            while "listening on" not in process.stderr.readline():
                if process.poll() is not None:
                    raise AssertionError("tcpdump did not start")
            yield frames
            out, _ = process.communicate(timeout=20)
            frames += out.splitlines()


def changed(output: str) -> dict[str, int]:
    """Host ► tasks that reported a change, from a playbook's recap."""
    return {name: int(count) for name, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)}


def lab(*words: str) -> None:
    """`python -m tests.lab`, as make calls it."""
    subprocess.run([sys.executable, "-m", "tests.lab", *words], cwd=CLONE, check=True)


@contextlib.contextmanager
def fresh_node(*words: str) -> t.Iterator[Cluster]:
    """A cluster of one node on which nothing was ever installed; `words` are `add-node`'s."""
    with fresh_nodes(1, *words) as cluster:
        yield cluster


@contextlib.contextmanager
def fresh_nodes(count: int, *words: str) -> t.Iterator[Cluster]:
    """As `fresh_node`, with so many."""
    before = {node.name for node in Lab.load().nodes}
    try:
        for _ in range(count):
            lab("add-node", *words)
        running = Lab.load()
        yield Cluster(running, running.nodes[-count:])
    finally:
        for node in Lab.load().nodes:
            if node.name not in before:
                lab("remove-node", node.name)
