# SPDX-License-Identifier: GPL-3.0-or-later
"""Worker threads in lanes: each lane serves first come, first served, and no lane waits for another.

ADDs may wait for a NIC; the DELs that give one back and the questions of people must not queue behind them.
"""

from __future__ import annotations

import collections
import logging
import threading
import typing as t
from types import MappingProxyType

from .. import wire

log = logging.getLogger("hostnic.server")

Task = t.Callable[[], None]

# Threads per lane: as many ADDs may wait as an instance has NICs; moves of links are limited where they happen. STATUS
# and people's questions are answered from memory: nothing slower may be in their way.
LANES: t.Final = MappingProxyType({"take": 64, "give": 8, "look": 4, "collect": 1, "ask": 4})


def lane_of(request: wire.Request) -> str:
    """Which queue a request waits in."""
    if request.op != wire.CNI:
        return "ask"
    return {"ADD": "take", "DEL": "give", "CHECK": "look", "GC": "collect"}.get(request.verb, "ask")


class Lane:
    """At most `size` threads, started when they are needed and kept; at most `room` tasks wait for one."""

    def __init__(self, name: str, size: int, room: int) -> None:
        self._name = name
        self._size = size
        self._room = room
        self._changed = threading.Condition()
        self._queue: collections.deque[Task] = collections.deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._stopped = False

    def put(self, task: Task) -> bool:
        """Run this task in turn; False where the lane is closed or full."""
        with self._changed:
            if self._stopped or len(self._queue) >= self._room:
                return False
            if len(self._queue) >= self._idle and len(self._threads) < self._size and not self._grow():
                return False
            self._queue.append(task)
            self._changed.notify()
            return True

    def close(self) -> None:
        """Forget what waits; what runs goes on."""
        with self._changed:
            self._stopped = True
            self._queue.clear()
            self._changed.notify_all()

    def _grow(self) -> bool:
        """One thread more; False where the system gives none and there is no other."""
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.error("lane %s: %s", self._name, error)
            return bool(self._threads)
        self._threads.append(thread)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._queue and not self._stopped:
                    self._changed.wait()
                self._idle -= 1
                if not self._queue:
                    return
                task = self._queue.popleft()
            try:
                task()
            except Exception:
                log.exception("a defect in lane %s", self._name)
