# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check of `qingagent doctor`: nothing is told of a healthy node, and of a sick one what ails it and helps."""

from __future__ import annotations

import json
import os
import struct
import time
import typing as t
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hostnic.config import Settings
from hostnic.doctor import show, table, units
from hostnic.doctor.examine import examine
from hostnic.doctor.finding import Finding, Report, Seen, Unchecked
from hostnic.doctor.patient import Patient, Told
from hostnic.doctor.reader import Reader, Space
from hostnic.errors import (
    AuthFailed,
    Busy,
    Denied,
    HostnicError,
    InvalidConfig,
    LinkFailed,
    RateLimited,
    Timeout,
    Unreachable,
)
from hostnic.model import CloudNic, KnownVxnet, Nic, Vxnet
from hostnic.states import State
from hostnic.store.sqlite import SqliteStore

HERE, PRIMARY, WAITING, USED = "i-0a1b2c3d", "52:54:00:00:00:01", "52:54:00:00:00:07", "52:54:00:00:00:08"
GATEWAY, GATEWAY_LINK = "52:54:00:00:00:09", "qg525400000009"
NOW = 1_700_000_000.0
CONFLIST = {"cniVersion": "1.0.0", "name": "qingcloud", "plugins": [{"type": "qingcni"}, {"type": "portmap"}]}
CHAIN = {"family": "ip", "table": "qingcni", "name": "postrouting"}
STATEDIR, CONF, NETWORK = "/var/lib/qingagent", "/etc/cni/net.d", "/run/systemd/network/05-qingcni.network"
NM_FILE = "/run/NetworkManager/conf.d/05-qingcni.conf"
CLOUD_CFG = "/etc/cloud/cloud.cfg"
SNIPPET = "updates:\n  network:\n    when: [boot-new-instance]\n"


def cloud_nic(nic_id: str, name: str, **fields: t.Any) -> CloudNic:
    known = CloudNic(nic_id, name, "vxnet-pods", "172.16.1.7", "in-use", HERE, created=NOW - 9000)
    return replace(known, **fields)


class Cloud:
    """Answers by what it has; an error instead of an answer is raised."""

    def __init__(self) -> None:
        self.attached: t.Union[list[CloudNic], HostnicError] = [
            cloud_nic(PRIMARY, "", role=1, vxnet_id="vxnet-host"),
            cloud_nic(WAITING, f"qingcni_{HERE}"),
        ]
        self.vxnets: t.Union[list[Vxnet], HostnicError] = [Vxnet("vxnet-pods", "172.16.1.0/24", "172.16.1.1", "r", 200)]
        self.detaching: t.Union[frozenset[str], HostnicError] = frozenset()
        self.ahead: t.Optional[float] = 0.4
        self.elsewhere: list[CloudNic] = []

    def describe_nics(self, instance_id: str = "", name: str = "") -> list[CloudNic]:
        nics = _said(self.attached) + self.elsewhere
        return [nic for nic in nics if name in ("", nic.nic_name) and instance_id in ("", nic.instance_id)]

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        return [vxnet for vxnet in _said(self.vxnets) if vxnet.vxnet_id in vxnet_ids]

    def being_detached(self) -> frozenset[str]:
        return _said(self.detaching)

    def state(self) -> dict[str, t.Any]:
        return {"clock_ahead": self.ahead}


def _said(answer: t.Any) -> t.Any:
    if isinstance(answer, HostnicError):
        raise answer
    return answer


