# SPDX-License-Identifier: GPL-3.0-or-later
"""ADD and DEL on a real node, one at a time, with a warm pool: from exec to exit, through the installed executables.

Paced: each call that counts comes after a pause of 30 to 70 ms, all contenders in one random order. Back to back: ADD,
DEL, ADD, DEL of one contender without a pause, then of the other. Each contender has one pod's namespace, used again
and again; its pods' names are new. Before that each NIC of ours has had a pod, as on a node that has been up for a
while. `floor` is what nobody who moves a NIC can do without and still be Python: the start of a bare interpreter, then
one netlink message that moves and renames a veth, on a socket that is open already. On the way back, which is a DEL's
floor, the veth is up and has an address and a default route. Ours may be quicker: a call goes ahead of its interpreter.

DEL waits for the kernel: after each one of ours and of host-device's, the kernel is asked at once for something that
needs its link lock; where a move were still under way it would have to wait (raw: `held`).

It cannot show what a NIC of real hardware costs: both sides move a veth here.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict
from contextlib import ExitStack

from tests.bench import contenders
from tests.bench.contenders import BARE, FLOOR, HOST_DEVICE, OURS, VERSION, Contender, Places, Remote
from tests.bench.figures import Figure, Measured, Setting, Spread, compared
from tests.e2e.cluster import Cluster

MANY, FEW = 60, 5  # NICs
ROUNDS, QUICK_ROUNDS = 300, 24
PAIRS, QUICK_PAIRS = 120, 20
WARM_UP: t.Final = 3  # rounds that do not count
# Every so many rounds; every round has ours and host-device.
SELDOM: t.Final = {"few": 2, FLOOR: 2, BARE: 2, VERSION: 2, "ptp": 3, "macvlan": 3, "bridge": 3}

Samples = dict[str, list[float]]


class Course:
    """Everybody's turns and what they took, in ms; `held` beside them."""

    def __init__(
        self,
        setting: Setting,
        places: Places,
        few_places: Places,
        many: Remote,
        few: Remote,
        others: Remote,
    ) -> None:
        self._setting = setting
        self._places = places
        self._few_places = few_places
        self._many, self._few, self._others = many, few, others
        self._count = 0
        self.taken: Samples = defaultdict(list)
        self._turns: dict[str, t.Callable[[], None]] = {
            OURS: lambda: self._pair(OURS, self._many, self._places.ours()),
            HOST_DEVICE: lambda: self._pair(HOST_DEVICE, self._others, self._places.host_device()),
            "few": lambda: self._pair("few", self._few, few_places.ours()),
            "ptp": lambda: self._pair("ptp", self._others, self._places.ptp()),
            "macvlan": lambda: self._pair("macvlan", self._others, self._places.macvlan()),
            "bridge": lambda: self._pair("bridge", self._others, self._places.bridge()),
            BARE: lambda: self._single(BARE, self._places.bare()),
            VERSION: lambda: self._single(VERSION, self._places.version()),
            FLOOR: self._floor,
        }

    def use_each(self) -> None:
        """A pod for each NIC: the agent writes a NIC's messages to the kernel once."""
        sides = [(self._many, self._places, MANY), (self._few, self._few_places, FEW)]
        for remote, places, nics in sides:
            for __ in range(nics):
                container, pod = self._next(), places.pods()[0]
                remote.row(*(places.ours().step(verb, container, pod) for verb in ("ADD", "DEL")))

    def paced(self, rounds: int) -> None:
        for number in range(-WARM_UP, rounds):
            if number == 0:
                self.taken.clear()
            turns = [name for name in self._turns if number % SELDOM.get(name, 1) == 0]
            self._setting.dice.shuffle(turns)
            for name in turns:
                self._turns[name]()
            if number and number % 50 == 0:
                self._setting.tell(f"paced: {number} of {rounds} rounds")

    def back_to_back(self, pairs: int) -> None:
        sides = [(OURS, self._many, self._places.ours()), (HOST_DEVICE, self._others, self._places.host_device())]
        for number in range(-WARM_UP, pairs):
            self._setting.dice.shuffle(sides)
            for name, remote, contender in sides:
                container, pod = self._next(), self._pod(name)
                steps = [contender.step(verb, container, pod) for verb in ("ADD", "DEL")]
                for verb, done in zip(("add", "del"), remote.row(*steps)):
                    if number >= 0:
                        self._take(f"{name} {verb}, back to back", done["seconds"])

    def _pair(self, name: str, remote: Remote, contender: Contender) -> None:
        """ADD and DEL of one pod; each after a pause."""
        container, pod = self._next(), self._pod(name)
        add = contender.step("ADD", container, pod, pause=self._pause())
        undo = contender.step("DEL", container, pod, pause=self._pause(), look=f"/run/netns/{pod}")
        added, deleted = remote.row(add, undo)
        self._take(f"{name} add", added["seconds"])
        self._take(f"{name} del", deleted["seconds"])
        self._take(f"{name} held", deleted["held"])

    def _single(self, name: str, step: t.Mapping[str, t.Any]) -> None:
        (done,) = self._many.row({**step, "pause": self._pause()})
        self._take(name, done["seconds"])

    def _floor(self) -> None:
        pod = self._pod(FLOOR)
        both = {**self._places.bare(), **self._places.move(pod), "pause": self._pause()}
        back = {**self._places.bare(), **self._places.move(pod, back=True), "pause": self._pause()}
        moved, *__, returned = (done["seconds"] for done in self._many.row(both, *self._places.dressed(pod), back))
        self._take(f"{FLOOR} add", moved)
        self._take(f"{FLOOR} del", returned)

    def _take(self, name: str, seconds: float) -> None:
        self.taken[name].append(round(seconds * 1000, 3))

    def _pause(self) -> float:
        return self._setting.dice.uniform(*contenders.PAUSE)

    def _next(self) -> str:
        self._count += 1
        return f"bench-{self._count}"

    def _pod(self, name: str) -> str:
        """One for each contender."""
        return self._places.pods()[0 if name == "few" else list(self._turns).index(name)]


