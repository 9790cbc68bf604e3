# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the verbs: what each does to a pod, and what it must not do."""

from __future__ import annotations

import json
import typing as t

from tests.e2e.conformance.bench import Attachment
from tests.e2e.conformance.cell import AS_IT_IS, Cell, Some
from tests.e2e.conformance.results import addresses
from tests.e2e.conformance.rows import ABSENT, LISTED, NEWEST, VERSIONS, Row, accepts, keys
from tests.lab.wait import until

VALID: t.Final = "cni.dev/valid-attachments"
NODES_VXNET: t.Final = "vxnet-labnodes"  # of the lab's world; no pod has a NIC there


# -- ADD -------------------------------------------------------------------------------------------------------------


def creates(cell: Cell) -> None:
    own = cell.own(env={"CNI_IFNAME": "net7"})
    link = own.pod.links()["net7"]
    assert link["up"]
    assert own.pod.addresses("net7") == addresses(cell.version, own.result)
    cell.bench.sh("ip", "netns", "exec", own.pod.name, "ping", "-c", "1", "-W", "5", own.router)


def name_is_taken(cell: Cell) -> None:
    pod = cell.pod()
    pod.change("link", "add", "eth0", "type", "veth", "peer", "name", "other")
    before, parked = pod.links(), cell.bench.places()[0]
    cell.call_in(pod).error(111, "eth0")
    assert pod.links() == before
    assert parked <= cell.bench.places()[0]


def twice(cell: Cell) -> None:
    one = cell.own()
    before = one.pod.links()
    assert cell.own(pod=one.pod).result == one.result
    assert one.pod.links() == before


def elsewhere(cell: Cell) -> None:
    """Its netns lives and its DEL has not come."""
    one = cell.own()
    before = one.pod.links()
    cell.refused(117, "DEL it there first", env={"CNI_CONTAINERID": one.container})
    assert one.pod.links() == before


def second_interface(cell: Cell) -> None:
    one = cell.own()
    other = cell.own(pod=one.pod, env={"CNI_IFNAME": "net1"}, config={"defaultRoute": "none"})
    links = one.pod.links()
    assert set(links) == {"eth0", "net1"}
    assert links["eth0"]["address"] != links["net1"]["address"]
    assert addresses(cell.version, other.result) == one.pod.addresses("net1")


def previous_listed(cell: Cell) -> None:
    family = {"version": "4"} if cell.version < "1.0.0" else {}
    previous: dict[str, t.Any] = {
        "cniVersion": cell.version,
        "interfaces": [{"name": "tun0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/other"}],
        "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0, **family}],
        "routes": [{"dst": "10.8.0.0/16", "gw": "10.9.0.1"}],
        "dns": {"nameservers": ["10.9.0.3"]},
    }
    result = cell.own(config={"prevResult": previous}).result
    for key in ("interfaces", "ips", "routes"):
        assert result[key][0] == previous[key][0]
        assert len(result[key]) == 2
    assert result["ips"][1]["interface"] == 1
    assert result["dns"] == previous["dns"]


def previous_by_family(cell: Cell) -> None:
    """There is room for one address: the first plugin's."""
    before = {"ip": "10.9.0.2/24", "gateway": "10.9.0.1", "routes": [{"dst": "10.8.0.0/16", "gw": "10.9.0.1"}]}
    previous = {"cniVersion": cell.version, "ip4": before, "dns": {"nameservers": ["10.9.0.3"]}}
    result = cell.own(config={"prevResult": previous}).result
    assert result == previous


# -- DEL -------------------------------------------------------------------------------------------------------------


def takes_back(cell: Cell) -> None:
    one = cell.own()
    mac = one.pod.links()["eth0"]["address"]
    cell.call().nothing()
    assert one.pod.links() == {}
    assert mac in cell.bench.places()[0]


def del_twice(cell: Cell) -> None:
    cell.own()
    for _ in range(3):
        cell.call().nothing()


def del_without_netns(cell: Cell) -> None:
    """The pod is gone, its NIC has come home by itself."""
    for gone in (ABSENT, ""):
        one = cell.own()
        mac = one.pod.links()["eth0"]["address"]
        cell.bench.remove(one.pod)
        cell.call(env={"CNI_NETNS": gone}).nothing()
        until(lambda mac=mac: mac in cell.bench.places()[0], 20, "the NIC in its parking place")  # type: ignore[misc]


def del_of_a_gone_path(cell: Cell) -> None:
    one = cell.own()
    cell.bench.remove(one.pod)
    for path in (one.pod.path, "/run/netns/conf-nowhere", "/dev/null", "/proc/self/ns/mnt"):
        cell.call(env={"CNI_NETNS": path}).nothing()


def del_of_a_moved_link(cell: Cell) -> None:
    one = cell.own()
    one.pod.change("link", "set", "eth0", "down")
    one.pod.change("link", "set", "eth0", "name", "moved")
    cell.call().nothing()
    assert one.pod.links() == {}


