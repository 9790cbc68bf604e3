# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches in processes of their own: what is random is made repeatable there, and planted bugs stay there."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import typing as t

from tests.model import batch, ids, mutations
from tests.model.batch import Finding, Outcome

_FLAG: t.Final = "--worker"


class Worker:
    """`mutation`: the planted bug that its process has, "" for none."""

    def __init__(self, mutation: str = "") -> None:
        command = [sys.executable, "-m", "tests.model", _FLAG, mutation]
        environ = {**os.environ, "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True
        )  # fmt: skip

    def run(self, seed: int, shorten: bool, trace: bool = False) -> Outcome:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{seed} {int(shorten)} {int(trace)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that ran seed {seed} ended: {self._process.wait()}")
        content = json.loads(line)
        finding = content.pop("finding")
        return Outcome(**content, finding=Finding(**finding) if finding else None)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def asked_to_serve(argv: t.Sequence[str]) -> bool:
    return argv[:1] == [_FLAG]


def serve(argv: t.Sequence[str]) -> None:
    """Seeds from standard input, outcomes to standard output."""
    ids.make_repeatable()
    if argv[1]:
        mutations.plant(argv[1])
    for line in sys.stdin:
        seed, shorten, trace = map(int, line.split())
        print(json.dumps(dataclasses.asdict(batch.run(seed, bool(shorten), bool(trace)))), flush=True)