def measure(setting: Setting) -> Measured:
    cluster = Cluster(setting.lab())
    many, few = cluster.nodes[:2]
    setting.tell(f"{MANY} NICs on {many.name}, {FEW} on {few.name}")
    with ExitStack() as stack:
        stack.enter_context(contenders.warm(cluster, {many.name: MANY, few.name: FEW}))
        places = stack.enter_context(Places(many, devices=1, pods=len(SELDOM) + 2))
        few_places = stack.enter_context(Places(few))
        remotes = [stack.enter_context(Remote(*where)) for where in ((many,), (few,), (many, contenders.HOST))]
        course = Course(setting, places, few_places, *remotes)
        course.use_each()
        course.paced(QUICK_ROUNDS if setting.quick else ROUNDS)
        course.back_to_back(QUICK_PAIRS if setting.quick else PAIRS)
    taken = course.taken
    return Measured(tuple(_figures(taken)), {"unit": "ms", "samples": dict(taken)}, f"{MANY} and {FEW}")


def _figures(taken: t.Mapping[str, list[float]]) -> t.Iterator[Figure]:
    ours = taken["qingcni add"]
    yield compared("process", taken[VERSION], taken[BARE], "ms")
    for percentile in ("p50", "p95", "p99"):
        yield compared(f"add-{percentile}", ours, taken["host-device add"], "ms", percentile)
    for other in ("ptp", "macvlan", "bridge"):
        yield compared(f"add-{other}", ours, taken[f"{other} add"], "ms")
    yield compared("add-floor", ours, taken[f"{FLOOR} add"], "ms")
    yield compared("del-p50", taken["qingcni del"], taken["host-device del"], "ms")
    yield compared("del-floor", taken["qingcni del"], taken[f"{FLOOR} del"], "ms")
    yield _sums(taken)
    yield compared("add-60", ours, taken["few add"], "ms")


def _sums(taken: t.Mapping[str, list[float]]) -> Figure:
    """The ratio of ADD's and DEL's medians, added up; the spreads are those of the pairs."""
    medians, spreads = [], []
    for name in (OURS, HOST_DEVICE):
        adds, dels = (taken[f"{name} {verb}, back to back"] for verb in ("add", "del"))
        medians.append(Spread.of(adds, "ms").p50 + Spread.of(dels, "ms").p50)
        spreads.append(Spread.of([add + other for add, other in zip(adds, dels)], "ms"))
    return Figure("back-to-back", medians[0] / medians[1], len(adds), *spreads)
