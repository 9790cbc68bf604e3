# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads of which one runs at a time and which change places only where they are told to: the same run every time."""

from __future__ import annotations

import threading
import typing as t

FOREVER: t.Final = 1 << 30

_here = threading.local()


class Killed(BaseException):
    """The process that does this is gone: nothing of it may have an effect from now on."""


class Blocked(Exception):
    """Whoever must not wait has begun to."""


class Fiber:
    """`resume` lets it pass so many points, or run to its end; it stops earlier where it waits for something."""

    def __init__(self, name: str, work: t.Callable[[], None]) -> None:
        self.name = name
        self.finished = False
        self.waiting = False  # in a condition
        self.notified = False
        self.wakes_at: t.Optional[float] = None
        self._work = work
        self._error: t.Optional[BaseException] = None
        self._points = 0
        self._started = False
        self._injected: t.Optional[BaseException] = None
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @staticmethod
    def current() -> t.Optional[Fiber]:
        """None in the main thread."""
        return getattr(_here, "fiber", None)

    @staticmethod
    def point() -> None:
        """Here somebody else may have a turn."""
        fiber = Fiber.current()
        if fiber is not None:
            fiber._points -= 1
            if fiber._points < 0:
                fiber._stop()

    def resume(self, points: int = FOREVER, error: t.Optional[BaseException] = None) -> None:
        """Run it up to its next stop; `error` is raised where it stands. What it dies of is raised here."""
        if self.finished:
            return
        self._points, self._injected = points, error
        if self._started:
            self._go.release()
        else:
            self._started = True
            self._thread.start()
        self._back.acquire()
        if self.finished:
            self._thread.join()
            if self._error is not None:
                raise self._error

    def wait(self, until: t.Optional[float]) -> None:
        """Called by itself: stop until somebody finds that it is time."""
        self.waiting, self.notified, self.wakes_at = True, False, until
        try:
            self._stop()
        finally:
            self.waiting = False

    def _stop(self) -> None:
        self._back.release()
        self._go.acquire()
        error, self._injected = self._injected, None
        if error is not None:
            raise error

    def _run(self) -> None:
        _here.fiber = self
        try:
            if self._injected is not None:
                raise self._injected
            self._work()
        except BaseException as error:
            self._error = error
        finally:
            self.finished = True
            self._back.release()


class CoopLock:
    """A re-entrant lock among fibers and the main thread; who finds it taken lets its holder get on."""

    def __init__(self) -> None:
        self._owner: object = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = Fiber.current() or _here
        while self._count and self._owner is not me:
            if not blocking:
                return False
            if not isinstance(self._owner, Fiber):
                raise Blocked("a fiber waits for a lock that the main thread holds")
            self._owner.resume(0)
        self._owner = me
        self._count += 1
        return True

    def release(self) -> None:
        self._count -= 1

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def held_here(self) -> bool:
        return self._count > 0 and self._owner is (Fiber.current() or _here)

    def let_go(self) -> int:
        count, self._count = self._count, 0
        return count

    def take_back(self, count: int) -> None:
        self.acquire()
        self._count = count


class CoopCondition:
    """`threading.Condition` as far as the pool uses it."""

    def __init__(self, lock: CoopLock, clock: t.Callable[[], float]) -> None:
        self._lock = lock
        self._clock = clock
        self._waiting: list[Fiber] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def acquire(self) -> bool:
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def wait(self, timeout: t.Optional[float] = None) -> bool:
        fiber = Fiber.current()
        if fiber is None:
            raise Blocked("a call whose deadline has come waits all the same")
        count = self._lock.let_go()
        self._waiting.append(fiber)
        try:
            fiber.wait(None if timeout is None else self._clock() + timeout)
        finally:
            self._waiting.remove(fiber)
            self._lock.take_back(count)
        return fiber.notified

    def notify(self, n: int = 1) -> None:
        for fiber in self._waiting[:n]:
            fiber.notified = True

    def notify_all(self) -> None:
        self.notify(len(self._waiting))
