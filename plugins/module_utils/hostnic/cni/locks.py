# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting that ends at a deadline or when the caller is gone: one at a time per key, a few at a time in order."""

from __future__ import annotations

import collections
import contextlib
import threading
import typing as t

from .. import afterwards
from ..errors import HostnicError, Timeout
from ..ports import Clock
from .ports import Cancelled


class HungUp(HostnicError):
    """Nobody waits for the answer any more."""

    transient = True


def go_on(deadline: float, clock: Clock, cancelled: Cancelled, what: str) -> float:
    """Seconds left; raises `HungUp` or `Timeout`."""
    if cancelled():
        raise HungUp(f"the caller hung up while {what}")
    left = deadline - clock()
    if left <= 0:
        raise Timeout(f"time ran out while {what}")
    return left


class KeyedLocks:
    """A lock per key: two calls for one attachment take turns, others do not wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._held: set[t.Hashable] = set()

    @contextlib.contextmanager
    def hold(self, key: t.Hashable, deadline: float, cancelled: Cancelled) -> t.Iterator[None]:
        """Raises `HungUp` or `Timeout` (at `deadline`, seconds of the clock) instead of waiting on."""
        with self._changed:
            while key in self._held:
                afterwards.now()
                self._changed.wait(go_on(deadline, self._clock, cancelled, f"another call worked on {key}"))
            self._held.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()

    def poke(self) -> None:
        """Have waiters look at `cancelled` again."""
        with self._changed:
            self._changed.notify_all()


class Turnstile:
    """Lets `width` callers in at a time, in the order in which they came."""

    def __init__(self, width: int, clock: Clock) -> None:
        self._clock = clock
        self._free = width
        self._changed = threading.Condition()
        self._queue: collections.deque[object] = collections.deque()

    @contextlib.contextmanager
    def hold(self, deadline: float, cancelled: Cancelled) -> t.Iterator[None]:
        """As `KeyedLocks.hold`."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or not self._free:
                    afterwards.now()
                    self._changed.wait(go_on(deadline, self._clock, cancelled, "other pods' NICs were moved"))
                self._free -= 1
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def poke(self) -> None:
        """Have waiters look at `cancelled` again."""
        with self._changed:
            self._changed.notify_all()
