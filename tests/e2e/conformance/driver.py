# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node, by its Python: executes what it is told and says what came of it, one JSON document a line.

In: {"together": bool, "calls": [{"argv": [text], "env": {text: text}, "stdin": text or null}]}, null for a stdin that
cannot be read; out: [[exit, stdout, stderr], ...]. Text that is not UTF-8 travels as surrogate escapes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t

TIMEOUT = 100.0  # s; longer than any verb waits


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _start(call: dict[str, t.Any]) -> subprocess.Popen[bytes]:
    """Under way, its stdin written."""
    source = os.open("/dev/null", os.O_WRONLY) if call["stdin"] is None else subprocess.PIPE
    try:
        process = subprocess.Popen(
            [_bytes(word) for word in call["argv"]],
            env={_bytes(name): _bytes(value) for name, value in call["env"].items()},
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    finally:
        if source != subprocess.PIPE:
            os.close(source)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it does not want it
            process.stdin.write(_bytes(call["stdin"]))
            process.stdin.close()
        process.stdin = None
    return process


def _end(process: subprocess.Popen[bytes]) -> list[t.Any]:
    try:
        printed = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        printed = process.communicate()
    return [process.returncode, *(text.decode("utf-8", "surrogateescape") for text in printed)]


def main() -> None:
    for line in sys.stdin:
        told = json.loads(line)
        if told["together"]:
            ended = [_end(process) for process in [_start(call) for call in told["calls"]]]
        else:
            ended = [_end(_start(call)) for call in told["calls"]]
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main()
