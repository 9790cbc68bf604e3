# SPDX-License-Identifier: GPL-3.0-or-later
"""Part 5: what a packet between two pods of two nodes costs, beside what it costs between the nodes themselves.

Four ways, each with an end on either node of the lab, compared in rounds in random order:

* `pods`: two pods by ADDs of the installed qingcni, in one vxnet;
* `nodes`: the nodes' own NICs, on the same fabric (bridge and veths, as those of the pods);
* `bridge` and `vxlan`: pods of the same nodes by overlays.py.

Throughput is iperf3's, of so many bytes over one TCP connection, in both directions by turns; the round trip is that of
64 bytes over another (pingpong.py). Sender and receiver stay on a processor of their own in all four. A ratio is the
median of the rounds' own, since what else the machine does weighs on all of a round; the round trips of a round count
by their median. The fabric's port security is off meanwhile, for all four: as a cloud does, it would drop what the
routed pods of `bridge` send.

Pods may well be faster than nodes: a node's own packets pass the rules of its namespace, a pod's meet none.

What this cannot show: all of it is one machine, whose two processors do the work of both nodes and of the fabric, so
rates are those of memory and not of any wire. A segment of 64 KiB crosses veths whole, where a wire has packets of
1,500 bytes, so what overlays do for each packet is understated; so is what a NIC's own offloads would take from it. And
a ping-pong's time is mostly that of waking two Python processes, the same in all four, which draws ratios towards 1.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.figures import Figure, Measured, Setting, Spread
from tests.bench.overlays import End, routed, tunnelled
from tests.e2e import agent
from tests.e2e.attachment import Sandbox
from tests.e2e.services.fabric import port_security
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.sh import run
from tests.lab.wait import until

ROUNDS, QUICK_ROUNDS = 50, 8
TRIPS: t.Final = 250  # of a ping-pong, in every second round
SENT: t.Final = "512M"  # by iperf3 in each round: a tenth of a second or two, so that all of a round is of one time
NEAR, FAR = 0, 1  # processors
_PINGPONG: t.Final = str(Path(__file__).with_name("pingpong.py"))
_IPERF_PORT, _PINGPONG_PORT = 5201, 5202


@dataclass
class Way:
    """From one end to the other. `rates` in Gbit/s, `trips` in µs, by rounds."""

    near: End
    far: End
    rates: list[float] = field(default_factory=list)
    trips: list[list[float]] = field(default_factory=list)

    @contextlib.contextmanager
    def served(self) -> t.Iterator[Way]:
        iperf = ["iperf3", "--server", "--bind", self.far.address, "--port", str(_IPERF_PORT), "--forceflush"]
        pong = [sys.executable, "-I", "-S", _PINGPONG, "serve", str(FAR), self.far.address, str(_PINGPONG_PORT)]
        with _running(_inside(self.far, iperf), "Server listening"), _running(_inside(self.far, pong), "ready"):
            yield self

    def send(self, *words: str) -> None:
        argv = ["iperf3", "--client", self.far.address, "--port", str(_IPERF_PORT), "--bytes", SENT, "--json"]
        told = json.loads(run(_inside(self.near, [*argv, "--affinity", f"{NEAR},{FAR}", *words])).stdout)
        self.rates.append(round(told["end"]["sum_received"]["bits_per_second"] / 1e9, 3))

    def play(self) -> None:
        argv = [
            sys.executable,
            "-I",
            "-S",
            _PINGPONG,
            "ask",
            str(NEAR),
            self.far.address,
            str(_PINGPONG_PORT),
            str(TRIPS),
        ]
        self.trips.append([round(trip / 1000, 1) for trip in json.loads(run(_inside(self.near, argv)).stdout)])


def measure(setting: Setting) -> Measured:
    lab = setting.lab()
    nodes = lab.nodes[:2]
    if len(nodes) < 2:
        raise LabError("a lab of two nodes is needed: `make lab` makes one")
    rounds = QUICK_ROUNDS if setting.quick else ROUNDS
    with contextlib.ExitStack() as stack:
        stack.enter_context(port_security(lab, "off"))
        ends = {
            "pods": stack.enter_context(_pods(lab)),
            "nodes": [End(f"/run/netns/{node.netns}", node.address) for node in nodes],
            "bridge": stack.enter_context(routed(nodes)),
            "vxlan": stack.enter_context(tunnelled(nodes)),
        }
        ways = {name: stack.enter_context(Way(near, far).served()) for name, (near, far) in ends.items()}
        for number in range(rounds):
            for name in setting.dice.sample(sorted(ways), len(ways)):
                ways[name].send(*(["--reverse"] if number % 2 else []))
                if number % 2 == 0:
                    ways[name].play()
            if number % 10 == 9:
                setting.tell(f"datapath: round {number + 1} of {rounds}")
        nics = ", ".join(str(len(agent.ask(node, "pool"))) for node in nodes)
    raw = {f"{what} {name}": getattr(way, what) for name, way in ways.items() for what in ("rates", "trips")}
    return Measured(tuple(_figures(ways)), raw, f"{nics} on the nodes", {"rates": "Gbit/s", "trips": "µs"})


def _figures(ways: t.Mapping[str, Way]) -> t.Iterator[Figure]:
    ours = ways["pods"]
    for name, suffix in (("nodes", ""), ("bridge", "-bridge"), ("vxlan", "-vxlan")):
        theirs = ways[name]
        yield _paired(
            f"throughput{suffix}", [[rate] for rate in ours.rates], [[rate] for rate in theirs.rates], "Gbit/s"
        )
        yield _paired(f"latency{suffix}", ours.trips, theirs.trips, "µs")


def _paired(name: str, ours: t.Sequence[list[float]], theirs: t.Sequence[list[float]], unit: str) -> Figure:
    """Of the samples of each round."""
    ratios = [statistics.median(one) / statistics.median(other) for one, other in zip(ours, theirs)]
    spreads = [Spread.of(sum(rounds, []), unit) for rounds in (ours, theirs)]
    return Figure(name, statistics.median(ratios), len(sum(ours, [])), *spreads)


@contextlib.contextmanager
def _pods(lab: Lab) -> t.Iterator[list[End]]:
    """By the installed qingcni, both in the first of the pods' vxnets."""
    with contextlib.ExitStack() as undo:
        ends = []
        for node in lab.nodes[:2]:
            sandbox = Sandbox(node, "bench")
            undo.callback(sandbox.close)
            sandbox.call_del()  # what a killed run has left
            result = sandbox.add(vxnet=lab.vxnets[0].vxnet_id)
            ends.append(End(str(node.path(sandbox.netns)), result["ips"][0]["address"].partition("/")[0]))
        yield ends


def _inside(end: End, argv: t.Sequence[str]) -> list[str]:
    return ["nsenter", f"--net={end.netns}", "--", *argv]


@contextlib.contextmanager
def _running(argv: t.Sequence[str], word: str) -> t.Iterator[None]:
    """A server, once it has said that it is one."""
    with tempfile.NamedTemporaryFile() as said, subprocess.Popen(argv, stdout=said, stderr=said) as process:
        try:
            until(lambda: word in Path(said.name).read_text(), 10, f"start of {argv[3]}")
            yield
        finally:
            process.terminate()
