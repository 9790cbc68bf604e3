# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls by the access file as it is now: a rotated key takes effect without a restart, a bad one not at all."""

from __future__ import annotations

import logging
import threading
import typing as t
from pathlib import Path

from ..errors import AuthFailed, InvalidConfig
from . import codes
from .connection import Connection
from .credentials import Access, read_access

log = logging.getLogger("hostnic.cloud")

_Stamp = t.Optional[tuple[int, int, int]]


class FreshConnection:
    """As `Connection`, of which `make` makes one for an access; safe for several threads.

    The file is looked at before each call. One that cannot be used, that is gone, or whose key the API refuses leaves
    the access before it in use, which is said once; it is tried again when that one is refused. Raises `InvalidConfig`.
    """

    def __init__(
        self, path: str, overrides: t.Optional[t.Mapping[str, t.Any]], make: t.Callable[[Access], Connection]
    ) -> None:
        self._path = path
        self._overrides = overrides
        self._make = make
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._access = read_access(path, overrides)
        self._using = make(self._access)
        self._other: t.Optional[Connection] = None  # the one before a new one that nobody has seen work, or such a one
        self._newest = self._using

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._using!r})"

    @property
    def access(self) -> Access:
        """As it was last read."""
        return self._access

    def state(self) -> dict[str, t.Any]:
        return self._using.state()

    def reread(self) -> bool:
        """Look at the file now; whether it says something else. Raises `InvalidConfig`, and nothing has changed then.

        The next call would look at it as well: this is for whoever wants to know at once.
        """
        with self._lock:
            stamp = _stamp(self._path)
            before = self._access
            self._use()
            self._stamp = stamp
            return self._access != before

    def call(self, action: str, params: t.Mapping[str, t.Any], within: t.Optional[float] = None) -> dict[str, t.Any]:
        """See `Connection.call`. A refused key was not looked at further, so that the call may be sent with another."""
        using, other = self._current()
        try:
            answer = using.call(action, params, within)
        except AuthFailed as refused:
            if other is None or refused.details.get("ret_code") == codes.EXPIRED:
                raise
            try:
                answer = other.call(action, params, within)
            except AuthFailed:
                raise refused from None
            self._worked(other, refused)
            return answer
        self._worked(using)
        return answer

    def _current(self) -> tuple[Connection, t.Optional[Connection]]:
        with self._lock:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._take()
            return self._using, self._other

    def _take(self) -> None:
        try:
            if self._stamp is None:
                raise InvalidConfig(f"{self._path} is gone")
            self._use()
        except InvalidConfig as error:
            log.warning("%s; going on with what it said before", error.message)

    def _use(self) -> None:
        """What the file says now, where that is something else. Raises `InvalidConfig`."""
        access = read_access(self._path, self._overrides)
        if access == self._access:
            return
        connection = self._make(access)
        log.info("%s has changed: using it from now on", self._path)
        if self._using is not self._newest or self._other is None:  # what is used has been seen to work
            self._other = self._using
        self._access, self._newest, self._using = access, connection, connection

    def _worked(self, connection: Connection, refused: t.Optional[AuthFailed] = None) -> None:
        """`refused`: by what the API did not take the other one."""
        with self._lock:
            if connection is self._newest:
                self._using, self._other = connection, None
            elif refused is not None and connection is not self._using and self._other is connection:
                log.warning("%s; going on with the access key before it", refused.message)
                self._using, self._other = connection, self._newest


def _stamp(path: str) -> _Stamp:
    """What differs once the file was written or replaced; None where there is none, or it cannot be looked at."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
