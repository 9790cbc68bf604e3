# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to nodes that answer over SSH, and one more node when asked."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import typing as t
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab import cloud, inventory, lock, netns, rootfs, ssh
from tests.lab import world as worlds
from tests.lab.errors import LabError
from tests.lab.lab import Api, Lab, Node, Vxnet, observe
from tests.lab.machine import Machine
from tests.lab.paths import INVENTORY, LOGS, RUN, WORLD
from tests.lab.progress import Progress
from tests.lab.wait import until
from tests.lab.world import AccessKey, Layout, Place

_PROGRAMS = ("debootstrap", "systemd-nspawn", "ip", "nft", "nsenter", "mount", "ssh", "ssh-keygen")
_ROOT = RUN / "rootfs"


def preflight() -> None:
    if os.geteuid():
        raise LabError("the lab makes namespaces and mounts: run it as root")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise LabError(f"not installed: {', '.join(missing)}: run `make setup`")


def create(nodes: int, suite: str, network: str, progress: Progress) -> Lab:
    """Cloud and nodes; everything that is decided here is decided before anything is made."""
    layout = Layout.of(network)
    routes = netns.routes()
    worlds.check_free(layout, routes)
    worlds.transit(layout, routes)
    places = [layout.place(f"node{number}") for number in range(1, nodes + 1)]
    LOGS.mkdir(parents=True)
    netns.prepare()
    with progress.step(f"root file system ({suite})") as report:
        lower = rootfs.ensure(suite, report)
        _ROOT.symlink_to(lower)
    key = AccessKey.new()
    with progress.step("emulated cloud") as report, lock.alone("starting", report):
        running = _start_cloud(layout, places, key, worlds.transit(layout, netns.routes()))
    api = Api(running.url, key.key_id, key.secret, worlds.ZONE, running.control_url)
    pods = tuple(Vxnet(pod.vxnet_id, str(pod.network), pod.gateway) for pod in layout.pods)
    lab = Lab(api, str(INVENTORY), pods, ())
    for place in places:
        with progress.step(f"{place.name} ({place.address})"):
            lab = _join(lab, place, {other.name: other.address for other in places})
    return lab


def _start_cloud(layout: Layout, places: t.Sequence[Place], key: AccessKey, uplink: IPv4Network) -> cloud.Cloud:
    for place in places:
        netns.add(Machine(place.name).kernel_name)
    return cloud.start(layout.world([place.name for place in places], key), uplink)


def _join(lab: Lab, place: Place, hosts: t.Mapping[str, str]) -> Lab:
    """Boot a node whose netns the cloud has given a primary NIC, and write it down."""
    machine = Machine(place.name)
    until(lambda: "eth0" in netns.links(machine.kernel_name), 10, f"{place.name}: primary NIC")
    cidr = f"{place.address}/{place.vxnet.network.prefixlen}"
    netns.address(machine.kernel_name, "eth0", cidr, place.vxnet.gateway)
    login = ssh.make_key()
    host_key = machine.install(_ROOT.resolve(), place.instance_id, hosts, login)
    ssh.know({**ssh.known(), place.address: host_key})
    machine.power_on()
    node = observe(place.name, place.instance_id, place.address)
    until(lambda: _answers(node), 20, f"{place.name}: SSH")
    return _write(dataclasses.replace(lab, nodes=(*lab.nodes, node)))


def _answers(node: Node) -> bool:
    return node.ssh("true", check=False).returncode == 0


def _write(lab: Lab) -> Lab:
    cloud.write_private(Path(lab.inventory), inventory.dump(lab))
    lab.save()
    return lab


def add_node(primary_vxnet: str = "") -> Node:
    """A fresh instance in the running cloud; its number was never used before."""
    lab = Lab.load()
    layout = Layout.of(json.loads(WORLD.read_text())["routers"][0]["vpc_network"])
    used = [int(item["instance_id"][-5:]) for item in lab.control("GET", "instances")]
    place = layout.place(f"node{max(used) + 1}", primary_vxnet)
    netns.add(Machine(place.name).kernel_name)
    lab.control("POST", "instances", layout.instance(place))
    hosts = {node.name: node.address for node in lab.nodes}
    return _join(lab, place, {**hosts, place.name: place.address}).nodes[-1]


def remove_node(name: str) -> None:
    """Terminated for good, as in the cloud."""
    lab = Lab.load()
    node = lab.node(name)
    Machine(name).power_off()
    lab.control("POST", f"instances/{node.instance_id}/cease")
    netns.delete(node.netns)
    ssh.know({address: key for address, key in ssh.known().items() if address != node.address})
    _write(dataclasses.replace(lab, nodes=tuple(other for other in lab.nodes if other != node)))


def reboot_node(name: str) -> Node:
    """Switch it off and on again with the disk it has."""
    lab = Lab.load()
    node = lab.node(name)
    Machine(name).restart()
    fresh = observe(name, node.instance_id, node.address)
    until(lambda: _answers(fresh), 20, f"{name}: SSH")
    _write(lab.refreshed())
    return fresh
