# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives jobs their time: a thread by the machine's clock, or whoever advances a manual one."""

from __future__ import annotations

import logging
import threading
import time

from tests.emulator import jobs
from tests.emulator.cloud import Cloud

_log = logging.getLogger(__name__)


class JobRunner:
    """One at a time runs what is due, so the data plane sees jobs in order."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.exclusive = threading.Lock()
        self._wake = threading.Condition()
        self._poked = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if not self._cloud.clock.manual:
            self._thread = threading.Thread(target=self._loop, name="emulator-jobs", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def poke(self) -> None:
        """Something may have become due, or the time of the next event may have changed."""
        if self._cloud.clock.manual:
            self.run_due()
        with self._wake:
            self._poked = True
            self._wake.notify_all()

    def run_due(self) -> None:
        with self.exclusive:
            while jobs.run_next(self._cloud, self._cloud.clock.now()):
                pass
        with self._cloud.lock:
            jobs.forget_old(self._cloud)
        with self._wake:
            self._wake.notify_all()

    def quiet(self) -> bool:
        with self._cloud.lock:
            live = bool(self._cloud.live_jobs())
        return not live and self._cloud.dataplane.settled()

    def await_quiet(self, timeout: float) -> bool:
        """No job is live and the data plane is settled; False after ``timeout`` seconds of wall time."""
        deadline = time.monotonic() + timeout
        while not self.quiet():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._wake:
                self._wake.wait(min(left, 0.02))  # the data plane settles without a word to this condition
        return True

    def _loop(self) -> None:
        while True:
            with self._cloud.lock:
                event = jobs.next_event(self._cloud)
            with self._wake:
                if self._stopped:
                    return
                if not self._poked:
                    left = None if event is None else event[0] - self._cloud.clock.now()
                    if left is None or left > 0:
                        self._wake.wait(left)
                self._poked = False
            try:
                self.run_due()
            except Exception:
                _log.exception("a job could not be run")
