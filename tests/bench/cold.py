# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs a second from an empty pool: 1, 10 and 60 of them, beside one create and one attach at a time, as the original.

Ours: the agent's loop, engine, plan, limiter and client against the emulator over HTTP, all by the machine's own clock,
with the journal on disk at its shipped level; from the making of the engine until so many NICs are ready. Theirs: see
`onebyone`, in a time that counts no processor, which is in its favour. The same on both sides: the emulator with its
jobs of 3.5 s (any number side by side), a round trip of 0.1 s for each call, the client and its rate of 5 calls a
second. Settings are the shipped ones, but for `pool-low` and `pool-high`, which say how many NICs are wanted.

Not shown: what the kernel takes to bring up links (they are in memory on both sides), and clouds that run one job at a
time.
"""

from __future__ import annotations

import tempfile
import threading
import time
import typing as t
from pathlib import Path

from hostnic import wire
from hostnic.agent import loops
from hostnic.cloud.build import connect
from hostnic.config import Settings
from hostnic.engine import Engine
from hostnic.states import State
from hostnic.store.sqlite import SqliteStore
from tests.bench import onebyone
from tests.bench.account import HOSTS, ROUND_TRIP, ZONE, world_of, write_access
from tests.bench.figures import Figure, Measured, Setting, Spread
from tests.emulator import Emulator
from tests.emulator import Settings as CloudSettings
from tests.support.memory_kernel import MemoryKernel, SilentGuard

SIZES: t.Final = (1, 10, 60)
REPEATS: t.Final = 2
INSTANCE: t.Final = "i-cold0001"
PODS: t.Final = "vxnet-pods0001"
PATIENCE: t.Final = 60.0  # s
_NETWORKS: t.Final = {HOSTS: "172.16.0.0/24", PODS: "172.16.1.0/24"}
_WORLD: t.Final = world_of(_NETWORKS, [INSTANCE])


def measure(setting: Setting) -> Measured:
    takes: dict[int, list[float]] = {size: [] for size in SIZES}
    calls: dict[int, list[int]] = {size: [] for size in SIZES}
    for __ in range(1 if setting.quick else REPEATS):
        for size in setting.dice.sample(SIZES, len(SIZES)):
            with tempfile.TemporaryDirectory() as scratch:
                seconds, sent = fill(Path(scratch), size)
            takes[size].append(seconds)
            calls[size].append(sent)
            setting.tell(f"cold: {size} NICs ready after {seconds:.2f} s, {sent} calls")
    with tempfile.TemporaryDirectory() as scratch:
        one_by_one = onebyone.make(Path(scratch), max(SIZES)).moments
    figures = []
    for size, ours in takes.items():
        rates, theirs = [size / seconds for seconds in ours], size / one_by_one[size - 1]
        spread, other = Spread.of(rates, "NICs/s"), Spread.of([theirs], "NICs/s")
        figures.append(Figure(f"cold-{size}", spread.p50 / theirs, len(ours), spread, other))
    raw = {
        "ours_seconds": {str(size): [round(one, 3) for one in found] for size, found in takes.items()},
        "ours_calls": {str(size): found for size, found in calls.items()},
        "one_by_one_seconds": [round(one, 2) for one in one_by_one],
    }
    return Measured(tuple(figures), raw, ", ".join(map(str, SIZES)), {"round_trip": ROUND_TRIP})


def fill(directory: Path, size: int) -> tuple[float, int]:
    """Seconds until so many are ready, and calls sent by then. Raises `TimeoutError`."""
    kernel = MemoryKernel(INSTANCE)
    slow = CloudSettings().changed({"api_latency": ROUND_TRIP})
    with Emulator(slow, world=_WORLD, dataplane=kernel, seed=size) as emulator:
        host, __, port = emulator.url.rpartition("/")[2].partition(":")
        access = write_access(directory, host, int(port))
        settings = Settings(
            zone=ZONE, access_file=str(access), vxnet=(PODS,), pool_low=size, pool_high=size, statedir=str(directory)
        )  # fmt: skip
        sent: list[str] = []
        began = time.monotonic()
        cloud = connect(settings, observe=lambda action, *__: sent.append(action))
        engine = Engine(
            settings, INSTANCE, "boot", cloud, kernel, SilentGuard(), SqliteStore(str(directory)), wire.boottime
        )
        with _Running(engine, kernel):
            table = engine.table
            with table.changed:
                table.changed.wait_for(lambda: len(table.nics(State.READY)) >= size, timeout=PATIENCE)
                ready = len(table.nics(State.READY))
            took = time.monotonic() - began
        engine.close()
    if ready < size:
        raise TimeoutError(f"{ready} of {size} NICs are ready after {PATIENCE:.0f} s")
    return took, len(sent)


class _Running:
    """The agent's reconciler, and its monitor of links."""

    def __init__(self, engine: Engine, kernel: MemoryKernel) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._link = threading.Event()
        self._on_link = loops.follow_links(engine)
        kernel.on_change = self._link.set
        nothing = lambda: None  # noqa: E731
        self._threads = [
            threading.Thread(target=loops.reconcile, args=(engine, nothing, self._stop)),
            threading.Thread(target=self._follow),
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._link.set()
        self._engine.wake.set()
        for thread in self._threads:
            thread.join()

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._link.wait()
            self._link.clear()
            self._on_link(None)
