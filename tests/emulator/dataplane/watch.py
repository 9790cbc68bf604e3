# SPDX-License-Identifier: GPL-3.0-or-later
"""Notices, in the fabric, that links went."""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
import typing as t

from tests.emulator.dataplane import kernel

_RTMGRP_LINK = 1
_RTM_DELLINK = 17
_HEADER = struct.Struct("=IHHII")
_LOOK_ANYWAY_SECONDS = 1.0  # events can be lost when a burst overruns the socket
_log = logging.getLogger(__name__)


class Watcher:
    """Calls ``look`` when a link has gone, in a thread that lives in the fabric.

    Not at every change: a look takes the lock that nodes of the same kernel need to bring their links up.
    """

    def __init__(self, netns: str, look: t.Callable[[], None]) -> None:
        self._netns = netns
        self._look = look
        self._wake_read, self._wake_write = os.pipe()
        self._ready = threading.Event()
        self._failed: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="emulator-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        try:
            kernel.enter(self._netns)
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            events.bind((0, _RTMGRP_LINK))
        except OSError as error:
            self._failed = error
            return
        finally:
            self._ready.set()
        with events:
            events.setblocking(False)
            while True:
                watched = [events.fileno(), self._wake_read]
                readable, __, __ = select.select(watched, [], [], _LOOK_ANYWAY_SECONDS)
                if self._wake_read in readable:
                    return
                if readable and not _went(events):
                    continue
                try:
                    self._look()
                except Exception:
                    _log.exception("a lost link could not be put back")


def link_names() -> set[str]:
    """Of the namespace that the calling thread is in."""
    return {name for __, name in socket.if_nameindex()}


def _went(events: socket.socket) -> bool:
    """Whether any link has, by all that is to be read."""
    went = False
    while True:
        try:
            data = events.recv(65536)
        except BlockingIOError:
            return went
        except OSError:  # overrun: whatever was lost, a look sees
            went = True
            continue
        while len(data) >= _HEADER.size:
            length, kind, *__ = _HEADER.unpack_from(data)
            went = went or kind == _RTM_DELLINK
            data = data[(length + 3) & ~3 :]
