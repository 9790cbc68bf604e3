# SPDX-License-Identifier: GPL-3.0-or-later
"""Wakes a processor now and then while the kernel moves a link.

A move ends with a grace period of RCU (rcu_barrier), and what that waits for is left with the processor that asked for
the move. Where this one sleeps meanwhile, some ticks of its clock go by unused: one move in five takes 5 to 15 ms
longer than the rest. A thread of the same processor that wakes every 2 ms is enough to keep it from that, see
docs/performance.md. Where it cannot be had, moves take what they take.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import threading
import typing as t

_BEAT: t.Final = 0.002  # s; a tick is 4 ms on most hosts

# keeps the interpreter's lock: a call into libc that gave it away could wait for it longer than it takes
_getcpu: t.Final[t.Callable[[], int]] = ctypes.PyDLL(None).sched_getcpu


class Pulse:
    """Any thread may have it beat; one thread beats for all, where the last one of them has begun."""

    def __init__(self) -> None:
        self._begun: queue.SimpleQueue[t.Optional[int]] = queue.SimpleQueue()  # processors; None: the end
        self._lock = threading.Lock()
        self._moving = 0
        self._thread: t.Optional[threading.Thread] = None

    @contextlib.contextmanager
    def beating(self) -> t.Iterator[None]:
        """Around a message that moves a link."""
        with self._lock:
            self._moving += 1
            self._thread = self._thread or self._started()
        self._begun.put(_getcpu())
        try:
            yield
        finally:
            with self._lock:
                self._moving -= 1

    def close(self) -> None:
        """Ends the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        self._begun.put(None)
        if thread is not None:
            thread.join()

    def _started(self) -> t.Optional[threading.Thread]:
        thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives none: the next move asks again
            return None
        return thread

    def _beat(self) -> None:
        while True:
            try:
                processor = self._begun.get(timeout=_BEAT if self._moving else None)
            except queue.Empty:
                continue
            if processor is None:
                return
            with contextlib.suppress(OSError):  # taken offline, or from this service
                os.sched_setaffinity(0, {processor})
