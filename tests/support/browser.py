# SPDX-License-Identifier: GPL-3.0-or-later
"""Chromium without a window, spoken to by the DevTools protocol through a pair of pipes: no port, no library."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
import typing as t
from pathlib import Path

PROGRAMS: t.Final = ("chromium-headless-shell", "chromium")
HEIGHT: t.Final = 1000
_PATIENCE: t.Final = 60.0  # s for an answer
_READS, _WRITES = 3, 4  # descriptors of the browser's side

Event = dict[str, t.Any]


class BrowserError(Exception):
    """It refused, or did not answer."""


class Browser:
    """One page at a time. `directory`: for its profile."""

    def __init__(self, directory: Path) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise BrowserError(f"none of {', '.join(PROGRAMS)} is installed: run tests/setup.sh")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # dup2 onto 3 and 4 in a shell, since either may be one of the descriptors that are given
        shell = f'exec "$@" {_READS}<&{theirs_in} {_WRITES}>&{theirs_out}'
        words = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions",
            "--disable-crash-reporter", "--disable-breakpad", "--font-render-hinting=none",
            "--force-device-scale-factor=1", f"--user-data-dir={directory}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", shell, "browser", *words],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""
        self.events: list[Event] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """And all of its processes."""
        os.close(self._out)
        os.close(self._in)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *__: object) -> None:
        self.close()

    # -- the protocol --

    def send(self, method: str, **params: t.Any) -> dict[str, t.Any]:
        """The answer; what comes before it is kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + _PATIENCE
        while True:
            answer = self._next(until, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self.events.append(answer)

    def wait(self, method: str) -> Event:
        """Until such an event has come since `events` was emptied."""
        until = time.monotonic() + _PATIENCE
        while True:
            for event in self.events:
                if event.get("method") == method:
                    return event
            self.events.append(self._next(until, method))

    def _next(self, until: float, what: str) -> Event:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], max(0.0, until - time.monotonic()))[0]:
                raise BrowserError(f"no answer to {what} within {_PATIENCE:g} s")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise BrowserError(f"the browser has ended before it answered {what}")
            self._buffer += data
        message, __, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    # -- a page --

    def open(self, path: Path, width: int = 1280, dark: bool = False, media: str = "screen") -> None:
        """A file of this machine, wholly loaded. `events` begin with it."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        self.look(dark, media)
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        self.wait("Page.loadEventFired")

    def look(self, dark: bool, media: str = "screen") -> None:
        """As for a reader who likes it dark, or for a printer."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def width(self, pixels: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=pixels, height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> t.Any:
        """The value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Of what is in view."""
        answer = self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(
            self.send("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
        )

    def tree(self) -> list[tuple[str, str]]:
        """What a screen reader is told: role and name of everything that has any."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        told = [
            (n.get("role", {}).get("value", ""), n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]
        ]
        return [(str(role), str(name)) for role, name in told]
