# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's agent, asked over its socket from here: tests ask it again and again while they wait for something."""

from __future__ import annotations

import typing as t

from hostnic import wire
from hostnic.errors import HostnicError
from tests.lab.errors import LabError
from tests.lab.lab import Node


def ask(node: Node, op: str) -> t.Any:
    """As `qingagent OP --output json` shows it; raises LabError where it does not answer."""
    try:
        return wire.ask(str(node.path(wire.SOCKET)), op)
    except HostnicError as error:
        raise LabError(f"{op}, asked of the agent of {node.name}: {error.message}") from error
