# SPDX-License-Identifier: GPL-3.0-or-later
"""How often each action was called, and how often it was refused."""

from __future__ import annotations

import threading
import typing as t
from collections import Counter, defaultdict


class Counters:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._rejected: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, action: str, ret_code: int | None) -> None:
        """``ret_code`` None: the call was answered by no envelope (a dropped reply, an HTTP error)."""
        with self._lock:
            self._calls[action] += 1
            if ret_code:
                self._rejected[action][str(ret_code)] += 1

    def reset(self) -> None:
        with self._lock:
            self._calls.clear()
            self._rejected.clear()

    def to_dict(self) -> dict[str, t.Any]:
        """``{"calls": {action: n}, "rejected": {action: {ret_code: n}}}``."""
        with self._lock:
            return {
                "calls": dict(self._calls),
                "rejected": {action: dict(codes) for action, codes in self._rejected.items()},
            }
