# SPDX-License-Identifier: GPL-3.0-or-later
"""A running lab, as tests use it: ``Lab.load()``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cloud, ssh
from tests.lab.cri import Cri
from tests.lab.errors import LabError
from tests.lab.machine import Machine
from tests.lab.paths import LAB_JSON, SSH_KEY
from tests.lab.sh import run


@dataclass(frozen=True)
class Node:
    """Fields as in lab.json. ``root`` and what is below it are the node's own view, its tmpfs mounts included."""

    name: str
    instance_id: str
    address: str
    netns: str
    pid: int
    containerd: str
    root: str
    cni_bin: str
    cni_conf: str

    def run(
        self, argv: t.Sequence[str], check: bool = True, timeout: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """In the node's namespaces; ``ssh`` is the way that users have."""
        enter = ["nsenter", "--target", str(self.pid), "--all", "--", *argv]
        return run(enter, check=check, timeout=timeout, stdin=stdin)

    def ssh(self, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(ssh.command(self.address, [command]), check=check)

    def path(self, inside: str) -> Path:
        """A path of the node as this host sees it."""
        return Path(self.root) / inside.lstrip("/")

    @contextlib.contextmanager
    def cri(self) -> t.Iterator[Cri]:
        with Cri(self.containerd) as client:
            yield client


@dataclass(frozen=True)
class Vxnet:
    vxnet_id: str
    cidr: str
    gateway: str


@dataclass(frozen=True)
class Api:
    url: str
    access_key_id: str
    secret_access_key: str
    zone: str
    control_url: str


@dataclass(frozen=True)
class Lab:
    api: Api
    inventory: str
    vxnets: tuple[Vxnet, ...]
    nodes: tuple[Node, ...]

    @classmethod
    def load(cls, path: Path = LAB_JSON) -> Lab:
        """The lab that runs on this machine; raises LabError when there is none."""
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise LabError("no lab is running: start one with `make lab`") from None
        return cls(
            Api(**content["api"]),
            content["inventory"],
            tuple(Vxnet(**item) for item in content["vxnets"]),
            tuple(Node(**item) for item in content["nodes"]),
        )

    def save(self, path: Path = LAB_JSON) -> None:
        content = dataclasses.asdict(self)
        content["ssh"] = {"user": ssh.USER, "private_key": str(SSH_KEY)}
        cloud.write_private(path, json.dumps(content, indent=2) + "\n")

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"no node {name}, there are {', '.join(node.name for node in self.nodes)}")

    def control(self, method: str, path: str, body: t.Any = None) -> t.Any:
        """The emulator's control API, for example ``lab.control("GET", "state")``."""
        return cloud.control(self.api.control_url, method, path, body)

    def refreshed(self) -> Lab:
        """With the pids that the nodes have now: a reboot changes them."""
        nodes = tuple(observe(node.name, node.instance_id, node.address) for node in self.nodes)
        return dataclasses.replace(self, nodes=nodes)


def observe(name: str, instance_id: str, address: str) -> Node:
    """A running node; raises LabError when it is off."""
    machine = Machine(name)
    init = machine.init()
    if init is None:
        raise LabError(f"{name} is off")
    root = f"/proc/{init.pid}/root"
    bin_dir, conf_dir = _cni_dirs(machine.run(init, ["containerd", "config", "dump"]).stdout)
    return Node(
        name=name,
        instance_id=instance_id,
        address=address,
        netns=machine.kernel_name,
        pid=init.pid,
        containerd=f"{root}/run/containerd/containerd.sock",
        root=root,
        cni_bin=f"{root}{bin_dir}",
        cni_conf=f"{root}{conf_dir}",
    )


def _cni_dirs(config: str) -> tuple[str, str]:
    """From the effective configuration of the runtime."""
    found = {}
    for line in config.splitlines():
        key, _, value = line.strip().partition(" = ")
        if key in ("bin_dir", "conf_dir"):
            found[key] = value.strip('"')
    return found.get("bin_dir", "/opt/cni/bin"), found.get("conf_dir", "/etc/cni/net.d")