class Node:
    """A healthy one: an agent with two NICs, one of them in a pod."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cloud = Cloud()
        self.settings: t.Union[Settings, HostnicError] = Settings(vxnet=("vxnet-pods",))
        self.units = {name: units.Unit("loaded", "active", "running", "enabled", 0, 9700.0) for name in units.OURS}
        self.chains = [CHAIN]
        self.programs = {"systemctl --version": "systemd 252 (252.39)\n"}
        self.parked: t.Union[dict[str, int], HostnicError] = {WAITING: 1500}
        self.space = Space(10 << 30, 100_000)
        self.limiter: dict[str, t.Any] = {"CreateNics": {"calls": 1}}
        self.explain: dict[str, t.Any] = {
            **{"trouble": None, "looked_ago": 3.0, "draining": False, "limit": 64, "cap": 60},
            **{"used": 1, "held": 0, "broken": 0},
        }
        self.answers: dict[str, t.Any] = {"ping": {"answers": True}, "version": {"digest": ""}}
        self.silent = False
        self.binding = HERE
        self.known = [KnownVxnet("vxnet-pods", "172.16.1.0/24", "172.16.1.1", "rtr-1")]
        self.link("lo", "00:00:00:00:00:00")
        self.link("eth0", PRIMARY)
        self.route("eth0", "0.0.0.0", "0.0.0.0", "172.16.0.1")
        self.route("eth0", "172.16.0.0", "255.255.255.0")
        for key, value in {
            "ipv4/ip_forward": "0",
            "ipv4/conf/all/rp_filter": "0",
            "netfilter/nf_conntrack_count": "10",
            "netfilter/nf_conntrack_max": "1000",
        }.items():
            self.write(f"/proc/sys/net/{key}", f"{value}\n")
        self.write("/etc/qingcloud/instance-id", HERE)
        self.write("/etc/qingcloud/client.yaml", "qy_access_key_id: KEY\nqy_secret_access_key: SECRET\n", 0o600)
        self.write(f"{CONF}/05-qingcloud.conflist", json.dumps(CONFLIST))
        self.write("/opt/cni/bin/qingcni", "", 0o755)
        for directory in ("/etc/qingagent", STATEDIR, "/run/qingagent"):
            (root / directory[1:]).mkdir(parents=True, mode=0o700)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_text(text)
        self.at(path).chmod(mode)
        return self.at(path)

    def link(self, name: str, mac: str, flags: int = 0x1003, **sysctls: str) -> None:
        for file, text in (("address", mac), ("mtu", "1500"), ("flags", hex(flags))):
            self.write(f"/sys/class/net/{name}/{file}", f"{text}\n")
        for key, value in {"rp_filter": "0", **sysctls}.items():
            self.write(f"/proc/sys/net/ipv4/conf/{name}/{key}", f"{value}\n")

    def gateway(self, **sysctls: str) -> None:
        self.link(GATEWAY_LINK, GATEWAY, **{"rp_filter": "2", "arp_ignore": "1", "arp_announce": "2", **sysctls})
        self.write("/proc/sys/net/ipv4/ip_forward", "1\n")

    def route(self, link: str, network: str, mask: str, via: str = "0.0.0.0") -> None:
        path = self.at("/proc/net/route")
        rows = path.read_text() if path.exists() else "Iface\tDestination\tGateway\tFlags\tR\tU\tM\tMask\tMTU\tW\tI\n"
        destination, gateway, cover = (_hex(one) for one in (network, via, mask))
        self.write("/proc/net/route", f"{rows}{link}\t{destination}\t{gateway}\t1\t0\t0\t0\t{cover}\t0\t0\t0\n")

    def change(self, name: str, **fields: t.Any) -> None:
        self.units[name] = replace(self.units.get(name, units.Unit("loaded", "inactive")), **fields)

    def patient(self) -> Patient:
        reader = Reader(self.root, self._run, self._parked, lambda __: self.space)
        if not self.at(f"{STATEDIR}/state.db").exists():
            self._journal()
        return Patient(reader, self._told, self._ask, lambda __: t.cast("t.Any", self.cloud), lambda: NOW, lambda: 1e4)

    def look(self, *check_ids: str) -> Report:
        """By these checks, or by all of them."""
        chosen = [check for check in table.CHECKS if not check_ids or check.check_id in check_ids]
        assert len(chosen) == len(check_ids) or not check_ids
        return examine(self.patient(), chosen)

    def _journal(self) -> None:
        store = SqliteStore(self.at(STATEDIR))
        store.bind("boot", self.binding)
        nics = [Nic(mac, "vxnet-pods", "172.16.1.7", state, 0.0) for mac, state in self._pool().items()]
        store.write([*nics, *self.known])
        store.close()

    @staticmethod
    def _pool() -> dict[str, State]:
        return {WAITING: State.READY, USED: State.IN_USE}

    def _told(self) -> Told:
        return Told(t.cast("Settings", _said(self.settings)), {})

    def _parked(self) -> dict[str, int]:
        return t.cast("dict[str, int]", _said(self.parked))

    def _ask(self, path: str, op: str) -> t.Any:
        assert path == str(self.at("/run/qingagent/qingagent.sock"))
        if self.silent:
            raise Timeout(f"the agent behind {path} did not answer within 4 s")
        pool = [{"nic_id": nic_id, "state": state.value} for nic_id, state in self._pool().items()]
        explain = {**self.explain, "cloud": {"limiter": {"actions": self.limiter}}}
        known = {"pool": pool, "explain": explain, "settings": self._running()}
        return _said({**known, **self.answers}[op])

    @staticmethod
    def _running() -> dict[str, t.Any]:
        """As the agent tells the settings of a healthy node."""
        settings = Settings(vxnet=("vxnet-pods",))
        values = {one.metadata["key"]: getattr(settings, one.name) for one in fields(Settings)}
        told = json.loads(json.dumps(values))
        return {key: {"value": told[key], "origin": "/etc", "changes_by": "reload"} for key in told}

    def _run(self, command: t.Sequence[str]) -> str:
        line = " ".join(command)
        if line.startswith("systemctl show"):
            return "\n\n".join(_shown(name, unit) for name, unit in self.units.items())
        if line == "nft -j list chains":
            return json.dumps({"nftables": [{"metainfo": {}}, *({"chain": chain} for chain in self.chains)]})
        if line.startswith("nft -j list chain "):
            return json.dumps({"nftables": []})
        if line not in self.programs:
            raise FileNotFoundError(command[0])
        return self.programs[line]


def _hex(address: str) -> str:
    number = struct.unpack("=I", bytes(map(int, address.split("."))))[0]
    return f"{number:08X}"


def _shown(name: str, unit: units.Unit) -> str:
    since = int(unit.since * 1e6)
    return (
        f"Id={name}\nLoadState={unit.load}\nActiveState={unit.state}\nSubState={unit.sub}\n"
        f"UnitFileState={unit.file}\nNRestarts={unit.restarts}\nActiveEnterTimestampMonotonic={since}"
    )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_nothing_is_told_of_a_healthy_node(node: Node) -> None:
    report = node.look()
    assert report.findings == [] and report.healthy
    assert report.checks == [check.check_id for check in table.CHECKS] and len(set(report.checks)) == len(report.checks)
    assert {one.check for one in report.unchecked} == {"version", "key-rights"}


# -- one fault at a time -----------------------------------------------------------------------------------------------

Change = t.Callable[[Node], object]


def stop(node: Node) -> None:
    node.change(units.AGENT, state="inactive", sub="dead")


def setting(**fields: t.Any) -> Change:
    return lambda node: setattr(node, "settings", replace(t.cast("Settings", node.settings), **fields))


def said(**fields: t.Any) -> Change:
    return lambda node: node.explain.update(fields)


def cloud(**fields: t.Any) -> Change:
    return lambda node: [setattr(node.cloud, name, value) for name, value in fields.items()]


def file(path: str, text: str = "", mode: int = 0o644) -> Change:
    return lambda node: node.write(path, text, mode)


def unit(name: str, **fields: t.Any) -> Change:
    return lambda node: node.change(name, **fields)


def parked(value: t.Any) -> Change:
    return lambda node: setattr(node, "parked", value)


def chain(**fields: str) -> Change:
    return lambda node: node.chains.append({**CHAIN, **fields})


def both(*changes: Change) -> Change:
    return lambda node: [change(node) for change in changes]


def aged(path: Path) -> None:
    os.utime(path, (NOW - 300, NOW - 300))


def unknown(nic_id: str, **fields: t.Any) -> Change:
    return lambda node: node.cloud.elsewhere.append(cloud_nic(nic_id, f"qingcni_{HERE}", **fields))


def running(value: t.Any, changes_by: str = "reload", origin: str = "default") -> dict[str, t.Any]:
    return {"value": value, "origin": origin, "changes_by": changes_by}


def leave(path: str) -> Change:
    return lambda node: node.at(path).unlink()


DROPPING = {"table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}
POOL_HERE = Vxnet("vxnet-pods", "172.16.1.0/24", "172.16.1.1", "r", 200)
TROUBLE = {"kind": "Denied", "message": "QingCloud refused AttachNics: no", "action": "AttachNics"}
QUOTA = {"kind": "QuotaExceeded", "message": "QingCloud refused CreateNics: too many", "action": "CreateNics"}
NM = both(unit(units.NETWORK_MANAGER, state="active"), file(NM_FILE, f"mac:{WAITING}\n"))
NETWORKD = both(unit(units.NETWORKD, state="active"), file(NETWORK, f"{WAITING}\n{USED}\n"))
PROXY = chain(table="kube-proxy", name="services")
ERROR, WARNING = "error", "warning"


@pytest.mark.parametrize(
    ("check", "change", "severity", "what", "remedy"),
    [
        ("systemd", lambda n: n.programs.update({"systemctl --version": "systemd 245"}), ERROR,
         "245 is too old", "newer"),
        ("settings", lambda n: setattr(n, "settings", InvalidConfig("no such key")), ERROR, "no such key", "restart"),
        ("units", unit(units.NETNS, load="masked"), ERROR, "is masked", "systemctl unmask qingagent-netns.service"),
        ("units", unit(units.SOCKET, load="not-found"), ERROR, "is not installed", "qingcloud.cni.site"),
        ("units", unit(units.AGENT, file="disabled"), WARNING, "after a reboot", "systemctl enable qingagent.service"),
        ("agent", stop, ERROR, "the agent does not run", "systemctl start qingagent.service"),
        ("agent", unit(units.SOCKET, state="failed"), ERROR, "no pod starts", "systemctl start qingagent.socket"),
        ("agent", unit(units.AGENT, state="activating", sub="auto-restart"), ERROR, "again and again", "journalctl"),
        ("agent", unit(units.AGENT, state="activating", sub="start"), WARNING, "is activating", "journalctl"),
        ("agent", lambda n: setattr(n, "silent", True), ERROR, "did not answer", "systemctl restart qingagent"),
        ("restarts", unit(units.AGENT, restarts=3), WARNING, "3 times in all and 5 min ago", "journalctl"),
        ("settings-in-use", setting(pool_low=5), WARNING,
         "pool-low 3 instead of 5", "systemctl reload qingagent.service"),
        ("settings-in-use", lambda n: n.answers.update(settings={"vxnet": running(["vxnet-a"], "restart")}), WARNING,
         "vxnet ['vxnet-a'] instead of ['vxnet-pods']", "systemctl restart qingagent.service"),
        ("held-still", file(f"{STATEDIR}/degradation", "L0\n"), WARNING, "says L0", f"rm {STATEDIR}/degradation"),
        ("held-still", setting(degradation="L1"), WARNING, "degradation is L1", "qingagent_degradation"),
        ("held-still", said(draining=True), WARNING, "drained this node", "qingagent resume"),
        ("last-look", said(looked_ago=None), ERROR, "not seen the cloud", "qingagent explain"),
        ("last-look", said(looked_ago=900.0), ERROR, "for 15 min, and looks each 2 min", "qingagent look"),
        ("state-directory", lambda n: [n.patient(), n.at(STATEDIR).chmod(0o755)], ERROR,
         "mode 0755", f"chmod 0700 {STATEDIR}"),
        ("state-directory", file("/run/qingagent/qingagent.sock", "", 0o666), ERROR,
         "0666", "chmod 0600 /run/qingagent"),
        ("state-directory", lambda n: [n.at("/run/qingagent").rmdir(), n.at("/run/qingagent").symlink_to("/tmp")],
         ERROR,
         "is a symbolic link", "put /run/qingagent right"),
        ("state-directory", lambda n: n.at("/etc/qingagent").chmod(0o777), ERROR,
         "may be written by others", "chmod go-rwx"),
        ("disk", lambda n: setattr(n, "space", Space(1 << 20, 10_000)), ERROR, "1 MiB", "make room"),
        ("disk", lambda n: setattr(n, "space", Space(100 << 20, None)), WARNING, "100 MiB", "make room"),
        ("disk", lambda n: setattr(n, "space", Space(1 << 40, 7)), ERROR, "only 7 files", "remove files"),
        ("journal", lambda n: setattr(n, "binding", "i-other"), ERROR, "that of i-other", "systemctl restart"),
        ("journal", file(f"{STATEDIR}/state.db", "no database" * 99), ERROR, "cannot be read", "systemctl restart"),
        ("spool", file(f"{STATEDIR}/spool/1-a.json.damaged"), WARNING, "1 DELs", f"rm {STATEDIR}/spool/*.damaged"),
        ("spool", lambda n: aged(n.write(f"{STATEDIR}/spool/1-a.json", "{}")), WARNING,
         "longer than a minute", "-g spool"),
        ("parking", parked(LinkFailed("no namespace")), ERROR, "no namespace", "restart qingagent-netns.service"),
        ("parking", parked({}), ERROR, WAITING, "systemctl restart qingagent.service"),
        ("loose-nics", lambda n: n.link("eth1", WAITING), ERROR, "among the host's links as eth1", "networkctl"),
        ("iface", setting(iface="eth7"), ERROR, "iface eth7 is no link", "to eth0"),
        ("iface", both(lambda n: n.link("eth1", USED), setting(iface="eth1")), WARNING, "goes by eth0", "to eth0"),
        ("forwarding", both(lambda n: n.gateway(), file("/proc/sys/net/ipv4/ip_forward", "0")), ERROR, GATEWAY_LINK,
         "sysctl -w net.ipv4.ip_forward=1"),
        ("forward-policy", chain(**DROPPING), WARNING, "ip filter FORWARD is drop", " && nft insert rule ip filter"),
        ("forward-policy", both(lambda n: n.gateway(), chain(**DROPPING)), ERROR, "is drop", "nft insert"),
        ("reverse-path", file("/proc/sys/net/ipv4/conf/eth0/rp_filter", "1"), WARNING, "eth0 is strict", "rp_filter=2"),
        ("gateway-links", lambda n: n.gateway(arp_ignore="0"), ERROR, "arp_ignore of the gateway NIC", "arp_ignore=1"),
        ("gateway-links", lambda n: [n.gateway(), n.write(f"/sys/class/net/{GATEWAY_LINK}/flags", "0x1002")], ERROR,
         "is down", f"ip link set dev {GATEWAY_LINK} up"),
        ("nft-table", lambda n: n.chains.clear(), ERROR, "table ip qingcni is not there", "systemctl restart"),
        ("kube-proxy", lambda n: n.link("kube-ipvs0", "02:00:00:00:00:01"), WARNING, "ipvs mode", "masqueradeAll"),
        ("kube-proxy", file("/proc/net/ip_vs", "IP\nTCP  0A600001:0050 rr\n"), WARNING, "ipvs mode", "masqueradeAll"),
        ("kube-proxy", PROXY, WARNING, "not told to send", "qingcni_routes"),
        ("kube-proxy", chain(table="nat", name="KUBE-SERVICES"), WARNING, "not told to send", "qingcni_routes"),
        ("mtu", parked({WAITING: 9000}), WARNING, "9000 and the host's own eth0 one of 1500", "mtu 9000, or"),
        ("conntrack", file("/proc/sys/net/netfilter/nf_conntrack_count", "800"), WARNING, "800 of 1000", "max=2000"),
        ("conntrack", file("/proc/sys/net/netfilter/nf_conntrack_count", "990"), ERROR, "990 of 1000", "max=2000"),
        ("routes", lambda n: n.route("docker0", "172.16.0.0", "255.255.0.0"), ERROR, "172.16.0.0/16 dev docker0 takes",
         "ip route del 172.16.0.0/16 dev docker0"),
        ("networkmanager", NM, WARNING, f"to leave {USED} alone", "systemctl restart qingagent.service"),
        ("networkmanager", unit(units.NM_CLOUD_SETUP, state="active"), WARNING, "nm-cloud-setup", "disable --now"),
        ("networkd", both(NETWORKD, leave(NETWORK)), WARNING,
         f"{WAITING}, {USED} alone", "systemctl restart qingagent"),
        ("networkd", both(NETWORKD, file("/etc/systemd/network/00-all.network", "[Match]\nName=e*\n[Network]\n")),
         ERROR,
         "00-all.network sorts before", "networkctl reload"),
        ("netplan", file("/etc/netplan/50-cloud.yaml", "    match:\n      name: en*\n"), WARNING,
         "links like en*", "restart"),
        ("cloud-init", file(CLOUD_CFG), WARNING, "is not told to leave hot-plugged NICs", "qingagent_host_settings"),
        ("cloud-init", file(CLOUD_CFG, SNIPPET.replace("]", ", hotplug]")), WARNING,
         "boot-new-instance, hotplug", "true"),
        ("cni-configuration", file(f"{CONF}/00-other.conf", "{}"), ERROR, "00-other.conf sorts before", ".disabled"),
        ("cni-configuration", leave(f"{CONF}/05-qingcloud.conflist"), ERROR, "no CNI configuration", "site"),
        ("cni-plugin", leave("/opt/cni/bin/qingcni"), ERROR, "no qingcni that runs", "qingcloud.cni.site"),
        ("cni-plugin", both(file("/etc/crio/crio.conf", '[crio.network]\nplugin_dirs = ["/b"]\n')), ERROR, "in /b",
         "ln -sf /usr/lib/hostnic/current/bin/qingcni /b/qingcni"),
        ("access-file", lambda n: n.at("/etc/qingcloud/client.yaml").chmod(0o640), ERROR,
         "mode 0640", "chmod 0600 "),
        ("access-file", file("/etc/qingcloud/client.yaml", "port: none\n", 0o600), ERROR, "port 'none'", "put /etc"),
        ("api", cloud(attached=Unreachable("no way there")), ERROR, "no way there", "DNS, routes, firewall"),
        ("api", cloud(attached=Timeout("no answer")), ERROR, "no answer", "host and port of the access file"),
        ("api", cloud(attached=RateLimited("too often")), WARNING, "too often", "api-rate"),
        ("api", cloud(attached=Busy("busy")), WARNING, "busy", "by itself"),
        ("clock", cloud(ahead=-45.0), WARNING, "45 s behind the API's", "timedatectl set-ntp true"),
        ("clock", cloud(ahead=200.0), ERROR, "200 s ahead of the API's", "timedatectl set-ntp true"),
        ("access-key", cloud(attached=AuthFailed("unknown key", ret_code=1200)), ERROR, "unknown key", "the right key"),
        ("key-rights", cloud(detaching=Denied("not you", action="DescribeJobs")), ERROR,
         "not you", "right to DescribeJobs"),
        ("key-rights", said(trouble=TROUBLE), ERROR, "the agent was refused", "the right to AttachNics"),
        ("instance", leave("/etc/qingcloud/instance-id"), ERROR, "cannot read the instance id", "as the console shows"),
        ("instance", cloud(attached=[]), ERROR, f"no primary NIC of {HERE}", "the setting zone"),
        ("instance", cloud(attached=[cloud_nic("52:54:00:00:00:55", "", role=1)]), ERROR, "another machine", "own id"),
        ("vxnets", cloud(vxnets=[]), ERROR, "vxnet-pods is unknown in zone", "qingagent_vxnet"),
        ("vxnets", cloud(vxnets=[Vxnet("vxnet-pods")]), ERROR, "is in no router", "join it to the VPC's router"),
        ("vxnet-addresses", cloud(vxnets=[replace(POOL_HERE, available=0)]), ERROR,
         "no free address", "name another in `vxnet`"),
        ("vxnet-addresses", cloud(vxnets=[replace(POOL_HERE, available=4)]), WARNING,
         "has 4 free addresses", "one more"),
        ("nic-limit", said(trouble=QUOTA), ERROR, "refused CreateNics", "higher quota"),
        ("nic-limit", said(used=59, broken=1), ERROR, "all 60 NICs", "raise max-nics"),
        ("nic-limit", said(cap=10, limit=12), WARNING, "room for 10: 12 NICs in all", "to 10"),
        ("leaks", unknown("52:54:00:00:00:66", status="available", instance_id=""), WARNING, "00:66", "qingagent look"),
        ("leaks", unknown("52:54:00:00:00:66", instance_id="i-other"), WARNING,
         "attached to i-other", "detach it there"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_a_remedy(
    node: Node, check: str, change: Change, severity: str, what: str, remedy: str
) -> None:
    change(node)
    report = node.look(check)
    (found,) = report.findings or [Finding("", "", str(report), "")]
    assert (found.check, found.severity) == (check, severity), report
    assert what in found.what and remedy in found.remedy, found
    assert not found.what.endswith(".") and not found.remedy.endswith(".")


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("restarts", unit(units.AGENT, restarts=3, since=5000.0)),
        ("last-look", both(said(looked_ago=None), unit(units.AGENT, since=9990.0))),
        ("units", unit(units.SOCKET, file="static")),
        ("settings-in-use", lambda n: n.answers.update(settings={"pool-low": running(9, origin="QINGAGENT_POOL_LOW")})),
        ("state-directory", lambda n: n.at("/run/qingagent").rmdir()),
        ("spool", file(f"{STATEDIR}/spool/1-a.json", "{}")),
        ("routes", lambda n: n.route("eth5", "172.16.1.0", "255.255.255.0", "172.16.0.1")),
        ("routes", lambda n: n.route("docker0", "172.17.0.0", "255.255.0.0")),
        ("kube-proxy", both(PROXY, file(f"{CONF}/05-qingcloud.conflist",
                                        json.dumps({"type": "qingcni", "isGateway": True})))),
        ("mtu", both(parked({WAITING: 9000}), file(f"{CONF}/05-qingcloud.conflist",
                                                   json.dumps({"type": "qingcni", "mtu": 1450})))),
        ("networkmanager", both(NM, file(NM_FILE, f"mac:{WAITING};mac:{USED}"))),
        ("networkd", NETWORKD),
        ("networkd", both(NETWORKD, file("/etc/systemd/network/00-own.network", "[Match]\nName=eth0\n"))),
        ("netplan", both(file("/etc/netplan/50.yaml", "name: en*\n"), file(NETWORK, ""))),
        ("netplan", file("/etc/netplan/50.yaml", "eth0:\n  dhcp4: true\n")),
        ("cloud-init", both(file(CLOUD_CFG), file("/etc/cloud/cloud.cfg.d/99-qingcloud-cni.cfg", SNIPPET))),
        ("cloud-init", both(file(CLOUD_CFG), file("/etc/cloud/cloud-init.disabled"))),
        ("cloud-init", file(CLOUD_CFG, "network: {config: disabled}\n")),
        ("cni-configuration", file(f"{CONF}/87-podman.conflist", "{}")),
        ("clock", cloud(ahead=20.0)),
        ("vxnet-addresses", both(setting(vxnet=("vxnet-pods", "vxnet-b")),
                                 cloud(vxnets=[POOL_HERE, Vxnet("vxnet-b")]))),
        ("leaks", unknown("52:54:00:00:00:66", created=NOW - 60)),
        ("gateway-links", lambda n: n.gateway(send_redirects="1")),
    ],
)  # fmt: skip
def test_what_is_right_is_not_told(node: Node, check: str, change: Change) -> None:
    change(node)
    report = node.look(check)
    assert (report.findings, report.unchecked) == ([], [])


# -- what could not be looked at ---------------------------------------------------------------------------------------


def test_an_agent_that_does_not_run_is_not_asked_since_its_socket_would_start_it(node: Node) -> None:
    stop(node)
    node.silent = True  # whoever asks gets this
    report = node.look()
    assert [finding.check for finding in report.findings] == ["agent"]
    why = {one.check: one.why for one in report.unchecked}
    assert why["last-look"] == "the agent does not run"
    assert "whether the node is drained" in why["held-still"]


def test_an_agent_of_nobodys_units_is_asked(node: Node) -> None:
    node.units.clear()
    assert node.look("agent").findings == []
    assert {finding.what for finding in node.look("units").findings} == {
        f"{name} is not installed" for name in units.OURS
    }


def test_an_agent_without_systemd_is_asked(node: Node) -> None:
    known = node._run

    def run(command: t.Sequence[str]) -> str:
        if command[0] == "systemctl":
            raise LinkFailed("systemctl show: System has not been booted with systemd as init system")
        return known(command)

    node._run = run  # type: ignore[method-assign]
    assert node.look("agent", "last-look") == Report(checks=["agent", "last-look"])
    node.silent = True
    assert [finding.check for finding in node.look("agent").findings] == ["agent"]


def test_without_an_agent_the_journal_tells_what_is_known(node: Node) -> None:
    stop(node)
    unknown(WAITING, instance_id="")(node)
    assert node.look("leaks", "nic-limit").findings == []
    node.cloud.attached = [cloud_nic(f"52:54:00:00:01:{n:02x}", "") for n in range(64)]
    (full,) = node.look("nic-limit").findings
    assert "64 NICs" in full.what


def test_an_api_that_is_away_is_one_finding_and_one_reason(node: Node) -> None:
    away = Unreachable("no way to the API")
    node.cloud.attached = node.cloud.vxnets = node.cloud.detaching = away
    node.cloud.ahead = None
    report = node.look()
    assert [finding.check for finding in report.findings] == ["api"]
    reasons = {one.why for one in report.unchecked if one.check in ("instance", "vxnets", "vxnet-addresses", "leaks")}
    assert reasons == {away.message}
    told = show.text(report)
    assert told.count(away.message) == 2 and "access-key, key-rights, instance, vxnets, vxnet-addresses" in told


def test_a_clock_that_is_off_is_told_once(node: Node) -> None:
    expired = AuthFailed("the clock is 90 s ahead", ret_code=1300)
    node.cloud.attached = node.cloud.vxnets = node.cloud.detaching = expired
    node.cloud.ahead = 90.0
    assert [finding.check for finding in node.look().findings] == ["clock"]


def test_a_configuration_that_cannot_be_read_keeps_only_those_from_looking_that_need_it(node: Node) -> None:
    node.settings = InvalidConfig("the file is no YAML")
    node.link("kube-ipvs0", "02:00:00:00:00:01")
    report = node.look()
    assert {finding.check for finding in report.findings} == {"settings", "kube-proxy"}
    assert "the file is no YAML" in {one.why for one in report.unchecked if one.check == "disk"}


def test_a_gateway_nics_port_security_is_said_to_be_unknown(node: Node) -> None:
    assert node.look("port-security").unchecked == []
    node.gateway()
    (one,) = node.look("port-security").unchecked
    assert "does not show the source check of gateway NICs" in one.why


def test_the_hosts_own_nic_among_pods_is_their_gateway(node: Node) -> None:
    node.known = [KnownVxnet("vxnet-pods", "172.16.1.0/24", "172.16.1.1", "rtr-1", "172.16.1.2")]
    node.link("eth1", "52:54:00:00:00:33")
    node.route("eth1", "172.16.1.0", "255.255.255.0")
    report = node.look("forwarding", "port-security", "routes")
    assert ["though eth1 is pods' way" in finding.what for finding in report.findings] == [True]
    assert ["eth1 is pods' gateway" in one.why for one in report.unchecked] == [True]


def test_a_nic_that_is_just_on_its_way_is_not_missed(node: Node) -> None:
    """It was handed out between the two questions; the second look shows it."""
    looks = iter([{}, {WAITING: 1500}])
    node._parked = lambda: next(looks)  # type: ignore[method-assign]
    assert node.look("parking").findings == []


def test_systemd_is_asked_for_all_units_at_once(node: Node) -> None:
    asked: list[str] = []

    def run(command: t.Sequence[str]) -> str:
        asked.append(command[-1])
        raise LinkFailed("systemctl gave no answer within 5 s")

    with pytest.raises(HostnicError, match="gave no answer"):
        units.look(run)
    assert asked == [units.NM_CLOUD_SETUP]
    node.units = {units.AGENT: units.Unit("loaded", "active", "running", "enabled", 2, 12.5)}
    found = units.look(node._run)
    assert found[units.AGENT] == node.units[units.AGENT] and found[units.SOCKET] == units.Unit()


# -- all of them together ----------------------------------------------------------------------------------------------


def check(check_id: str, run: t.Callable[[Patient], t.Iterable[Seen]], late: t.Optional[Seen] = None) -> table.Check:
    return table.Check(check_id, "", run, late)


def test_one_that_hangs_holds_up_neither_the_others_nor_the_answer(node: Node) -> None:
    def hang(__: Patient) -> t.Iterator[Seen]:
        time.sleep(30)
        yield Seen("error", "never told")

    def break_(__: Patient) -> t.Iterator[Seen]:
        yield Seen("warning", "seen before the defect", "do it")
        raise ZeroDivisionError("one over nothing")

    def refuse(__: Patient) -> t.Iterator[Seen]:
        raise PermissionError(13, "Permission denied", "/some/file")

    checks = [check("hangs", hang), check("late", hang, Seen("error", "too late", "hurry")), check("breaks", break_)]
    started = time.monotonic()
    report = examine(node.patient(), [*checks, check("refuses", refuse)], deadline=0.3)
    assert time.monotonic() - started < 5
    assert report.findings == [
        Finding("late", "error", "too late", "hurry"),
        Finding("breaks", "warning", "seen before the defect", "do it"),
    ]
    assert report.unchecked == [
        Unchecked("hangs", "it gave no answer within 0 s"),
        Unchecked("breaks", "a defect: ZeroDivisionError: one over nothing"),
        Unchecked("refuses", "/some/file: Permission denied"),
    ]
    assert report.checks == ["hangs", "late", "breaks", "refuses"]


def test_a_fact_is_looked_up_once_and_its_failure_too(node: Node) -> None:
    calls = []

    def describe(instance_id: str = "", name: str = "") -> list[CloudNic]:
        calls.append(instance_id or name)
        raise Unreachable("away")

    node.cloud.describe_nics = describe  # type: ignore[method-assign]
    node.look("api", "clock", "access-key", "instance", "key-rights", "vxnets", "leaks")
    assert calls == [HERE]


REPORT = Report(
    [
        Finding("agent", "error", "the agent does not run " * 6, "systemctl start qingagent.service " * 4),
        Finding("mtu", "warning", "pods' NICs are larger", "ip link set"),
    ],
    [Unchecked("vxnets", "no way there"), Unchecked("leaks", "no way there")],
    [one.check_id for one in table.CHECKS],
)


def test_people_get_groups_and_a_last_line_in_colour_only_on_a_terminal() -> None:
    told = show.text(REPORT, width=60).splitlines()
    assert told[0] == "the agent: 9 of 10 fine"
    assert told[1].startswith("  error: agent: the agent does not run")
    assert "the cloud: 9 of 11 fine" in told and "  vxnets, leaks: no way there" in told
    assert told[-1] == f"{len(table.CHECKS)} checks: 1 error, 1 warning"
    remedy = next(line for line in told if "►" in line)
    assert remedy.strip() == f"► {'systemctl start qingagent.service ' * 4}".strip()
    assert max(len(line) for line in told if "►" not in line) <= 60
    coloured = show.text(REPORT, colour=True, width=60)
    assert "\x1b[31merror: agent:\x1b[0m" in coloured and "\x1b[33mwarning: mtu:\x1b[0m" in coloured
    fine = Report(checks=REPORT.checks)
    assert show.text(fine).splitlines()[-1] == f"{len(table.CHECKS)} checks: no errors, no warnings: healthy"


def test_warnings_alone_are_no_illness() -> None:
    document = Report(REPORT.findings[1:], [], ["mtu"]).document()
    assert document == {
        "healthy": True,
        "findings": [{"check": "mtu", "severity": "warning", "what": "pods' NICs are larger", "remedy": "ip link set"}],
        "unchecked": [],
        "checks": ["mtu"],
    }
    assert REPORT.document()["healthy"] is False
