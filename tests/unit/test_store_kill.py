# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at random moments: what was written stays, and no half of a transaction is ever seen."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hostnic.states import State
from hostnic.store.sqlite import SqliteStore

ROUNDS = 20
# Counts on from what it finds; a number goes to stdout once its transaction is done.
PROGRAM = """
import os, sys
sys.path[:0] = sys.argv[2:]
from hostnic.model import Fact, Lease, Nic
from hostnic.states import State
from hostnic.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
number = int(next((fact.value for fact in store.load().facts if fact.name == "left"), "0"))
while True:
    number += 1
    nic, lease = f"52:54:00:00:00:{number % 50:02x}", Lease("net", f"c{number % 50}", "eth0", "m", float(number))
    held = number // 50 % 2 == 0
    store.write(
        put=[
            Fact("left", str(number)),
            Nic(nic, "vxnet-a" * 20, "", State.IN_USE if held else State.READY, float(number)),
            *([lease] if held else []),
            Fact("right", str(number)),
        ],
        drop=[] if held else [lease],
        durable=number % 7 == 0,
    )
    os.write(1, b"%d\\n" % number)
"""


def last_line(lines: bytes) -> int:
    """Of those that are complete."""
    return int(lines[: lines.rindex(b"\n")].rpartition(b"\n")[2])


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    statedir = tmp_path / "state"
    done = 0
    for __ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM, str(statedir), *sys.path], stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            said = child.stdout.readline()
            time.sleep(dice.uniform(0, 0.04))
            child.kill()
            said += child.stdout.read()
        assert child.returncode == -signal.SIGKILL
        told, done = last_line(said), check(statedir)
        assert told <= done <= told + 1
    assert done > ROUNDS * 10


def check(statedir: Path) -> int:
    """How far the writer came. The file is whole as it lies there, and for the next one who opens it."""
    with contextlib.closing(sqlite3.connect(f"file:{statedir / 'state.db'}?mode=ro", uri=True)) as link:
        assert link.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    store = SqliteStore(statedir)
    journal = store.load()
    store.close()
    assert store.kept_as is None
    facts = {fact.name: int(fact.value) for fact in journal.facts}
    assert facts["left"] == facts["right"]
    assert facts["left"] == max(nic.since for nic in journal.nics)
    leases = {lease.container_id: lease.since for lease in journal.leases}
    held = {f"c{int(nic.nic_id[-2:], 16)}": nic.since for nic in journal.nics if nic.state is State.IN_USE}
    assert leases == held
    return facts["left"]
