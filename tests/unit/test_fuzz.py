# SPDX-License-Identifier: GPL-3.0-or-later
"""Twenty thousand bad inputs: an error object with the right code or a closed connection, and nothing else happens.

FUZZ_SEED=n makes others of them, FUZZ_CASE=n one alone; a failure says which it was. Inputs that turn out to be good
are recognised by what they do: it is undone by a DEL, and the pool must be whole then.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import typing as t
from collections import Counter
from pathlib import Path

import pytest

from tests.support.fuzz.case import CLOSED, SUCCESS, Case, Generator
from tests.support.fuzz.configurations import configuration
from tests.support.fuzz.environments import environment
from tests.support.fuzz.messages import message
from tests.support.fuzz.world import World

SEED = int(os.environ.get("FUZZ_SEED", "20170815"))
ONE = os.environ.get("FUZZ_CASE", "")
PAGE = Path(__file__).parents[2] / "docs" / "wire.md"
DEFECT = 102
STALLED_AT_ONCE = 150


def documented() -> set[int]:
    """The codes of docs/wire.md; a defect is none that an input may bring about."""
    section = PAGE.read_text(encoding="utf-8").split("## Error codes")[1]
    return {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)} - {DEFECT}


CODES = documented()


@pytest.fixture
def world(tmp_path: Path) -> t.Iterator[World]:
    with World(tmp_path) as one:
        yield one


def cases(generate: Generator, count: int) -> t.Iterator[tuple[str, Case]]:
    """Each with the words that make it again."""
    for number in [int(ONE)] if ONE else range(count):
        dice = random.Random(f"{SEED}:{generate.__name__}:{number}")
        yield f"FUZZ_SEED={SEED} FUZZ_CASE={number} of {generate.__name__}", generate(dice)


def judge(what: str, case: Case, status: int, stdout: str, world: World) -> int:
    """How it ended; raises AssertionError where it must not end so."""
    end = status
    if status > 0:
        told = json.loads(stdout)
        assert set(told) == {"cniVersion", "code", "msg", "details"}, (what, case, told)
        assert told["msg"], (what, case, told)
        end = told["code"]
        assert end in CODES, (what, case, told)
    assert case.ends is None or end in case.ends, (what, case, end, stdout[:1000])
    if end == SUCCESS:
        world.undo(what)
    world.check(f"{what}: {case}")
    return end


def run(world: World, generate: Generator, count: int) -> Counter[int]:
    """How often they ended how."""
    ended: Counter[int] = Counter()
    stalled: list[tuple[str, Case, socket.socket]] = []
    for what, case in cases(generate, count):
        connection = world.send(case)
        if case.stalls:
            stalled.append((what, case, connection))
        else:
            told = world.receive(connection)
            said = (told, "") if isinstance(told, int) else (told.exit, told.stdout)
            ended[judge(what, case, *said, world)] += 1
        if len(stalled) == STALLED_AT_ONCE:
            ended[CLOSED] += lose_patience(world, stalled)
    ended[CLOSED] += lose_patience(world, stalled)
    world.answers()
    return ended


def lose_patience(world: World, stalled: list[tuple[str, Case, socket.socket]]) -> int:
    """The agent does, with each of these; returns how many there were."""
    count = len(stalled)
    while stalled:
        what, case, connection = stalled.pop()
        told = world.receive(connection)
        assert told == CLOSED, (what, case, told)
    world.check("senders without haste")
    return count


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("generate", "count", "ends"),
    [
        (environment, 9000, {SUCCESS, 4, 7, 11}),
        (configuration, 8000, {SUCCESS, 1, 6, 7, 11}),
        (message, 4000, {SUCCESS, CLOSED, 8, 11, 101, 116}),
    ],
    ids=["environments", "configurations", "messages"],
)
def test_bad_input_over_the_wire(world: World, generate: Generator, count: int, ends: set[int]) -> None:
    world.answers()
    before = descriptors()
    ended = run(world, generate, count)
    print(f"FUZZ_SEED={SEED}: {count} {generate.__name__}s ended with {dict(sorted(ended.items()))}")
    world.server.stop(0.0)
    assert descriptors() <= before
    assert ONE or ends <= set(ended)


def test_bad_input_to_the_executable(world: World) -> None:
    for generate in (environment, configuration):
        for what, case in cases(generate, 250):
            env = {name: value.replace("\0", "") for name, value in case.env.items()}
            changed = env != case.env or env.get("CNI_NETNS") != "/proc/self/ns/net"
            told = world.execute(env, case.stdin)
            judged = Case(None, env, case.stdin) if changed else case
            if not env.get("CNI_COMMAND"):
                assert (told.exit, told.stdout) == (0, b""), what  # who it is, on stderr
            else:
                judge(what, judged, told.exit, told.stdout.decode("utf-8", "surrogateescape"), world)
    world.answers()
