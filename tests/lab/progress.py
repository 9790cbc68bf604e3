# SPDX-License-Identifier: GPL-3.0-or-later
"""One line a step with its seconds; on a terminal the line lives while the step runs."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
import typing as t

Report = t.Callable[[str], None]


class Progress:
    def __init__(self, stream: t.TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()

    @contextlib.contextmanager
    def step(self, title: str) -> t.Iterator[Report]:
        """Yield a function that says what the step is at, shown on a terminal only."""
        started = time.monotonic()
        detail = [""]
        over = threading.Event()
        if self._live:
            ticker = threading.Thread(target=self._tick, args=(title, detail, started, over), daemon=True)
            ticker.start()
        else:
            self._write(f"{title:<42} ")
        outcome = "failed"
        try:
            yield lambda text: detail.__setitem__(0, text)
            outcome = "ok"
        finally:
            over.set()
            ended = f"{time.monotonic() - started:7.1f} s{'' if outcome == 'ok' else '  ' + outcome}\n"
            if self._live:
                ticker.join()
                self._write(f"\r\033[K{title:<42} {ended}")
            else:
                self._write(ended)

    @contextlib.contextmanager
    def section(self, title: str) -> t.Iterator[None]:
        """A step whose own output is shown between a head line and an end line."""
        started = time.monotonic()
        self.line(title)
        yield
        self.line(f"{title:<42} {time.monotonic() - started:7.1f} s")

    def line(self, text: str) -> None:
        self._write(f"{text}\n")

    def _tick(self, title: str, detail: list[str], started: float, over: threading.Event) -> None:
        while not over.wait(0.2):
            width = shutil.get_terminal_size().columns - 1
            text = f"{title:<42} {time.monotonic() - started:7.1f} s  {detail[0]}"
            self._write(f"\r\033[K{text[:width]}")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
