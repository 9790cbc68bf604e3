# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the network configuration: the specification's keys, the original's, ours."""

from __future__ import annotations

import typing as t

from tests.e2e.conformance.cell import Cell
from tests.e2e.conformance.results import gateway, routes
from tests.e2e.conformance.rows import CONFIGURED, LISTED, NEWEST, VERBS, Changes, Row, accepts, keys, refuses
from tests.lab.wait import until

ADD: t.Final = ("ADD",)
SERVICES: t.Final = "10.96.0.0/12"
AGENT: t.Final = "127.0.0.1:31080"
SPECIFIED: t.Final = {
    "cniVersions": ["0.3.1", "1.0.0", "1.1.0"],
    "disableCheck": True,
    "disableGC": False,
    "loadOnlyInlinedPlugins": False,
    "capabilities": {"ips": True, "mac": True, "dns": True, "io.kubernetes.cri.pod-annotations": True},
    "args": {"cni": {"labels": [{"key": "app", "value": "web"}]}},
    "dns": {"nameservers": ["10.0.0.2"]},
    "ipam": {"type": "qingcni"},
    "ipMasq": False,
    "cni.dev/attachments": [],
    "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]},
}
WRONG: t.Final[tuple[tuple[str, t.Any], ...]] = (
    ("type", 1), ("ipMasq", "yes"), ("isGateway", 1), ("mtu", "1500"), ("mtu", True), ("mtu", 67), ("mtu", 65536),
    ("vxnet", 7), ("vxnets", "vxnet-a"), ("vxnets", [1]), ("policy", "Rotate"), ("defaultRoute", "host"),
    ("keepAddress", "soon"), ("keepAddress", 5), ("logLevel", "loud"), ("dns", []), ("dns", {"search": "a"}),
    ("args", []), ("ipam", "static"), ("ipam", {"routes": {}}), ("ipam", {"routes": ["10.0.0.0/8"]}),
    ("ipam", {"routes": [{"dst": "10.0.0.0"}]}), ("ipam", {"routes": [{"dst": SERVICES, "gw": "none"}]}),
    ("ipam", {"routes": [{"dst": "fd00::/8"}]}), ("runtimeConfig", []), ("prevResult", []),
)  # fmt: skip
MISSPELT: t.Final = (
    ("isgateway", "isGateway"), ("is_gateway", "isGateway"), ("ipmasq", "ipMasq"), ("vxNet", "vxnet"),
    ("polcy", "policy"), ("MTU", "mtu"), ("defaultroute", "defaultRoute"), ("keepaddress", "keepAddress"),
    ("loglevel", "logLevel"),
)  # fmt: skip


# -- the specification's ---------------------------------------------------------------------------------------------


def wrong(cell: Cell) -> None:
    for key, value in WRONG:
        if cell.verb != "CHECK" or key != "prevResult":
            cell.refused(7, key, config={key: value})


def misspelt(cell: Cell) -> None:
    for key, meant in MISSPELT:
        cell.refused(7, f"{key}: no such key; {meant} is meant", config={key: "x"})


def unknown_vxnet(cell: Cell) -> None:
    cell.refused(116, "vxnet-nosuch00", config={"vxnet": "vxnet-nosuch00"})


def dns(cell: Cell) -> None:
    told = {
        "nameservers": ["10.0.0.2", "10.0.0.3"],
        "domain": "a.example",
        "search": ["b.example"],
        "options": ["rotate"],
    }
    assert cell.succeeds(config={"dns": told}).document()["dns"] == told


# -- the original's --------------------------------------------------------------------------------------------------


# Its README's 10-mynet.conf, word for word but for the service network.
SAMPLE: t.Final = {
    "name": "mynet",
    "type": "qingcni",
    "isGateway": True,
    "args": {"BindAddr": AGENT},
    "ipMasq": True,
    "ipam": {"routes": [{"dst": SERVICES, "gw": "0.0.0.0"}]},
}


def original_sample(cell: Cell) -> None:
    if cell.verb in ("GC", "STATUS"):
        cell.succeeds(config=SAMPLE)
        return
    own = cell.own(config=SAMPLE)
    host = routes(cell.version, own.result)[SERVICES]
    expected = {
        "0.0.0.0/0": own.router,
        SERVICES: host,
        f"{cell.bench.node.address}/32": host,
    }
    assert own.pod.routes() == routes(cell.version, own.result) == expected
    assert host in gateways(cell)
    if cell.verb != "ADD":
        cell.succeeds(config={**SAMPLE, "prevResult": own.result})


