# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods with services, made by the chain of plugins as a runtime calls it: qingcni, then the distribution's portmap."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from tests.e2e.services.cases import SERVICES
from tests.lab.lab import Node, Vxnet

_NETNS: t.Final = "svc-{}"
_BINARIES: t.Final = {"qingcni": "/opt/cni/bin/qingcni", "portmap": "/usr/lib/cni/portmap"}


@dataclass
class Pod:
    """`host_ports`: port of the node ► port of the pod."""

    name: str
    node: Node
    vxnet: Vxnet
    host_ports: t.Mapping[int, int]
    default_by_host: bool = False
    address: str = ""
    mac: str = ""

    @property
    def netns(self) -> str:
        return _NETNS.format(self.name)

    @property
    def path(self) -> str:
        """Of its network namespace, from here."""
        return str(self.node.path(f"/run/netns/{self.netns}"))

    def add(self) -> None:
        self.node.run(["ip", "netns", "add", self.netns])
        result = self._call("qingcni", "ADD")
        self.address = result["ips"][0]["address"].partition("/")[0]
        self.mac = result["interfaces"][0]["mac"]
        if self.host_ports:
            self._call("portmap", "ADD", result)

    def delete(self) -> None:
        """Also what an ADD left half done, or a killed run."""
        if self.host_ports:
            self._call("portmap", "DEL")
        self._call("qingcni", "DEL")
        if self.node.path(f"/run/netns/{self.netns}").exists():
            self.node.run(["ip", "netns", "del", self.netns])

    def _call(self, plugin: str, verb: str, previous: t.Any = None) -> t.Any:
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.netns,
            "CNI_NETNS": f"/run/netns/{self.netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
        }
        argv = ["env", *(f"{key}={value}" for key, value in environment.items()), _BINARIES[plugin]]
        conf = {"cniVersion": "1.0.0", "name": "services", "type": plugin, **self._keys(plugin)}
        if previous:
            conf["prevResult"] = previous
        printed = self.node.run(argv, stdin=json.dumps(conf), timeout=120).stdout
        return json.loads(printed) if printed else None

    def _keys(self, plugin: str) -> dict[str, t.Any]:
        if plugin == "portmap":
            mappings = [
                {"hostPort": outside, "containerPort": inside, "protocol": "tcp"}
                for outside, inside in self.host_ports.items()
            ]
            return {"runtimeConfig": {"portMappings": mappings}}
        return {
            "isGateway": True,
            "vxnet": self.vxnet.vxnet_id,
            "defaultRoute": "gateway" if self.default_by_host else "router",
            "ipam": {"routes": [{"dst": SERVICES}]},
        }
