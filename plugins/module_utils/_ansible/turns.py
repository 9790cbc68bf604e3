# SPDX-License-Identifier: GPL-3.0-or-later
"""One run after the other where two would make the same NICs twice."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import typing as t
from pathlib import Path

from ..hostnic.errors import Busy

DIRECTORY: t.Final = Path("/run/lock")
POLL: t.Final = 1.0  # s


@contextlib.contextmanager
def turn(
    name: str,
    timeout: float,
    clock: t.Callable[[], float],
    sleep: t.Callable[[float], object],
    directory: t.Optional[Path] = None,
) -> t.Iterator[None]:
    """While this is held nobody else on this machine holds `name`; the file is gone afterwards.

    Raises `Busy` after so many seconds. Where locks cannot be had, since there is no such directory or the file is
    another user's, it goes without.
    """
    path = (directory or DIRECTORY) / f"qingcloud.cni-{re.sub('[^A-Za-z0-9_.-]', '_', name)[:100]}"
    until = clock() + timeout
    descriptor = -1
    try:
        while (found := _take(path)) is None:
            if clock() >= until:
                raise Busy(f"another run works on the NICs of {name}, after {timeout:g} s still: raise wait_timeout")
            sleep(POLL)
        descriptor = found
    except OSError:
        yield
        return
    try:
        yield
    finally:
        path.unlink()
        os.close(descriptor)


def _take(path: Path) -> t.Optional[int]:
    """The descriptor that holds the lock; None while somebody else does. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # whoever held it may have removed it since it was opened here
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
    os.close(descriptor)
    return None