def del_with_previous(cell: Cell) -> None:
    one = cell.own()
    for previous in (one.result, {}, ABSENT, None):
        cell.call(config={"prevResult": previous}).nothing()


# -- CHECK -----------------------------------------------------------------------------------------------------------


def _differs(cell: Cell, *change: str, words: t.Sequence[str], config: Some = AS_IT_IS) -> None:
    one = cell.own(config=config)
    cell.succeeds(config=config)
    one.pod.change(*change)
    cell.refused(118, *words, config=config)


def is_good(cell: Cell) -> None:
    cell.own()
    cell.succeeds()


def link_down(cell: Cell) -> None:
    _differs(cell, "link", "set", "eth0", "down", words=["eth0 is down"])


def address_gone(cell: Cell) -> None:
    _differs(cell, "addr", "flush", "dev", "eth0", words=["lacks the address"])


def route_gone(cell: Cell) -> None:
    _differs(cell, "route", "del", "default", words=["the route to 0.0.0.0/0"])


def mac_changed(cell: Cell) -> None:
    change = ("link", "set", "eth0", "address", "02:00:00:00:00:07")
    _differs(cell, *change, words=["02:00:00:00:00:07"])


def mtu_changed(cell: Cell) -> None:
    """Where the configuration fixes it and no result told another."""
    one = cell.own(config={"mtu": 1400})
    previous = json.loads(json.dumps(one.result))
    previous["interfaces"][0].pop("mtu", None)
    one.pod.change("link", "set", "eth0", "mtu", "1300")
    cell.refused(118, "MTU 1300, not 1400", config={"mtu": 1400, "prevResult": previous})


def link_gone(cell: Cell) -> None:
    _differs(cell, "link", "set", "eth0", "down", "name", "lost", words=["no interface eth0"])


def no_lease(cell: Cell) -> None:
    one = cell.own()
    cell.bench.delete(one)
    cell.refused(118, "no lease")


def later_plugins(cell: Cell) -> None:
    """What they add, and a MAC that they change and tell of, are no differences."""
    one = cell.own()
    one.pod.change("addr", "add", "10.9.0.2/24", "dev", "eth0")
    one.pod.change("route", "add", "10.8.0.0/16", "dev", "eth0")
    one.pod.change("link", "set", "eth0", "address", "02:00:00:00:00:08")
    one.pod.change("route", "replace", "default", "via", one.router)
    previous = json.loads(json.dumps(one.result))
    previous["interfaces"][0]["mac"] = "02:00:00:00:00:08"
    cell.succeeds(config={"prevResult": previous})


def no_previous(cell: Cell) -> None:
    cell.own()
    for gone in (ABSENT, None, {}):
        cell.refused(7, "prevResult", config={"prevResult": gone})


def another_previous(cell: Cell) -> None:
    one = cell.own()
    cell.refused(118, "prevResult lists no interface", config={"prevResult": {**one.result, "interfaces": []}})


# -- GC --------------------------------------------------------------------------------------------------------------


def _three(cell: Cell, network: str) -> tuple[Attachment, Attachment, Attachment]:
    """Two of this network, one of another."""
    mine, stale = (cell.own(config={"name": network}) for _ in range(2))
    return mine, stale, cell.own()


def _links(*attachments: Attachment) -> list[set[str]]:
    return [set(one.pod.links()) for one in attachments]


def gc_with_a_list(cell: Cell) -> None:
    network = f"conf-gc-{cell.bench.number()}"
    mine, stale, others = _three(cell, network)
    listed = [{"containerID": mine.container, "ifname": "eth0"}, {"containerID": stale.container, "ifname": "net1"}]
    cell.call(config={"name": network, VALID: listed}).nothing()
    assert _links(mine, stale, others) == [{"eth0"}, set(), {"eth0"}]


def gc_with_an_empty_list(cell: Cell) -> None:
    network = f"conf-gc-{cell.bench.number()}"
    mine, stale, others = _three(cell, network)
    cell.call(config={"name": network, VALID: []}).nothing()
    assert _links(mine, stale, others) == [set(), set(), {"eth0"}]


def gc_without_a_list(cell: Cell) -> None:
    network = f"conf-gc-{cell.bench.number()}"
    one = cell.own(config={"name": network})
    listed: tuple[t.Any, ...] = (
        ABSENT, None, {}, "all", [None], [{}], [{"containerID": "c"}], [{"ifname": "eth0"}],
        [{"containerID": "", "ifname": "eth0"}], [{"containerID": 7, "ifname": "eth0"}],
    )  # fmt: skip
    for value in listed:
        cell.refused(7, VALID, config={"name": network, VALID: value})
    legacy = {"cni.dev/attachments": [{"containerID": one.container, "ifname": "eth0"}]}
    cell.refused(7, VALID, config={"name": network, VALID: ABSENT, **legacy})
    assert _links(one) == [{"eth0"}]


