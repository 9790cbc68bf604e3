# SPDX-License-Identifier: GPL-3.0-or-later
"""CNI configurations of a test's own."""

from __future__ import annotations

import contextlib
import json
import typing as t

from tests.lab.lab import Node, Vxnet
from tests.lab.wait import until

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
SERVICES = "10.96.0.0/12"
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


def by_the_host(vxnet: Vxnet) -> dict[str, t.Any]:
    """The same for pods that answer their host by its gateway NIC."""
    return qingcni(vxnet=vxnet.vxnet_id, isGateway=True, ipam={"routes": [{"dst": SERVICES}]})
