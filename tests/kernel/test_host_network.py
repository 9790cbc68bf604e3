# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent sets up on the host, in a throw-away namespace."""

from __future__ import annotations

import os
import shutil
import time
import typing as t

import pytest

from hostnic.agent.network import HostNetwork
from hostnic.config import Settings
from hostnic.model import GATEWAY, KnownVxnet, Nic
from hostnic.net import sysctl
from hostnic.pool import Pool
from hostnic.states import State
from hostnic.store.memory import MemoryStore
from hostnic.table import Table
from tests.kernel.net_world import World, ip
from tests.support.memory_kernel import MemoryKernel

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft"),
]

PODS = KnownVxnet("vxnet-pods", "10.1.1.0/24", "10.1.1.1", "rtr-1")
HOSTS = KnownVxnet("vxnet-hosts", "10.1.0.0/24", "10.1.0.1", "rtr-1", "10.1.0.5")
AMONG_PODS = KnownVxnet("vxnet-pods", "10.1.1.0/24", "10.1.1.1", "rtr-1", "10.1.1.5")
GATEWAY_NIC = Nic("52:54:9e:00:00:09", PODS.vxnet_id, "10.1.1.9", State.GATEWAY, 0.0, GATEWAY)


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        world.nic(1)
        for words in (["addr", "add", "10.1.0.5/24", "dev", "ens1"], ["link", "set", "ens1", "up"]):
            ip("-n", world.host, *words)
        world.within(world.host, lambda: sysctl.ensure("ipv4/ip_forward", "0"))
        yield world


@pytest.mark.parametrize(
    ("known", "nics", "forwards", "rules"),
    [
        ((PODS, HOSTS), (), "0", 0),
        ((PODS, HOSTS), (GATEWAY_NIC,), "1", 1),
        ((AMONG_PODS,), (), "1", 0),
    ],
    ids=["no pod asked", "a gateway NIC", "the primary is the gateway"],
)
def test_the_host_forwards_once_it_is_somebodys_gateway(
    world: World, known: tuple[KnownVxnet, ...], nics: tuple[Nic, ...], forwards: str, rules: int
) -> None:
    settings = Settings(vxnet=(PODS.vxnet_id,), iface="ens1")
    table = Table(MemoryStore(), time.monotonic)
    table.open("boot-1", "i-1")
    table.apply(put=[*known, *nics])
    pool = Pool(settings, table, MemoryKernel("node1"), time.monotonic, lambda: None)
    network = HostNetwork(settings, table, pool)
    for _ in range(2):
        world.within(world.host, network.apply)
        assert world.within(world.host, lambda: sysctl.read("ipv4/ip_forward")) == forwards
        assert ip("-n", world.host, "rule").count("fwmark 0x100000") == rules
