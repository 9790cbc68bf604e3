# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a thread wakes up now and then, by the kernel's own count."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from tests.support.cni import eventually

_LOOK = 0.1  # s


def wakings(thread: int) -> int:
    """How often it has gone to sleep by itself."""
    text = Path(f"/proc/{thread}/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", text, re.MULTILINE)
    assert found
    return int(found[1])


def rests(thread: int) -> None:
    """Waits until it sleeps for a while. AssertionError where it does not."""

    def sleeps() -> bool:
        before = wakings(thread)
        time.sleep(_LOOK)  # what is looked at
        return wakings(thread) == before

    eventually(sleeps)


def named(name: str) -> int:
    """The kernel's number of this process' only thread of this name."""
    (thread,) = (one for one in threading.enumerate() if one.name == name)
    assert thread.native_id
    return thread.native_id
