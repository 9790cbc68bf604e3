# SPDX-License-Identifier: GPL-3.0-or-later
"""The network configuration: the original's keys and ours, checked."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass, field
from types import MappingProxyType

from ..configuration.settings import LOG_LEVELS, POLICIES
from ..errors import InvalidConfig
from .fields import Json, excerpt, get, one_of, seconds, texts
from .wishes import Wishes, wishes

ROUTER: t.Final = "router"
GATEWAY: t.Final = "gateway"
NONE: t.Final = "none"
KEEP: t.Final = 600.0  # s, a fixed address after its pod's DEL: longer than a pod takes to be started anew
VALID_ATTACHMENTS: t.Final = "cni.dev/valid-attachments"
EVERYWHERE: t.Final = "0.0.0.0/0"
_UNSPECIFIED: t.Final = "0.0.0.0"  # as `gw`: the host's gateway NIC
_MTU_RANGE: t.Final = (68, 65535)  # IPv4's minimum; the link's own maximum is the kernel's to check

_VXNET: t.Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class ConfRoute:
    """An item of ipam.routes: `dst` a network, `gw` an address, 0.0.0.0 (the host's gateway NIC) or "" (not given)."""

    dst: str
    gw: str = ""

    @property
    def via_host(self) -> bool:
        return self.gw == _UNSPECIFIED


@dataclass(frozen=True)
class NetConf:
    """What an ADD wants to know. `vxnets` empty: any of the agent's; `policy` empty: the agent's; `keep` in seconds."""

    is_gateway: bool = False
    ip_masq: bool = False
    routes: tuple[ConfRoute, ...] = ()
    default_route: str = ROUTER
    mtu: t.Optional[int] = None
    vxnets: tuple[str, ...] = ()
    policy: str = ""
    keep: float = KEEP
    wishes: Wishes = Wishes()
    dns: Json = field(default_factory=dict)
    previous: t.Optional[dict[str, t.Any]] = None


def parse(config: Json, bindaddr: str, args: t.Mapping[str, str] = MappingProxyType({})) -> NetConf:
    """The configuration of an ADD with these CNI_ARGS to the agent that serves `bindaddr`.

    Raises `InvalidConfig`, which names the field and what to write instead.
    """
    get(config, "type", str, "")
    _check_bindaddr(get(config, "args", dict, {}), bindaddr)
    ipam = get(config, "ipam", dict, {})
    wished = wishes(config, args)
    dns = _dns(get(config, "dns", dict, {}))
    conf = NetConf(
        is_gateway=get(config, "isGateway", bool, False),
        ip_masq=get(config, "ipMasq", bool, False),
        routes=tuple(
            _route(item, f"ipam.routes[{i}]") for i, item in enumerate(get(ipam, "routes", list, [], "ipam."))
        ),
        default_route=one_of(config, "defaultRoute", (ROUTER, GATEWAY, NONE), ROUTER),
        mtu=_mtu(config),
        vxnets=_vxnets(config),
        policy=one_of(config, "policy", POLICIES, ""),
        keep=_keep(config, wished),
        wishes=wished,
        dns=wished.dns or dns,
        previous=_previous(config),
    )
    if conf.is_gateway and not conf.routes and conf.default_route != GATEWAY:
        raise InvalidConfig(
            "isGateway: true needs ipam.routes: name the networks that go through the host there, "
            'such as "ipam": {"routes": [{"dst": "10.96.0.0/12"}]} for Kubernetes services'
        )
    return conf


def valid_attachments(config: Json) -> frozenset[tuple[str, str]]:
    """(container id, ifname) of the attachments that a GC leaves alone.

    Raises `InvalidConfig` where the list is missing: that would be all of them.
    """
    items = config.get(VALID_ATTACHMENTS)
    if not isinstance(items, list):
        raise InvalidConfig(f"{VALID_ATTACHMENTS}: a list is wanted, not {excerpt(items)}: nothing was released")
    found = set()
    for i, item in enumerate(items):
        where = f"{VALID_ATTACHMENTS}[{i}]"
        if not isinstance(item, dict):
            raise InvalidConfig(f"{where}: an object is wanted, not {excerpt(item)}: nothing was released")
        pair = tuple(get(item, key, str, "", f"{where}.") for key in ("containerID", "ifname"))
        if not all(pair):
            raise InvalidConfig(
                f"{where}: containerID and ifname are wanted, not {excerpt(item)}: nothing was released"
            )
        found.add((pair[0], pair[1]))
    return frozenset(found)


def log_level(config: Json) -> str:
    """Of the messages about one call, "" for the agent's own. Raises `InvalidConfig`."""
    return one_of(config, "logLevel", LOG_LEVELS, "")


# -- fields -----------------------------------------------------------------------------------------------------------


def _keep(config: Json, wished: Wishes) -> float:
    """The pod's own word, the network's, or `KEEP`."""
    text = get(config, "keepAddress", str, "")
    networks = seconds(text, "keepAddress") if text else KEEP
    return networks if wished.keep is None else wished.keep


def _mtu(config: Json) -> t.Optional[int]:
    mtu = get(config, "mtu", int, 0)
    low, high = _MTU_RANGE
    if mtu and not low <= mtu <= high:
        raise InvalidConfig(f"mtu: {low} to {high} is wanted, not {mtu}; leave it out for the NIC's own")
    return mtu or None


def _vxnets(config: Json) -> tuple[str, ...]:
    one, several = get(config, "vxnet", str, ""), texts(config, "vxnets")
    if one and several:
        raise InvalidConfig("vxnet and vxnets: write one of the two")
    found = (one,) if one else several
    for vxnet_id in found:
        if not _VXNET.fullmatch(vxnet_id):
            raise InvalidConfig(
                f"{'vxnet' if one else 'vxnets'}: an id such as vxnet-0a1b2c3 is wanted, not {excerpt(vxnet_id)}"
            )
    return found


def _dns(dns: Json) -> Json:
    for key in ("nameservers", "search", "options"):
        texts(dns, key, "dns.")
    get(dns, "domain", str, "", "dns.")
    return {key: value for key, value in dns.items() if value}


def _previous(config: Json) -> t.Optional[dict[str, t.Any]]:
    previous: dict[str, t.Any] = get(config, "prevResult", dict, {})
    for key in ("interfaces", "ips", "routes"):
        get(previous, key, list, [], "prevResult.")
    get(previous, "dns", dict, {}, "prevResult.")
    return previous or None


# -- addresses --------------------------------------------------------------------------------------------------------


def _route(item: t.Any, where: str) -> ConfRoute:
    if not isinstance(item, dict):
        raise InvalidConfig(f'{where}: an object is wanted, such as {{"dst": "10.96.0.0/12"}}, not {excerpt(item)}')
    dst, gw = get(item, "dst", str, "", f"{where}."), get(item, "gw", str, "", f"{where}.")
    for field_, value in (("dst", dst), ("gw", gw)):
        if ":" in value:
            raise InvalidConfig(
                f"{where}.{field_}: {excerpt(value)} is IPv6, which QingCloud vxnets do not carry: remove this route"
            )
    try:
        network = ipaddress.IPv4Network(dst, strict=False) if "/" in dst else None
    except ValueError:
        network = None
    if network is None:
        raise InvalidConfig(f"{where}.dst: a network such as 10.96.0.0/12 is wanted, not {excerpt(dst)}")
    try:
        gateway = str(ipaddress.IPv4Address(gw)) if gw else ""
    except ValueError:
        raise InvalidConfig(
            f"{where}.gw: an address is wanted, not {excerpt(gw)}; leave it out for the host's gateway NIC"
        ) from None
    return ConfRoute(str(network), gateway)


def _check_bindaddr(args: Json, own: str) -> None:
    """args.BindAddr in any letter case, as the original read it; it must name this agent."""
    for key in args:
        if key.lower() == "bindaddr":
            named = get(args, key, str, "", "args.")
            if named and not _same_address(named, own):
                raise InvalidConfig(
                    f"args.{key}: {excerpt(named)} is not this node's agent: write {own}, or leave it out"
                )


def _same_address(named: str, own: str) -> bool:
    """An agent bound to every address is meant by any address with its port."""
    if named == own:
        return True
    (named_host, __, named_port), (own_host, __, own_port) = named.rpartition(":"), own.rpartition(":")
    loopback = ("localhost", "127.0.0.1")
    same_host = own_host in ("", _UNSPECIFIED) or (named_host in loopback and own_host in loopback)
    return named_port == own_port and same_host
