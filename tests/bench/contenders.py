# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is compared, and the places on a real node in which they are.

Both sides are executables as a runtime executes them: configuration on stdin, CNI_* in the environment, a network
namespace as the pod. Ours is what site.yml has laid down, with the configuration that the role wrote, and moves a NIC
of the emulated cloud. The others are Debian's containernetworking-plugins with host-local; host-device moves a veth
whose other end is on the same bridge as our NICs' are. They have a host's namespace of their own on the node, which
is in their favour: neither the agent nor any network manager stirs when their links come and go there.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import typing as t
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.e2e.cluster import FABRIC, Cluster
from tests.emulator.dataplane import names
from tests.lab import netns
from tests.lab.lab import Lab, Node
from tests.lab.sh import run
from tests.lab.wait import until

OURS, HOST_DEVICE, FLOOR, BARE, VERSION = "qingcni", "host-device", "floor", "bare", "version"
HOST, PARKING, POD = "bench-host", "bench-parking", "bench-pod"  # namespaces of the node
DEBIANS: t.Final = "/usr/lib/cni"
PLUGIN: t.Final = "/opt/cni/bin/qingcni"
AGENT: t.Final = "/usr/local/sbin/qingagent"
PAUSE: t.Final = (0.03, 0.07)  # s before a call that is paced
_FLOOR_ADDRESS = "192.0.2.2/24"
_MASTER, _MOVED = "bm", "bf"  # links: what macvlan stands on, what is moved at the floor
_SUBNET: t.Final = "198.18.0.0/16"  # RFC 2544: nobody's

# What differs from what is shipped: a pool that does not wait for the cloud, and a rest that is over before its NICs'
# next turn, which comes a thousand times as often as on a node. Neither is in the path of an ADD or a DEL.
WARM: t.Final = ("QUARANTINE=1s", "QUARANTINE_MIN=1s", "IDLE_TTL=1h")


@dataclass(frozen=True)
class Contender:
    """`conf` is complete; `cni_path`: where its own plugins are."""

    name: str
    plugin: str
    conf: t.Mapping[str, t.Any]
    cni_path: str = DEBIANS

    def step(self, verb: str, container: str, pod: str, **more: t.Any) -> dict[str, t.Any]:
        """For `caller.py`; `pod`: a namespace's name."""
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": self.cni_path,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={container}",
        }
        return {"argv": [self.plugin], "env": env, "stdin": json.dumps(self.conf), **more}


