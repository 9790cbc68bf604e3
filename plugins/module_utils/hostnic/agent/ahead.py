# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that are here before qingcni is: its launcher writes an ADD or a DEL down, and then the interpreter starts.

What is written lies in `ahead` of the run directory, under the call's id. It is carried out at once; qingcni, which
comes with the same id and the netns' descriptor, gets the answer. The file is open as long as the caller's process
lives: its end is the caller's. Whatever cannot go ahead is left to qingcni's own request. See docs/wire.md.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import threading
import time
import typing as t
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .. import afterwards, wire
from ..cni import netns
from ..cni.ports import Cancelled
from ..cni.spec import CniError
from ..ports import Clock
from .door import Handler
from .inotify import CLOSED_BY_WRITER, OVER, WRITTEN, Inotify
from .lanes import Lane

log = logging.getLogger("hostnic.server")

DIRECTORY: t.Final = "ahead"  # in the run directory
# Seconds that a call may take: as long as qingcni gives it.
PATIENCE: t.Final = {"ADD": 88.0, "DEL": 28.0}
_VARIABLES: t.Final = ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH")
_ID: t.Final = re.compile(r"[0-9]+-[0-9]+\.[0-9]+")
# Whose turn does not come here has it with qingcni's own request.
_AT_ONCE: t.Final = 8
_LARGEST: t.Final = 256 << 10  # bytes: whatever qingcni could not send on, may not go ahead either
# A thread that is woken by the launcher may have to wait, up to a tick of the clock, until that lets its processor go:
# so two are woken, each of which keeps to one half of the processors.
_WATCHERS: t.Final = 2
_UNDO_TIME: t.Final = 5.0  # seconds for cancelled calls to undo what they began, when the agent stops


@dataclass(eq=False)
class _Call:
    """`joined`: whether qingcni, which has come for the answer, is gone. `answer` stands once `ended` is set.

    What has begun closes its descriptor by itself.
    """

    request: wire.Request
    descriptor: int
    identity: netns.Identity
    begun: bool = False
    gone: bool = False
    joined: t.Optional[Cancelled] = None
    answer: t.Optional[wire.Answer] = None
    ended: threading.Event = field(default_factory=threading.Event)

    def give_up(self) -> None:
        """Under the lock: it is cancelled, or will not begin."""
        if not (self.begun or self.gone):
            os.close(self.descriptor)  # while it waits for its turn, it must not keep a dead pod's netns
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone or (self.joined is not None and self.joined())


