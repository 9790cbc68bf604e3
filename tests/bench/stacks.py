# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node: what the kernel is doing for a process that asks it to change links, sampled until stdin ends.

    python3 stacks.py PID

Prints an object: stack ► how often it was seen, outermost function first, of those of its threads that were inside a
message to netlink. Reading a stack stops nothing; a thread that is on a processor at that moment shows none.
"""

from __future__ import annotations

import collections
import json
import re
import select
import sys
from pathlib import Path

PAUSE = 0.001
FRAME = re.compile(r"\[<0>\] (\w+)")


def main(pid: str) -> None:
    tasks = Path("/proc", pid, "task")
    seen: collections.Counter[str] = collections.Counter()
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        for task in tasks.iterdir():
            try:
                frames = FRAME.findall((task / "stack").read_text())
            except OSError:  # it has ended
                continue
            if "netlink_sendmsg" in frames:
                inner = frames[: frames.index("netlink_sendmsg")]
                seen[" ".join(reversed(inner))] += 1
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
