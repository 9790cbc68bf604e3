# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells when links of the host's namespace come, go or change: how a hot-plugged NIC is noticed."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import threading
import typing as t

from . import netns
from .devices import RTM_DELLINK, RTM_NEWLINK, parse
from .netlink import messages

log = logging.getLogger("hostnic.net")

_RTMGRP_LINK: t.Final = 1
# a burst of 60 NICs is some 200 events of 1.5 KiB; the kernel's default holds about 100
_BUFFER: t.Final = 1 << 20
_SO_RCVBUFFORCE: t.Final = 33

# The NIC's MAC, or None: "something has changed, look at everything".
Callback = t.Callable[[t.Optional[str]], None]


class LinkMonitor:
    """Calls back from its own thread, for each event, between `start` and `stop`; events are not deduplicated.

    When the kernel had to drop events, one call with None stands for them.
    """

    def __init__(self, callback: Callback, host: str = netns.HOST) -> None:
        self._callback = callback
        self._host = host
        self._thread: t.Optional[threading.Thread] = None
        self._stop_fd = -1

    def start(self) -> None:
        """Once this has returned, no event is missed. `LinkFailed` where the kernel gives no socket."""
        if self._thread is not None:
            return
        listener = netns.once(self._host, _subscribed)
        stop_reader, self._stop_fd = os.pipe()
        self._thread = threading.Thread(
            target=self._run, args=(listener, stop_reader), name="link-monitor", daemon=True
        )
        self._thread.start()

    def alive(self) -> bool:
        """Whether events are still heard."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Returns when the last callback has. Not to be called from the callback."""
        thread, self._thread = self._thread, None
        if thread is not None:
            os.close(self._stop_fd)
            thread.join()

    def _run(self, listener: socket.socket, stop_reader: int) -> None:
        try:
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            poll.register(stop_reader, select.POLLIN)
            while stop_reader not in dict(poll.poll()):
                for mac in _heard(listener):
                    self._tell(mac)
        finally:
            listener.close()
            os.close(stop_reader)

    def _tell(self, mac: t.Optional[str]) -> None:
        try:
            self._callback(mac)
        except Exception:
            log.exception("a link event was not handled")


def _subscribed() -> socket.socket:
    listener = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        listener.bind((0, _RTMGRP_LINK))
    except OSError:
        listener.close()
        raise
    return listener


def _heard(listener: socket.socket) -> t.Iterator[t.Optional[str]]:
    """The MACs of one datagram's events; None for what could not be read."""
    try:
        data = listener.recv(1 << 16)
    except BlockingIOError:
        return
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        _drain(listener)
        log.warning("link events were lost: the kernel sent more than could be read")
        yield None
        return
    for message in messages(data):
        if message.kind in (RTM_NEWLINK, RTM_DELLINK):
            device = parse(message.body)
            if device.may_be_a_nic:
                yield device.identity


def _drain(listener: socket.socket) -> None:
    """Until the queue is empty the kernel goes on dropping events, and does not say so again."""
    while True:
        try:
            listener.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
