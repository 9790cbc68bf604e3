# SPDX-License-Identifier: GPL-3.0-or-later
"""DELs that qingcni wrote down while no agent answered: carried out late, once, and never against a newer lease."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

from .. import guarded, wire
from ..cni import spec
from ..errors import InvalidConfig
from ..ports import Clock
from .door import Handler

log = logging.getLogger("hostnic.spool")

_TIME_FOR_ONE: t.Final = 30.0
_FIRST_PAUSE: t.Final = 5.0
_LONGEST_PAUSE: t.Final = 300.0
_INTERVAL: t.Final = 2.0  # seconds between looks into an almost always empty directory
# Unfinished files older than this belong to a qingcni that was killed; its DEL failed and the runtime repeats it.
_UNFINISHED_AGE: t.Final = 600.0


class Spool:
    """The spool directory of this node. `carry_out` is the handler of CNI calls; `boot_id` the running system's.

    Not thread-safe: drain at start, then leave it to one thread in `watch`.
    """

    def __init__(self, directory: Path, carry_out: Handler, boot_id: str, clock: Clock = wire.boottime) -> None:
        self._directory = directory
        self._carry_out = carry_out
        self._boot_id = boot_id
        self._clock = clock
        self._retries: dict[str, tuple[float, float]] = {}  # name ► (not before, pause after that)

    def watch(self, stop: threading.Event, interval: float = _INTERVAL) -> None:
        """Drain now and then until told to stop."""
        while not stop.wait(interval):
            try:
                self.drain()
            except Exception:
                log.exception("a defect while draining the spool")

    def drain(self) -> int:
        """Carry out what is there, oldest first; returns how many files are left for later."""
        if not self._sound():
            return 0
        try:
            found = sorted(path for path in self._directory.iterdir() if path.is_symlink() or not path.is_dir())
        except FileNotFoundError:
            return 0
        waiting = [path for path in found if path.suffix == ".json"]
        self._sweep([path for path in found if path.suffix == ".tmp"])
        return len([path for path in waiting if not self._dealt_with(path)])

    def _sound(self) -> bool:
        """What others may have made or written to is out of qingcni's way, who then makes a new one."""
        try:
            guarded.place(self._directory)
        except InvalidConfig as error:
            aside = self._directory.with_name(f"{self._directory.name}.refused-{os.urandom(4).hex()}")
            try:
                self._directory.rename(aside)
            except OSError as failure:
                log.error("%s; DELs are not looked for there: %s", error.message, failure.strerror)
            else:
                log.error("%s; it is kept as %s, and nothing in it is carried out", error.message, aside.name)
            return False
        return True

    def _dealt_with(self, path: Path) -> bool:
        not_before, __ = self._retries.get(path.name, (0.0, 0.0))
        if self._clock() < not_before:
            return False
        try:
            return self._one(path)
        except OSError as error:
            return self._later(path, str(error))

    def _one(self, path: Path) -> bool:
        """Whether this file is dealt with."""
        try:
            request = self._read(path)
        except (wire.WireError, InvalidConfig) as error:
            return self._set_aside(path, str(error))
        if request is None:
            return self._remove(path)
        with _netns(request.env.get("CNI_NETNS", "")) as netns:
            answer = self._carry_out(replace(request, deadline=self._clock() + _TIME_FOR_ONE), netns, lambda: False)
        if answer.exit == 0:
            log.info("%s: a DEL from while the agent was away is done", path.name)
            return self._remove(path)
        error_ = json.loads(answer.stdout)
        if error_["code"] != spec.TRY_AGAIN and error_["code"] < spec.NO_AGENT:  # the request itself is wrong
            return self._set_aside(path, error_["msg"])
        return self._later(path, error_["msg"])

    def _read(self, path: Path) -> t.Optional[wire.Request]:
        """None for one of an earlier boot: whatever its container held went down with that."""
        message = wire.decode_object(guarded.read(path, wire.MAX_BODY + 1))
        request = wire.request_of(message)
        if request.op != wire.CNI or request.verb != "DEL":
            raise wire.WireError("not a DEL")
        boot_id = message.get("boot_id")
        if boot_id and boot_id != self._boot_id:
            log.info("%s: a DEL of an earlier boot is dropped", path.name)
            return None
        return request

    def _sweep(self, unfinished: t.Iterable[Path]) -> None:
        for path in unfinished:
            written, __, __ = path.name.partition("-")
            age = self._clock() - int(written) / 1e9 if written.isdecimal() else _UNFINISHED_AGE
            if not 0 <= age < _UNFINISHED_AGE:
                self._remove(path)

    def _later(self, path: Path, reason: str) -> bool:
        __, pause = self._retries.get(path.name, (0.0, _FIRST_PAUSE))
        self._retries[path.name] = (self._clock() + pause, min(2 * pause, _LONGEST_PAUSE))
        log.warning("%s: %s; next try in %.0f s", path.name, reason, pause)
        return False

    def _remove(self, path: Path) -> bool:
        self._retries.pop(path.name, None)
        path.unlink(missing_ok=True)
        return True

    def _set_aside(self, path: Path, reason: str) -> bool:
        aside = path.with_name(f"{path.name}.damaged")
        log.error("%s is no DEL that can be carried out (%s): set aside as %s", path.name, reason, aside.name)
        self._retries.pop(path.name, None)
        path.rename(aside)
        return True


@contextlib.contextmanager
def _netns(path: str) -> t.Iterator[t.Optional[int]]:
    """The pod's netns where it still stands: then its NIC is fetched from there, else it comes home by itself."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK) if path else None
    except (OSError, ValueError):  # ValueError: what no path can be
        descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