def bind_address(cell: Cell) -> None:
    for key in ("BindAddr", "bindaddr", "BINDADDR", "bindAddr"):
        cell.refused(7, f"args.{key}", AGENT, config={"args": {key: "192.0.2.1:31080"}})
        config = {"args": {key: AGENT}, "ipam": {"routes": [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]}}
        if cell.verb == "ADD":
            cell.refused(7, "gw 192.0.2.1", config=config)  # so this agent was meant, and went on
    if cell.verb == "STATUS":
        cell.succeeds(config={"args": {"BiNdAdDr": AGENT}})


def gateways(cell: Cell) -> set[str]:
    """Addresses of the host's NICs but its primary."""
    links = [link for link in cell.bench.ip("addr") if link["ifname"] not in ("lo", "eth0")]
    return {info["local"] for link in links for info in link["addr_info"] if info["family"] == "inet"}


def route_without_gw(cell: Cell) -> None:
    """By the gateway NIC where isGateway is set, else by the default gateway."""
    config = {"ipam": {"routes": [{"dst": SERVICES}]}}
    own = cell.own(config=config)
    assert own.pod.routes() == {"0.0.0.0/0": own.router, SERVICES: own.router}
    assert cell.own(config={**config, "isGateway": True}).pod.routes()[SERVICES] in gateways(cell)


def route_by_the_host(cell: Cell) -> None:
    own = cell.own(config={"ipam": {"routes": [{"dst": SERVICES, "gw": "0.0.0.0"}]}})
    found = own.pod.routes()
    assert found.pop(SERVICES) in gateways(cell)
    assert found == {"0.0.0.0/0": own.router}


def route_by_an_address(cell: Cell) -> None:
    near = f"{_prefix(cell, 0)}77"
    vxnet = cell.bench.vxnets[0].vxnet_id
    own = cell.own(config={"vxnet": vxnet, "ipam": {"routes": [{"dst": SERVICES, "gw": near}]}})
    assert own.pod.routes()[SERVICES] == routes(cell.version, own.result)[SERVICES] == near


def default_gateway(cell: Cell) -> None:
    own = cell.own(config={"defaultRoute": "gateway"})
    assert own.pod.routes()["0.0.0.0/0"] == gateway(cell.version, own.result)
    assert own.pod.routes()["0.0.0.0/0"] in gateways(cell)


def default_router(cell: Cell) -> None:
    own = cell.own(config={"defaultRoute": "router"})
    assert own.pod.routes() == {"0.0.0.0/0": own.router}


def default_none(cell: Cell) -> None:
    own = cell.own(config={"defaultRoute": "none"})
    assert own.pod.routes() == routes(cell.version, own.result) == {}
    assert gateway(cell.version, own.result) == ""


def masquerade(cell: Cell) -> None:
    """In the second vxnet, where no other network has pods."""
    second = cell.bench.vxnets[1]
    config = {"name": SAMPLE["name"], "vxnet": second.vxnet_id}
    cell.own(config={**config, "ipMasq": True})
    until(lambda: second.cidr in masqueraded(cell), 20, "ipMasq")
    cell.own(config={**config, "ipMasq": False})
    until(lambda: second.cidr not in masqueraded(cell), 20, "the end of ipMasq")


def masqueraded(cell: Cell) -> str:
    return cell.bench.sh("nft", "list", "set", "ip", "qingcni", "masqueraded")


# -- ours ------------------------------------------------------------------------------------------------------------


def _prefix(cell: Cell, number: int) -> str:
    return cell.bench.vxnets[number].gateway.rpartition(".")[0] + "."


def one_vxnet(cell: Cell) -> None:
    for number in (1, 0):
        own = cell.own(config={"vxnet": cell.bench.vxnets[number].vxnet_id})
        assert own.pod.addresses()[0].startswith(_prefix(cell, number))


