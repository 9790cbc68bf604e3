# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of what a runtime asks for one container: capabilities, annotations, CNI_ARGS; kept addresses."""

from __future__ import annotations

import json
import typing as t

from tests.e2e.conformance.cell import Cell
from tests.e2e.conformance.results import addresses
from tests.e2e.conformance.rows import Row, keys, refuses

ADD: t.Final = ("ADD",)
ANNOTATIONS: t.Final = "io.kubernetes.cri.pod-annotations"
NO_NIC: t.Final = "02:00:00:00:00:99"


def runtime(**wishes: t.Any) -> dict[str, t.Any]:
    return {"runtimeConfig": wishes}


def annotated(key: str, value: t.Any) -> dict[str, t.Any]:
    return {"runtimeConfig": {ANNOTATIONS: {f"qingcloud.cni/{key}": value}}}


def named(name: str) -> dict[str, str]:
    return {"CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=conf;K8S_POD_NAME={name}"}


def _asked(cell: Cell, address: str, **call: t.Any) -> None:
    own = cell.own(**call)
    assert own.pod.addresses() == addresses(cell.version, own.result) == [f"{address}/24"]


def capability_ips(cell: Cell) -> None:
    for prefix in ("", "/24"):
        address = cell.bench.ready()["private_ip"]
        _asked(cell, address, config=runtime(ips=[address + prefix]))


def annotation_ip(cell: Cell) -> None:
    address = cell.bench.ready()["private_ip"]
    _asked(cell, address, config=annotated("ip", address))


def args_ip_and_mac(cell: Cell) -> None:
    nic = cell.bench.ready()
    wish = f"IP={nic['private_ip']};MAC={nic['nic_id'].upper()}"
    _asked(cell, nic["private_ip"], env={"CNI_ARGS": wish})


def capability_mac(cell: Cell) -> None:
    nic = cell.bench.ready()
    own = cell.own(config=runtime(mac=nic["nic_id"]))
    assert own.pod.links()["eth0"]["address"] == nic["nic_id"]


def unknown_mac(cell: Cell) -> None:
    cell.refused(2, f"mac={NO_NIC}", config=runtime(mac=NO_NIC))


def capability_dns(cell: Cell) -> None:
    """Its keys are others than the result's; it comes before the configuration's own."""
    wish = {"servers": ["10.0.0.9"], "searches": ["c.example"], "options": ["rotate"]}
    config = {**runtime(dns=wish), "dns": {"nameservers": ["10.0.0.2"]}}
    told = cell.succeeds(config=config).document()
    assert told["dns"] == {"nameservers": ["10.0.0.9"], "search": ["c.example"], "options": ["rotate"]}


def held_elsewhere(cell: Cell) -> None:
    one = cell.own()
    address = one.pod.addresses()[0].partition("/")[0]
    cell.refused(11, address, f"held by conformance/{one.container}/eth0", config=runtime(ips=[address]))


def _kept(cell: Cell, address: str, name: str, keep: dict[str, t.Any]) -> None:
    """A pod with this name had this address."""
    own = cell.own(env=named(name), config={**keep, **runtime(ips=[address])})
    cell.bench.delete(own)
    cell.ended(own)


def keep_address(cell: Cell) -> None:
    address = cell.bench.ready()["private_ip"]
    one, other = (f"{word}-{cell.bench.number()}" for word in ("one", "other"))
    _kept(cell, address, one, {"keepAddress": "1h"})
    cell.refused(
        11, f"held by conf/{one}", f"qingagent release {address}", env=named(other), config=runtime(ips=[address])
    )
    _kept(cell, address, one, {"keepAddress": "1h"})
    told = cell.bench.sh("qingagent", "release", address, "--output", "json")
    assert json.loads(told) == {"released": address}
    _asked(cell, address, env=named(other), config={"keepAddress": "0", **runtime(ips=[address])})


def annotation_keep(cell: Cell) -> None:
    """The pod's own word comes before the network's."""
    address = cell.bench.ready()["private_ip"]
    one, other = (f"{word}-{cell.bench.number()}" for word in ("one", "other"))
    config = {"keepAddress": "1h", **annotated("keep", "0")}
    config["runtimeConfig"]["ips"] = [address]
    own = cell.own(env=named(one), config=config)
    cell.bench.delete(own)
    cell.ended(own)
    _asked(cell, address, env=named(other), config={"keepAddress": "0", **runtime(ips=[address])})


WRONG: t.Final = keys(
    runtime(ips="10.0.0.1"), runtime(ips=["10.0.0.1", "10.0.0.2"]), runtime(ips=["nowhere"]), runtime(ips=["fd00::1"]),
    runtime(ips=[7]), runtime(mac="52:54"), runtime(mac=7), runtime(dns=[]), runtime(dns={"servers": "10.0.0.1"}),
    {"runtimeConfig": {ANNOTATIONS: []}}, annotated("ip", "nowhere"), annotated("ip", "fd00::1"),
    annotated("keep", "soon"), annotated("keep", 7),
)  # fmt: skip
ROWS: t.Final = (
    Row("wish-ips", "capability `ips`: that address, with or without a prefix length", ADD, capability_ips),
    Row("wish-mac", "capability `mac`: the NIC of this MAC", ADD, capability_mac),
    Row("wish-mac-unknown", "a MAC of no NIC here: code 2, with key and value", ADD, unknown_mac),
    Row("wish-dns", "capability `dns` goes into the result, before the configuration's own", ADD, capability_dns),
    Row("wish-annotation", "capability `io.kubernetes.cri.pod-annotations`: the annotation qingcloud.cni/ip", ADD,
        annotation_ip),
    Row("wish-args", "IP and MAC in CNI_ARGS", ADD, args_ip_and_mac),
    Row("wish-wrong", "a wish that is none: code 7, with where it stands", ("ADD", "CHECK", "STATUS"),
        refuses(7, each=WRONG)),
    Row("wish-held", "an address that another container has: code 11, with its holder", ADD, held_elsewhere),
    Row("wish-keep", "`keepAddress`: nobody else's after the DEL, until `qingagent release`", ADD, keep_address),
    Row("wish-keep-annotation", "the annotation qingcloud.cni/keep comes before `keepAddress`", ADD, annotation_keep),
)  # fmt: skip