class Ahead:
    """`handle` is for the socket's door: as `carry_out`, but for what went ahead.

    `ours`: the network namespaces that are no pod's. `poke`: have whoever waits look at its `cancelled`. `leave` lets a
    caller end that has its answer, before what could wait is done.
    """

    def __init__(
        self,
        rundir: str,
        carry_out: Handler,
        ours: t.Callable[[], t.Collection[netns.Identity]],
        poke: t.Callable[[], None],
        leave: t.Callable[[], None],
        clock: Clock = wire.boottime,
    ) -> None:
        self._directory = str(Path(rundir) / DIRECTORY)
        self._carry_out = carry_out
        self._ours = ours
        self._poke = poke
        self._leave = leave
        self._clock = clock
        self._lanes: list[Lane] = []
        self._watches: list[Inotify] = []
        self._threads: list[threading.Thread] = []
        # shared, under the lock
        self._changed = threading.Condition()
        self._calls: dict[str, _Call] = {}  # whose qingcni has not come yet
        self._running: set[_Call] = set()
        self._closing = False
        self._give_up_by = 0.0

    def start(self) -> None:
        """Calls go ahead from now on; where the system does not let them, qingcni brings them, and the log says why."""
        self._clear()  # of an agent that was killed: whoever wrote that asks by itself
        try:
            Path(self._directory).mkdir(mode=0o700)
            for __ in range(_WATCHERS):
                self._watches.append(Inotify(self._directory, WRITTEN | CLOSED_BY_WRITER))
        except OSError as error:
            log.warning("calls cannot go ahead of qingcni, so pods start slower: %s", error)
            self._drop()
            return
        processors = sorted(os.sched_getaffinity(0))
        for place, watch in enumerate(self._watches):
            lane = Lane("ahead", _AT_ONCE, _AT_ONCE)  # its threads keep to where they are started from
            self._lanes.append(lane)
            args = (watch, lane, processors[place::_WATCHERS] or processors)
            self._threads.append(threading.Thread(target=self._watch, args=args, name=f"ahead-{place}", daemon=True))
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        """False after a defect."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """No call goes ahead any more; what nobody has come for is cancelled, and qingcni's own request counts."""
        self._closing = True
        self._give_up_by = time.monotonic() + _UNDO_TIME
        for watch in self._watches:
            watch.end()
        for thread in self._threads:
            thread.join()
        self._drop()
        with self._changed:
            while self._calls:
                self._calls.popitem()[1].give_up()
        for lane in self._lanes:
            lane.close()
        self._poke()

    def stop(self) -> None:
        """After `close`: wait for what was cancelled to be undone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running, max(0.0, self._give_up_by - time.monotonic()))

    def handle(self, request: wire.Request, descriptor: t.Optional[int], cancelled: Cancelled) -> wire.Answer:
        """The answer of the call of this id that went ahead, once it is there; else carried out now."""
        call = self._claimed(request.request_id)
        answer = self._outcome(call, descriptor, cancelled) if call else None
        return answer or self._carry_out(request, descriptor, cancelled)

    def _claimed(self, name: str) -> t.Optional[_Call]:
        """What goes ahead under this id; None where nothing has begun, and nothing will."""
        if not _ID.fullmatch(name):
            return None
        with self._changed:
            call = self._calls.pop(name, None)
            if call is None:
                self._remove(name)
            elif call.begun:
                return call
            else:
                call.give_up()
        return None

    def _outcome(self, call: _Call, descriptor: t.Optional[int], cancelled: Cancelled) -> t.Optional[wire.Answer]:
        """None where the path led to another netns than qingcni's descriptor: what went ahead is cancelled."""
        same = descriptor is not None and netns.identity(descriptor) == call.identity
        if same:
            call.joined = cancelled
            if cancelled():  # before anybody could see it by this call
                self._poke()
        else:
            log.warning("%s: CNI_NETNS is another one for qingcni: begun anew", call.request.request_id)
            call.gone = True  # it has begun
            self._poke()
        call.ended.wait()
        return call.answer if same else None

    # -- the threads that watch ---------------------------------------------------------------------------------------

    def _watch(self, inotify: Inotify, lane: Lane, processors: t.Sequence[int]) -> None:
        with contextlib.suppress(OSError):  # taken offline, or from this service
            os.sched_setaffinity(0, processors)
        while True:
            events = inotify.read()
            if self._closing:  # where events have been lost, the last one may be among them
                return
            ended = {name for what, name in events if what & CLOSED_BY_WRITER}
            for what, name in events:
                if what & OVER:
                    return
                if what & CLOSED_BY_WRITER:
                    self._ended(name)
                elif name not in ended:
                    try:
                        self._arrived(name, lane)
                    except Exception:  # no caller's file may end this thread
                        log.exception("a defect in what goes ahead")

    def _arrived(self, name: str, lane: Lane) -> None:
        """Have it carried out, unless somebody has done so by now or nobody can."""
        with contextlib.ExitStack() as undo:
            try:
                request = self._read(name)
                if request is None:
                    return
                descriptor = netns.opened(request.env.get("CNI_NETNS", ""), f"/proc/{name.partition('-')[0]}/root")
                undo.callback(os.close, descriptor)
                netns.inode(descriptor, self._ours())
            except (OSError, CniError) as error:
                if not isinstance(error, FileNotFoundError):  # for each call, one of the threads is late
                    log.debug("%s does not go ahead: %s", ascii(name), error)
                return
            call = _Call(request, descriptor, netns.identity(descriptor))
            with self._changed:
                if not self._remove(name):
                    return
                self._calls[name] = call
            undo.pop_all()
            if not lane.put(partial(self._serve, call)):
                with self._changed:
                    self._calls.pop(name, None)
                    call.give_up()

    def _ended(self, name: str) -> None:
        """The caller's process: nobody will come for the answer."""
        with self._changed:
            call = self._calls.pop(name, None)
            if call is None:
                self._remove(name)
                return
            call.give_up()
        self._poke()

    def _read(self, name: str) -> t.Optional[wire.Request]:
        """None where it is no call, or not yet written in full. Raises OSError."""
        if not _ID.fullmatch(name):
            return None
        file = os.open(f"{self._directory}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            size = os.fstat(file).st_size
            text = os.read(file, size).decode("utf-8", "surrogateescape") if size <= _LARGEST else ""
        finally:
            os.close(file)
        *values, __ = text.split("\0")
        if len(values) != len(_VARIABLES) + 1 or values[0] not in PATIENCE:
            return None
        env = {f"CNI_{variable}": value for variable, value in zip(_VARIABLES, values) if value}
        now = self._clock()
        return wire.Request(wire.CNI, name, now + PATIENCE[values[0]], now, env, values[-1])

    def _remove(self, name: str) -> bool:
        """Whether the file was there."""
        try:
            os.unlink(f"{self._directory}/{name}")  # noqa: PTH108 (for each call)
        except OSError:
            return False
        return True

    def _drop(self) -> None:
        self._clear()
        while self._watches:
            self._watches.pop().close()

    def _clear(self) -> None:
        """At once, whoever writes into it just now."""
        aside = f"{self._directory}.old"
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path(self._directory).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    # -- workers' threads ---------------------------------------------------------------------------------------------

    def _serve(self, call: _Call) -> None:
        with self._changed:
            if call.gone:
                return
            call.begun = True
            self._running.add(call)
        try:
            with afterwards.gathered():
                call.answer = self._carry_out(call.request, call.descriptor, call.cancelled)
                call.ended.set()
                self._leave()
        finally:
            call.ended.set()
            os.close(call.descriptor)
            with self._changed:
                self._running.discard(call)
                self._changed.notify_all()
