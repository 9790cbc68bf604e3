# SPDX-License-Identifier: GPL-3.0-or-later
"""CNI configurations of a test's own, and podman, which takes them by their names."""

from __future__ import annotations

import contextlib
import json
import shlex
import typing as t

from tests.e2e.inside import Inside
from tests.lab.image import IMAGE
from tests.lab.lab import Node
from tests.lab.wait import until

# The lab's kernel lets nobody raise limits.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
# Says on port 80 which container it is.
SERVE = ("sh", "-c", "hostname > /tmp/name; exec httpd -f -p 80 -h /tmp")
_FIRST, _LAST = "00", "95"  # containerd takes the configuration that sorts first
_OURS = "-e2e-"  # in the name of every file


@contextlib.contextmanager
def network(node: Node, name: str, *plugins: t.Mapping[str, t.Any], of_pods: bool = False) -> t.Iterator[str]:
    """A network of this name; `of_pods`: the one that containerd gives its pods meanwhile."""
    path = f"/etc/cni/net.d/{_FIRST if of_pods else _LAST}{_OURS}{name}.conflist"
    content = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
    node.run(["tee", path], stdin=json.dumps(content, indent=1))
    try:
        if of_pods:
            _wait_until_taken(node, name, True)
        yield name
    finally:
        node.run(["rm", path])
        _wait_until_taken(node, name, False)


def _wait_until_taken(node: Node, name: str, taken: bool) -> None:
    with node.cri() as cri:
        until(lambda: (name in cri.networks()) == taken, 20, f"containerd's notice of network {name}")


def sweep(node: Node) -> None:
    """Remove the configurations that a killed run has left."""
    node.run(["find", "/etc/cni/net.d", "-name", f"*{_OURS}*", "-delete"], check=False)


def qingcni(**conf: t.Any) -> dict[str, t.Any]:
    """The plugin's own part of a configuration."""
    return {"type": "qingcni", **conf}


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
    return node.ssh(shlex.join(["podman", *words]), check=check).stdout


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
