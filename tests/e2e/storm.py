# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node: pods that come and go, each with a netns and processes of its own.

    python3 - crowd COUNT STAYING <this file
    python3 - stream WORKERS FILE <this file
    python3 - row WORKERS COUNT:FILE <this file

A crowd comes at the same moment: every STAYING-th pod stays until all have had their answer; the others go at once. A
stream goes on until FILE appears: each worker starts and ends one pod after the other. A row goes on until COUNT pods
have had their turn as well; a worker's pods have one netns after the other. A pod whose ADD failed gets its
DEL too. Prints a list with one object for each call: `pod verb status seconds stdout`.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

PLUGIN = "/opt/cni/bin/qingcni"
PREFIX = "e2e-storm-"
CONF = b'{"cniVersion": "1.0.0", "name": "storm", "type": "qingcni"}'
LONGEST = 150.0  # s until a call counts as one that never ends
PAUSE = 0.2  # s between two pods of a worker


def netns(word: str, names: list[str]) -> None:
    lines = "".join(f"netns {word} {name}\n" for name in names)
    subprocess.run(["ip", "-force", "-batch", "-"], input=lines.encode(), check=word == "add")


def call(verb: str, name: str, place: str = "") -> dict[str, t.Any]:
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": name, "CNI_NETNS": "/run/netns/" + (place or name),
                   "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
    began = time.monotonic()
    try:
        done = subprocess.run(
            [PLUGIN], env=environment, input=CONF, stdout=subprocess.PIPE, timeout=LONGEST, check=False
        )
        answer = {"status": done.returncode, "stdout": done.stdout.decode()}
    except subprocess.TimeoutExpired:
        answer = {"status": None, "stdout": ""}
    return {"pod": name, "verb": verb, "seconds": time.monotonic() - began, **answer}


class Answered:
    """Whoever waits goes on once every pod has its answer."""

    def __init__(self, pods: int) -> None:
        self._left = pods
        self._changed = threading.Condition()

    def count(self) -> None:
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        self.count()
        with self._changed:
            self._changed.wait_for(lambda: self._left <= 0)


def live(name: str, stays: bool, answered: Answered, calls: list[dict[str, t.Any]]) -> None:
    calls.append(call("ADD", name))
    if stays and calls[-1]["status"] == 0:
        answered.wait()
    else:
        answered.count()
    calls.append(call("DEL", name))


def flow(number: int, stop: Path, calls: list[dict[str, t.Any]]) -> None:
    for count in itertools.count():
        if stop.exists():
            return
        name = f"{PREFIX}{number}-{count}"
        netns("add", [name])
        calls += [call("ADD", name), call("DEL", name)]
        netns("delete", [name])
        time.sleep(PAUSE)


def queue(number: int, numbers: t.Iterator[int], over: t.Callable[[int], bool], calls: list[dict[str, t.Any]]) -> None:
    place = f"{PREFIX}{number}"
    netns("add", [place])
    try:
        for count in numbers:
            if over(count):
                return
            for verb in ("ADD", "DEL"):
                calls.append(call(verb, f"{place}-{count}", place))
    finally:
        netns("delete", [place])


def crowd(count: int, staying: int) -> list[list[dict[str, t.Any]]]:
    names = [PREFIX + str(number) for number in range(count)]
    answered = Answered(count)
    calls: list[list[dict[str, t.Any]]] = [[] for _ in names]
    netns("add", names)
    try:
        together(
            [
                threading.Thread(target=live, args=(name, number % staying == 0, answered, calls[number]))
                for number, name in enumerate(names)
            ]
        )
    finally:
        netns("delete", names)
    return calls


def stream(workers: int, stop: str) -> list[list[dict[str, t.Any]]]:
    calls: list[list[dict[str, t.Any]]] = [[] for _ in range(workers)]
    together([threading.Thread(target=flow, args=(number, Path(stop), calls[number])) for number in range(workers)])
    Path(stop).unlink()
    return calls


def row(workers: int, until: str) -> list[list[dict[str, t.Any]]]:
    count, _, stop = until.partition(":")
    calls: list[list[dict[str, t.Any]]] = [[] for _ in range(workers)]
    numbers = itertools.count()

    def over(number: int) -> bool:
        return number >= int(count) and Path(stop).exists()

    together([threading.Thread(target=queue, args=(one, numbers, over, calls[one])) for one in range(workers)])
    Path(stop).unlink()
    return calls


def together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(how: str, many: str, which: str) -> None:
    if how == "crowd":
        lives = crowd(int(many), int(which))
    elif how == "row":
        lives = row(int(many), which)
    else:
        lives = stream(int(many), which)
    json.dump([one for life in lives for one in life], sys.stdout)


main(*sys.argv[1:])
