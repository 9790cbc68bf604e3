# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd knows of our units and of those that may be in our way, in one question."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..errors import LinkFailed
from .finding import CannotTell

AGENT: t.Final = "qingagent.service"
SOCKET: t.Final = "qingagent.socket"
NETNS: t.Final = "qingagent-netns.service"
OURS: t.Final = (AGENT, SOCKET, NETNS)
NETWORK_MANAGER: t.Final = "NetworkManager.service"
NETWORKD: t.Final = "systemd-networkd.service"
NM_CLOUD_SETUP: t.Final = "nm-cloud-setup.timer"
_ALL: t.Final = (*OURS, NETWORK_MANAGER, NETWORKD, NM_CLOUD_SETUP)
_PROPERTIES: t.Final = "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,ActiveEnterTimestampMonotonic"


@dataclass(frozen=True)
class Unit:
    """As `systemctl show` has it; `since`: seconds of the monotonic clock, 0 where it was never active."""

    load: str = "not-found"
    state: str = "inactive"
    sub: str = "dead"
    file: str = ""
    restarts: int = 0
    since: float = 0.0

    @property
    def loaded(self) -> bool:
        return self.load == "loaded"

    @property
    def active(self) -> bool:
        return self.state == "active"

    @property
    def enabled(self) -> bool:
        return self.file in ("enabled", "static", "alias", "indirect", "generated")


def look(run: t.Callable[[t.Sequence[str]], str]) -> dict[str, Unit]:
    """Unit ► what it is. Raises `CannotTell` without systemd."""
    try:
        told = run(("systemctl", "show", f"--property={_PROPERTIES}", *_ALL))
    except FileNotFoundError:
        raise CannotTell("there is no systemctl on this node") from None
    except LinkFailed as error:
        raise CannotTell(error.message) from error
    found = dict.fromkeys(_ALL, Unit())
    for block in told.split("\n\n"):
        words = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if words.get("Id") in found:
            found[words["Id"]] = _unit(words)
    return found


def installed(found: t.Mapping[str, Unit]) -> bool:
    """Whether there is any of ours: an agent may also have been started by hand."""
    return any(found[name].load != "not-found" for name in OURS if name in found)


def _unit(words: t.Mapping[str, str]) -> Unit:
    return Unit(
        load=words.get("LoadState", ""),
        state=words.get("ActiveState", ""),
        sub=words.get("SubState", ""),
        file=words.get("UnitFileState", ""),
        restarts=_number(words.get("NRestarts", "")),
        since=_number(words.get("ActiveEnterTimestampMonotonic", "")) / 1e6,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
