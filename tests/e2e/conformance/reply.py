# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime sees of a call."""

from __future__ import annotations

import json
import typing as t


class Reply(t.NamedTuple):
    """Exit status and the two streams."""

    exit: int
    stdout: str
    stderr: str

    def document(self) -> t.Any:
        """Of a success that prints one: exactly one JSON object."""
        assert self.exit == 0, self
        told = json.loads(self.stdout)
        assert isinstance(told, dict), self
        return told

    def nothing(self) -> None:
        """A success that prints nothing."""
        assert (self.exit, self.stdout) == (0, ""), self

    def error(self, code: int, *words: str) -> dict[str, t.Any]:
        """The error object of a failure, which has this code and, among its words, these."""
        assert self.exit > 0, self
        told: dict[str, t.Any] = json.loads(self.stdout)
        assert set(told) == {"cniVersion", "code", "msg", "details"}, told
        assert told["code"] == code, told
        for word in words:
            assert word in f"{told['msg']}; {told['details']}", (word, told)
        return told