# -- STATUS, VERSION -------------------------------------------------------------------------------------------------


def unable(cell: Cell) -> None:
    """The key is refused, and in that vxnet there is no NIC to serve from."""
    nowhere, control = {"vxnet": NODES_VXNET}, cell.bench.cluster.lab.control
    cell.succeeds()
    control("POST", "faults", {"action": "*", "kind": "ret_code", "ret_code": 1200, "count": None})
    try:
        until(lambda: cell.call(config=nowhere).exit != 0, 60, "a STATUS that fails")
        cell.refused(50, config=nowhere)
        cell.succeeds()  # ready NICs serve the others
    finally:
        control("DELETE", "faults")
    until(lambda: cell.call(config=nowhere).exit == 0, 60, "a STATUS that succeeds again")


def version_echo(cell: Cell) -> None:
    told = cell.call().document()
    assert set(told) == {"cniVersion", "supportedVersions"}
    assert told["cniVersion"] == cell.version
    assert sorted(told["supportedVersions"]) == sorted(VERSIONS)


def version_without_config(cell: Cell) -> None:
    for stdin in ("", "{", "[]", "{}", '{"cniVersion": ""}', '{"cniVersion": 7}', "\udcff"):
        assert cell.call(stdin=stdin).document()["cniVersion"] == NEWEST


ADD: t.Final = ("ADD",)
DEL: t.Final = ("DEL",)
CHECK: t.Final = ("CHECK",)
GC: t.Final = ("GC",)
ROWS: t.Final = (
    Row("add-creates", "the interface CNI_IFNAME in CNI_NETNS: up, addressed, with a way to the router", ADD, creates,
        runtimes=True),
    Row("add-taken", "an interface of that name is there already: an error, and it stays as it is", ADD, name_is_taken),
    Row("add-twice", "the same attachment again: the same result, and nothing changes", ADD, twice),
    Row("add-elsewhere", "the same attachment in another netns while the first lives: code 117", ADD, elsewhere),
    Row("add-second", "another interface of the same container has a NIC of its own", ADD, second_interface),
    Row("add-previous", "prevResult is passed on in front of what is added", ADD, previous_listed, LISTED),
    Row("add-previous-ip4", "a `ip4` in prevResult stays", ADD, previous_by_family, VERSIONS[:2]),
    Row("del-takes", "the NIC is back in its parking place, the pod has no interface", DEL, takes_back, runtimes=True),
    Row("del-twice", "again and again: success", DEL, del_twice),
    Row("del-unknown", "a container that nobody knows: success", DEL, accepts(keys({}))),
    Row("del-no-netns", "CNI_NETNS absent or empty: success, the NIC that came home is kept", DEL, del_without_netns),
    Row("del-gone", "CNI_NETNS that is gone, or no netns: success", DEL, del_of_a_gone_path),
    Row("del-renamed", "the link was renamed in the pod: it is found by its MAC", DEL, del_of_a_moved_link),
    Row("del-previous", "with a prevResult, an empty one, or none", DEL, del_with_previous),
    Row("check-good", "what an ADD has made is good", CHECK, is_good),
    Row("check-down", "the link is down: code 118", CHECK, link_down),
    Row("check-address", "the address is gone: code 118", CHECK, address_gone),
    Row("check-route", "a route is gone: code 118", CHECK, route_gone),
    Row("check-mac", "the MAC is another: code 118", CHECK, mac_changed),
    Row("check-mtu", "the MTU is another than the configuration's: code 118", CHECK, mtu_changed),
    Row("check-link", "the interface is gone: code 118", CHECK, link_gone),
    Row("check-lease", "the agent has no lease: code 118", CHECK, no_lease),
    Row("check-later", "what later plugins of the chain have added, or told of, is good", CHECK, later_plugins),
    Row("check-no-previous", "no prevResult: code 7", CHECK, no_previous),
    Row("check-previous", "a prevResult without the interface: code 118", CHECK, another_previous),
    Row("gc-list", "releases what is not in the list, and nothing of other networks", GC, gc_with_a_list),
    Row("gc-empty", "an empty list: all of this network, and nothing of others", GC, gc_with_an_empty_list),
    Row("gc-missing", "a list that is missing, null or malformed: code 7, and nothing is released", GC,
        gc_without_a_list),
    Row("status-good", "success while an ADD can be served", ("STATUS",), accepts(keys({}))),
    Row("status-unable", "code 50 while none can be served, success again afterwards", ("STATUS",), unable),
    Row("version-echo", "the caller's version, and all seven", ("VERSION",), version_echo, runtimes=True),
    Row("version-none", "without a configuration: 1.1.0", ("VERSION",), version_without_config),
)  # fmt: skip
