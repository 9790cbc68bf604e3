# SPDX-License-Identifier: GPL-3.0-or-later
"""The executable qingcni as a runtime executes it, and netns in the role of containers."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import agent
from tests.e2e.inside import Inside
from tests.lab.lab import Node

NETWORK = "e2e"
PREFIX = "e2e-"  # of every netns that is made here
PLUGIN = "/opt/cni/bin/qingcni"


@dataclass(frozen=True)
class Said:
    """What a call left: exit status and stdout, as it was printed."""

    status: int
    stdout: str

    @property
    def object(self) -> t.Any:
        """None for nothing."""
        return json.loads(self.stdout) if self.stdout else None


DONE = Said(0, "")  # what every DEL has to say


def qingcni(
    node: Node,
    verb: str,
    container: str,
    netns: str,
    conf: t.Mapping[str, t.Any],
    ifname: str = "eth0",
    patience: t.Optional[float] = None,
) -> Said:
    """`conf` is completed. With `patience` it is killed after so many seconds, and the status is -SIGKILL."""
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": netns,
                   "CNI_IFNAME": ifname, "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
    argv = ["env", *(f"{key}={value}" for key, value in environment.items()), PLUGIN]
    if patience is not None:
        argv = ["timeout", "--signal=KILL", f"{patience:.3f}", *argv]
    whole = {"cniVersion": "1.0.0", "name": NETWORK, "type": "qingcni", **conf}
    done = node.run(argv, check=False, stdin=json.dumps(whole), timeout=100)
    return Said(done.returncode, done.stdout)


def storm(node: Node, how: str, many: int, which: str, timeout: float = 400) -> list[dict[str, t.Any]]:
    """Every call of what `storm.py` does; its text says what the words mean."""
    driver = Path(__file__).with_name("storm.py").read_text()
    done = node.run(["python3", "-", how, str(many), which], stdin=driver, timeout=timeout)
    calls: list[dict[str, t.Any]] = json.loads(done.stdout)
    return calls


class Sandbox(Inside):
    """A netns in the role of a container; the container's id is the netns' name."""

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = f"{PREFIX}{name}"
        self._attached: dict[str, t.Mapping[str, t.Any]] = {}
        delete(node, self.name)
        node.run(["ip", "netns", "add", self.name])

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.name}"

    def add(self, ifname: str = "eth0", **conf: t.Any) -> t.Any:
        """The result of an ADD that has to succeed."""
        self._attached[ifname] = conf
        said = qingcni(self.node, "ADD", self.name, self.netns, conf, ifname)
        assert said.status == 0, said
        return said.object

    def call_del(self, ifname: str = "eth0", netns: t.Optional[str] = None) -> Said:
        """With the configuration of the ADD."""
        where = self.netns if netns is None else netns
        return qingcni(self.node, "DEL", self.name, where, self._attached.get(ifname, {}), ifname)

    def kill(self) -> None:
        """Its netns dies, with no DEL."""
        self.node.run(["ip", "netns", "delete", self.name])

    def close(self) -> None:
        """Whatever is left of it."""
        for ifname in self._attached:
            self.call_del(ifname)
        delete(self.node, self.name)

    def leases(self) -> list[dict[str, t.Any]]:
        return [lease for lease in agent.ask(self.node, "leases") if lease["container_id"] == self.name]


def delete(node: Node, name: str) -> None:
    """A netns that may be there."""
    node.run(["ip", "netns", "delete", name], check=False)


def sweep(node: Node) -> None:
    """Delete the netns that a killed run has left; their NICs come home by themselves."""
    names = [line.split()[0] for line in node.run(["ip", "netns", "list"]).stdout.splitlines()]
    left = [f"netns delete {name}\n" for name in names if name.startswith(PREFIX)]
    node.run(["ip", "-force", "-batch", "-"], stdin="".join(left))
