# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/errors.md, drawn from what the client makes of each code that the API documents."""

from __future__ import annotations

import typing as t

from hostnic.cloud import codes, replies
from hostnic.cni import spec

# What the pool calls, and what it is for.
ACTIONS: t.Final = ("CreateNics", "AttachNics", "DetachNics", "DeleteNics", "ModifyNicAttributes", "DescribeNics",
                    "DescribeVxnets", "DescribeJobs")  # fmt: skip
# Messages that give a code another meaning.
MESSAGES: t.Final = (
    (2500, "access too frequently, …"),
    (2500, "you can only call the API [n] times a day"),
    (2500, "no free private ip left in network …"),
    (1400, "you can only attach [n] nics to one instance at most"),
)


HEAD: t.Final = """\
# Errors of the API

What QingCloud's API may answer, what it means for the pool, and what `qingagent status` and the message of a pod that
cannot start tell to do. Both say it in one line, such as "QingCloud refused CreateNics: … (ret_code 2400): top up the
account's balance". Drawn by `python -m tests.docs errors`, compared by `tests/unit/test_docs.py`; each code is tried at
each action by `tests/unit/test_api_errors.py`.

Kinds are those of logs, metrics and JSON. What may pass by itself reaches a runtime as CNI error 11.

| ret_code | name | at | kind | CNI error | what to do |
|---|---|---|---|---|---|
"""
MIDDLE: t.Final = """
The API gives some codes another meaning by their message:

| ret_code | message | kind | CNI error | what to do |
|---|---|---|---|---|
"""


def page() -> str:
    return HEAD + "".join(_rows()) + MIDDLE + "".join(_by_message(code, message) for code, message in MESSAGES)


def _rows() -> t.Iterator[str]:
    """Actions that are told the same share a row, and so do codes."""
    rows: dict[tuple[str, str, int, str], list[int]] = {}
    for code in codes.CODES:
        told: dict[tuple[str, int, str], list[str]] = {}
        for action in ACTIONS:
            error = replies.failure(action, code, "")
            told.setdefault((error.kind, spec.code_of(error), error.remedy.replace(action, "that")), []).append(action)
        for (kind, number, remedy), actions in told.items():
            where = "every action" if len(actions) == len(ACTIONS) else ", ".join(actions)
            rows.setdefault((where, kind, number, remedy), []).append(code)
    for (where, kind, number, remedy), alike in rows.items():
        names = ", ".join(dict.fromkeys(codes.CODES[code].name for code in alike))
        yield f"| {', '.join(map(str, alike))} | {names} | {where} | {kind} | {number} | {remedy} |\n"


def _by_message(code: int, message: str) -> str:
    error = replies.failure("CreateNics", code, message)
    return f"| {code} | {message} | {error.kind} | {spec.code_of(error)} | {error.remedy} |\n"
