# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent of this machine, if one answers: what a module asks it."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

from ..hostnic import wire
from ..hostnic.errors import Denied, HostnicError, Unreachable

PARKING: t.Final = Path("/run/netns/qingagent")
PATIENCE = 10.0  # s until an agent that says nothing counts as one that hangs
_NOBODY: t.Final = (errno.ENOENT, errno.ECONNREFUSED)


class Agent:
    """Asked by its socket. Every method raises what `wire.ask` raises."""

    def __init__(self, socket: str = wire.SOCKET) -> None:
        self._socket = socket

    def ask(self, op: str, **params: t.Any) -> t.Any:
        return wire.ask(self._socket, op, params, PATIENCE)

    def pool(self) -> dict[str, dict[str, t.Any]]:
        """NIC id ► its record, as of `model.Nic`."""
        return {nic["nic_id"]: nic for nic in self.ask("pool")}


def find(socket: str = wire.SOCKET) -> t.Optional[Agent]:
    """None where there is no agent. Raises `Denied` where that cannot be told, since an agent may be there."""
    agent = Agent(socket)
    try:
        agent.ask("ping")
    except Unreachable as error:
        number = getattr(error.__cause__, "errno", None)
        if number in _NOBODY:
            return None
        if number in (errno.EACCES, errno.EPERM):
            raise Denied(f"the agent may be asked by root only ({socket}): set become") from error
        raise
    except HostnicError as error:
        raise Denied(
            f"an agent is there, but does not answer ({error.message}): see journalctl -u qingagent"
        ) from error
    return agent


def has_lived_here(parking: Path = PARKING) -> bool:
    """Whether there are signs of an agent, so that only it knows which NICs pods have."""
    return os.path.lexists(parking)