def some_vxnets(cell: Cell) -> None:
    own = cell.own(config={"vxnets": [cell.bench.vxnets[1].vxnet_id]})
    assert own.pod.addresses()[0].startswith(_prefix(cell, 1))
    cell.refused(7, "write one of the two", config={"vxnet": "vxnet-a", "vxnets": ["vxnet-a"]})


def link_mtu(cell: Cell) -> None:
    own = cell.own(config={"mtu": 1400})
    assert own.pod.links()["eth0"]["mtu"] == 1400
    if cell.version in LISTED:
        assert own.result["interfaces"][0].get("mtu") == (1400 if cell.version == NEWEST else None)


def log_level(cell: Cell) -> None:
    """`error` is heard of only when it fails, `info` in any case."""
    quiet, loud = cell.pod(), cell.pod()
    for pod, level in ((quiet, "error"), (loud, "info")):
        if cell.verb == "ADD":
            cell.own(pod=pod, config={"logLevel": level})
        else:
            cell.succeeds(env={"CNI_CONTAINERID": pod.name}, config={"logLevel": level})
    until(lambda: f"{cell.verb} {loud.name} " in journal(cell), 20, "the louder call in the agent's log")
    assert f"{cell.verb} {quiet.name} " not in journal(cell)


def journal(cell: Cell) -> str:
    return cell.bench.sh("journalctl", "--unit=qingagent", "--output=cat", "--no-pager", "--lines=400")


POLICIES: t.Final = ("FailRotate", "RoundRotate", "Random")
ROWS: t.Final = (
    Row("keys-specified", "keys that the specification names are accepted", CONFIGURED, accepts(keys(SPECIFIED))),
    Row("keys-unknown", "unknown keys are accepted", VERBS,
        accepts(keys({"colour": "red", "a": {"b": [None]}, "x/y": 1}))),
    Row("keys-misspelt", "a misspelt key of ours: code 7, with the one that is meant", ADD, misspelt),
    Row("keys-wrong", "a value of another kind than is wanted: code 7, with the key", ("ADD", "CHECK", "STATUS"),
        wrong),
    Row("keys-vxnet", "a vxnet that the cloud does not know: code 116, long before the deadline", ADD, unknown_vxnet),
    Row("keys-del", "no value keeps a DEL from working", ("DEL",),
        accepts(keys(*({key: value} for key, value in WRONG)))),
    Row("keys-dns", "`dns` goes into the result", ADD, dns),
    Row("original-sample", "the original's sample: services and the own host by a gateway NIC, all else by the router",
        CONFIGURED, original_sample),
    Row("original-bindaddr", "`args.BindAddr` in any letter case must name this node's agent: else code 7",
        ("ADD", "STATUS"), bind_address),
    Row("original-gw-absent", "`ipam.routes` without `gw`: by the host with isGateway, else by the default gateway",
        ADD, route_without_gw),
    Row("original-gw-host", "`gw` 0.0.0.0: by the host's gateway NIC", ADD, route_by_the_host),
    Row("original-gw-address", "`gw` of the pod's vxnet: by that address", ADD, route_by_an_address),
    Row("original-gw-outside", "`gw` outside of the pod's vxnet: code 7, and the NIC stays where it is", ADD,
        refuses(7, "gw 192.0.2.1", each=keys({"ipam": {"routes": [{"dst": SERVICES, "gw": "192.0.2.1"}]}}))),
    Row("original-ipmasq", "`ipMasq` masquerades what the network's pods send out by the host", ADD, masquerade),
    Row("key-default-router", "`defaultRoute` router: by the VPC router", ADD, default_router),
    Row("key-default-gateway", "`defaultRoute` gateway: by the host's gateway NIC", ADD, default_gateway),
    Row("key-default-none", "`defaultRoute` none: no default route, and no gateway in the result", ADD, default_none),
    Row("key-vxnet", "`vxnet` says which the NIC is in", ADD, one_vxnet),
    Row("key-vxnets", "`vxnets` says which it may be in; both keys: code 7", ADD, some_vxnets),
    Row("key-policy", "`policy` is one of the agent's three", ("ADD", "STATUS"),
        accepts([Changes(config={"policy": word}) for word in POLICIES])),
    Row("key-mtu", "`mtu` is the link's", ADD, link_mtu),
    Row("key-loglevel", "`logLevel` is that of what the agent says of the call", ("ADD", "DEL"), log_level),
)  # fmt: skip
