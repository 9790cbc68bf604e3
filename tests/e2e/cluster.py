# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end-to-end tests do with a lab: playbooks, pods, a look into netns, captures on the fabric."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cri import Pod
from tests.lab.lab import Lab, Node
from tests.lab.paths import CLONE, PREFIX
from tests.lab.wait import until

PARKING = "qingagent"
NAMESPACE = "e2e"
FABRIC = f"{PREFIX}-fabric"


@dataclass(frozen=True)
class Placed:
    """A pod and the node it runs on."""

    node: Node
    pod: Pod

    def run(self, argv: t.Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """With the node's programs, inside the pod's netns."""
        return self.node.run(["ip", "netns", "exec", Path(self.pod.netns).name, *argv], check=check)

    def ip(self, *words: str) -> t.Any:
        return json.loads(self.run(["ip", "-json", *words]).stdout)

    def pings(self, address: str) -> bool:
        return self.run(["ping", "-c", "2", "-i", "0.2", "-W", "2", address], check=False).returncode == 0


class Cluster:
    """`nodes` are those that playbooks and pods are limited to; all of the lab's by default."""

    def __init__(self, lab: Lab, nodes: t.Optional[tuple[Node, ...]] = None) -> None:
        self.lab = lab
        self.nodes = nodes or lab.nodes
        self._placed: list[Placed] = []

    # -- Ansible --

    def ansible(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`ansible` or `ansible-playbook` from the clone against this cluster; for the caller to look at."""
        argv = [str(Path(sys.executable).with_name(program)), "-i", self.lab.inventory, *words]
        env = {**os.environ, "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        limit = ["--limit", ",".join(node.name for node in self.nodes)]
        return subprocess.run([*argv, *limit], cwd=CLONE, env=env, capture_output=True, text=True, check=False)

    def play(self, playbook: str, *words: str) -> str:
        """A playbook that must succeed; returns what it printed."""
        done = self.ansible("ansible-playbook", f"playbooks/{playbook}.yml", *words)
        if done.returncode:
            raise AssertionError(f"{playbook}.yml failed:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    # -- pods --

    def pod(self, node: Node, name: str, workload: bool = False) -> Placed:
        with node.cri() as cri:
            cri.wait_ready()
            placed = Placed(node, cri.run_pod(name, NAMESPACE, workload=workload))
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
        """Remove the pods that a killed run of these tests has left."""
        for node in self.nodes:
            with node.cri() as cri:
                for pod in cri.pods():
                    if pod.namespace == NAMESPACE:
                        cri.remove_pod(pod)

    # -- the agent --

    def ask(self, node: Node, question: str) -> t.Any:
        return json.loads(node.run(["qingagent", question]).stdout)

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


def lab(*words: str) -> None:
    """`python -m tests.lab`, as make calls it."""
    subprocess.run([sys.executable, "-m", "tests.lab", *words], cwd=CLONE, check=True)


@contextlib.contextmanager
def fresh_node() -> t.Iterator[Cluster]:
    """A cluster of one node on which nothing was ever installed."""
    lab("add-node")
    running = Lab.load()
    node = running.nodes[-1]
    try:
        yield Cluster(running, (node,))
    finally:
        lab("remove-node", node.name)
