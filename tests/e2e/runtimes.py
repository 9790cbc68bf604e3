# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman and containerd, driven alike: containers in a network, with a port of the node where one is asked for."""

from __future__ import annotations

import abc
import contextlib
import json
import shlex
import typing as t
import urllib.request

from tests.e2e import networks
from tests.e2e.cluster import Cluster, Placed
from tests.e2e.inside import Inside
from tests.lab.image import IMAGE
from tests.lab.lab import Node

# The lab's kernel lets nobody raise limits.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
# systemd, as the lab boots it, would put all containers into one control group: stopping one would kill them all.
MANAGER = "--cgroup-manager=cgroupfs"
PATIENCE = 3.0  # s for a connection
# Says on port 80 which container it is.
SERVE = ("sh", "-c", "hostname > /tmp/name; exec httpd -f -p 80 -h /tmp")


class Container(Inside):
    """Of podman."""

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name

    @property
    def netns(self) -> str:
        return str(self._inspect()["SandboxKey"])

    @property
    def container_id(self) -> str:
        return str(podman(self.node, "inspect", "--format", "{{.Id}}", self.name).strip())

    def networks(self) -> dict[str, dict[str, t.Any]]:
        """What podman has made of the results: name ► `IPAddress`, `MacAddress`, `Gateway` and more."""
        return dict(self._inspect()["Networks"])

    def _inspect(self) -> t.Any:
        return json.loads(podman(self.node, "inspect", "--format", "{{json .NetworkSettings}}", self.name))


def podman(node: Node, *words: str, check: bool = True) -> str:
    """What it printed; by SSH, since its runtime makes control groups below those of its caller."""
    return node.ssh(shlex.join(["podman", MANAGER, *words]), check=check).stdout


class Podman:
    """Containers of a test on one node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        podman(node, "load", "--quiet", "--input", "/usr/share/qclab/image.tar")

    def __call__(self, *words: str) -> str:
        return podman(self.node, *words)

    def run(self, name: str, networks: t.Sequence[str], *options: str, command: t.Sequence[str] = ()) -> Container:
        """In the background."""
        chosen = [word for one in networks for word in ("--network", one)]
        self("run", "--detach", "--name", name, "--hostname", name, *chosen, *LIMITS, *options, IMAGE, *command)
        return Container(self.node, name)

    def remove(self, *names: str) -> None:
        self("rm", "--force", "--time", "0", *names)

    def close(self) -> None:
        """Whatever is left."""
        podman(self.node, "pod", "rm", "--force", "--all", "--time", "0")
        podman(self.node, "rm", "--force", "--all", "--time", "0")


class Runtime(abc.ABC):
    """Starts containers that serve, each in one network and with port 80 at a port of the node."""

    _of_pods: t.ClassVar[bool]  # whether pods get the network, or who asks for it by its name

    def __init__(self, node: Node) -> None:
        self.node = node
        self._network = ""

    @contextlib.contextmanager
    def network(self, name: str, *plugins: t.Mapping[str, t.Any]) -> t.Iterator[None]:
        """Containers get this one meanwhile, and are gone afterwards."""
        with networks.network(self.node, name, *plugins, of_pods=self._of_pods):
            self._network = name
            try:
                yield
            finally:
                self.clear()

    @abc.abstractmethod
    def start(self, name: str, port: int) -> Inside: ...

    @abc.abstractmethod
    def stop(self, name: str) -> None: ...

    @abc.abstractmethod
    def clear(self) -> None: ...


class ByPodman(Runtime):
    _of_pods = False

    def __init__(self, podman: Podman) -> None:
        super().__init__(podman.node)
        self._podman = podman

    def start(self, name: str, port: int) -> Inside:
        return self._podman.run(name, [self._network], "--publish", f"{port}:80", command=SERVE)

    def stop(self, name: str) -> None:
        self._podman.remove(name)

    def clear(self) -> None:
        self._podman.close()


class ByContainerd(Runtime):
    _of_pods = True

    def __init__(self, cluster: Cluster, node: Node) -> None:
        super().__init__(node)
        self._cluster = cluster
        self._pods: dict[str, Placed] = {}

    def start(self, name: str, port: int) -> Inside:
        self._pods[name] = self._cluster.pod(self.node, name, workload=True, ports={port: 80}, command=SERVE)
        return self._pods[name]

    def stop(self, name: str) -> None:
        self._cluster.stop(self._pods.pop(name))

    def clear(self) -> None:
        for name in list(self._pods):
            self.stop(name)


def told(node: Node, port: int) -> str:
    """Who answers at this port of the node, asked from this machine, which is outside of it; "" for nobody."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{node.address}:{port}/name"
    try:
        with opener.open(url, timeout=PATIENCE) as answer:
            return str(answer.read().decode().strip())
    except OSError:
        return ""