@dataclass
class Remote:
    """`caller.py` on the node, in one of its namespaces."""

    node: Node
    netns: str = ""
    _process: t.Optional[subprocess.Popen[str]] = field(default=None, repr=False)

    def __enter__(self) -> Remote:
        self._process = start(self.node, "caller", netns=self.netns)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process:
            end(self._process)

    def row(self, *steps: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        """One after the other."""
        return self._ask("row", steps)

    def crowd(self, *steps: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
        """All at once."""
        return self._ask("crowd", steps)

    def _ask(self, how: str, steps: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
        if not (self._process and self._process.stdin and self._process.stdout):
            raise AssertionError("not started")
        self._process.stdin.write(json.dumps({"how": how, "steps": steps}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the caller has ended"}')
        if "error" in answer:
            raise SystemExit(f"on {self.node.name}: {answer['error']}")
        done: list[dict[str, t.Any]] = answer["done"]
        return done


def start(node: Node, program: str, *words: str, netns: str = "") -> subprocess.Popen[str]:
    """A module of this package on the node; it goes on until its stdin ends."""
    inside = f"/run/bench-{program}.py"
    text = Path(__file__).with_name(f"{program}.py").read_text(encoding="utf-8")
    node.path(inside).write_text(text, encoding="utf-8")
    enter = ["nsenter", "--target", str(node.pid), "--all", "--"]
    if netns:
        enter += ["nsenter", f"--net=/run/netns/{netns}", "--"]
    argv = [*enter, "/usr/bin/python3", "-I", inside, *words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> str:
    """What it printed that was not read yet."""
    return process.communicate(timeout=30)[0]


class Places:
    """Namespaces and veths on a node, and who is called with them; for `with`. `devices`: 0 for our own needs alone."""

    def __init__(self, node: Node, devices: int = 0, pods: int = 1) -> None:
        self.node = node
        self._devices = devices
        self._pods = pods
        self._interpreter = ""

    def __enter__(self) -> Places:
        self.__exit__()
        # the agent's is qingcni's as well
        first = self.node.run(["head", "--lines=1", AGENT]).stdout
        self._interpreter = first.removeprefix("#!").split()[0]
        for name in (HOST, PARKING, *self.pods()):
            self.node.run(["ip", "netns", "add", name])
        self.node.run(["ip", "-n", HOST, "link", "set", "lo", "up"])
        if self._devices:
            for number in range(self._devices):
                self._plug(device(number), HOST)
            self._plug(_MASTER, HOST)
            self._plug(_MOVED, PARKING)
            self.node.run(["ip", "-n", HOST, "link", "set", _MASTER, "up"])
        return self

    def _plug(self, link: str, where: str) -> None:
        """As the emulator does with NICs: the other end is a port of the vxnet's bridge."""
        port = f"{link}-{self.node.name}"
        bridge = names.bridge(Lab.load().vxnets[0].vxnet_id)
        pair = ["type", "veth", "peer", "name", link, "netns", self.node.netns]
        run(["ip", "-n", FABRIC, "link", "add", port, *pair])
        run(["ip", "-n", FABRIC, "link", "set", port, "master", bridge, "up"])
        self.node.run(["ip", "link", "set", link, "netns", where])

    def __exit__(self, *exc_info: object) -> None:
        """Also what a killed run has left."""
        for line in self.node.run(["ip", "netns", "list"]).stdout.splitlines():
            if line.startswith((POD, HOST, PARKING)):
                self.node.run(["ip", "netns", "delete", line.split()[0]])
        for link in netns.links(FABRIC):
            if link.startswith("b") and link.endswith(f"-{self.node.name}"):
                run(["ip", "-n", FABRIC, "link", "delete", link], check=False)  # it went with its namespace
        for left in self.node.path("/run").glob("bench-*.*"):  # programs, and what they made
            left.unlink()
        for network in self.node.path("/var/lib/cni/networks").glob("bench-*"):
            self.node.run(["rm", "-r", f"/var/lib/cni/networks/{network.name}"])

    def pods(self) -> list[str]:
        return [f"{POD}{number}" for number in range(self._pods)]

    def ours(self, **more: t.Any) -> Contender:
        """With the configuration that the role wrote."""
        written = json.loads(Path(self.node.cni_conf, "05-qingcloud.conflist").read_text(encoding="utf-8"))
        conf = {"cniVersion": written["cniVersion"], "name": written["name"], **written["plugins"][0], **more}
        return Contender(OURS, PLUGIN, conf, "/opt/cni/bin")

    def host_device(self, number: int = 0) -> Contender:
        return _debians(HOST_DEVICE, device=device(number))

    @staticmethod
    def ptp() -> Contender:
        return _debians("ptp")

    @staticmethod
    def macvlan() -> Contender:
        return _debians("macvlan", master=_MASTER)

    @staticmethod
    def bridge() -> Contender:
        return _debians("bridge", bridge="bench-bridge", isGateway=True)

    def bare(self) -> dict[str, t.Any]:
        return {"argv": [self._interpreter, "-I", "-S", "-c", "pass"]}

    def version(self) -> dict[str, t.Any]:
        """qingcni from exec to exit, without the agent."""
        return {"argv": [PLUGIN], "env": {"CNI_COMMAND": "VERSION"}, "stdin": '{"cniVersion": "1.0.0"}'}

    @staticmethod
    def move(pod: str, back: bool = False) -> dict[str, t.Any]:
        """What no move of a NIC can do without: from a parking namespace into the pod's, with a name for it there."""
        here, there = (f"/run/netns/{PARKING}", _MOVED), (f"/run/netns/{pod}", "eth0")
        (source, link), (target, name) = (there, here) if back else (here, there)
        return {"move": {"link": link, "from": source, "to": target, "as": name}}

    @staticmethod
    def dressed(pod: str) -> list[dict[str, t.Any]]:
        """What a moved link has once an ADD is done."""
        words = ("link set eth0 up", f"address add {_FLOOR_ADDRESS} dev eth0", "route add default dev eth0")
        return [{"argv": ["/usr/sbin/ip", "-n", pod, *one.split()]} for one in words]


def device(number: int) -> str:
    return f"bd{number}"


def _debians(kind: str, **more: t.Any) -> Contender:
    ipam = {"type": "host-local", "ranges": [[{"subnet": _SUBNET}]], "routes": [{"dst": "0.0.0.0/0"}]}
    conf = {"cniVersion": "1.0.0", "name": f"bench-{kind}", "type": kind, **more, "ipam": ipam}
    return Contender(kind, f"{DEBIANS}/{kind}", conf)


@contextlib.contextmanager
def warm(cluster: Cluster, pools: t.Mapping[str, int]) -> t.Iterator[None]:
    """The agents of these nodes with so many NICs each, all of them made and free but for those that pods have."""
    with contextlib.ExitStack() as stack:
        for name, nics in pools.items():
            pool = (f"MAX_NICS={nics}", f"POOL_LOW={nics}", f"POOL_HIGH={nics}")
            directives = (f"Environment=QINGAGENT_{one}" for one in (*WARM, *pool))
            stack.enter_context(cluster.unit(cluster.lab.node(name), *directives))
        for name, nics in pools.items():
            until(partial(_full, cluster, cluster.lab.node(name), nics), 120, f"{nics} NICs on {name}")
        yield


def _full(cluster: Cluster, node: Node, nics: int) -> bool:
    states = [nic["state"] for nic in cluster.pool(node).values() if nic["purpose"] == "pool"]
    return states.count("READY") + states.count("IN_USE") >= nics


def give_back(cluster: Cluster) -> None:
    """What `warm` has made goes at once, and not only when it was idle for long."""
    at_once = ("QUARANTINE=1s", "QUARANTINE_MIN=1s", "IDLE_TTL=1s", "PREWARM_TTL=1s", "ATTACH_CHUNK=60", "POOL_HIGH=3")
    large = [node for node in cluster.nodes if not _small(cluster, node)]
    with contextlib.ExitStack() as stack:
        for node in large:
            stack.enter_context(cluster.unit(node, *(f"Environment=QINGAGENT_{one}" for one in at_once)))
        for node in large:
            until(partial(_small, cluster, node), 90, f"a small pool on {node.name}")


def _small(cluster: Cluster, node: Node) -> bool:
    return len(cluster.in_state(node, "READY")) <= 3 and cluster.at_rest(node) is not None
