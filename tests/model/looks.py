# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent was shown of NICs, round by round: how often in a row one was kept from it."""

from __future__ import annotations

import typing as t

from tests.emulator.models import Nic
from tests.emulator.views import Item
from tests.model.cloudside import Call


class Looks:
    """A look is all that one round of the reconciler asks."""

    def __init__(self) -> None:
        self.first_shown: dict[str, float] = {}  # by the boot clock, in this process of the agent
        self.told: dict[str, tuple[Item, bool]] = {}  # in this round: the row, and whether it was untrue
        self.shown: dict[str, Item] = {}  # the last row of each
        self._asked: set[str] = set()
        self._hidden: dict[str, int] = {}  # looks in a row in which it was asked for and not shown

    def begin(self) -> None:
        self.told, self._asked = {}, set()

    def end(self) -> None:
        for nic_id in self._asked - self.told.keys():
            self._hidden[nic_id] = self._hidden.get(nic_id, 0) + 1
        for nic_id in self.told:
            self._hidden.pop(nic_id, None)
        self.begin()

    def restart(self) -> None:
        """A new process has seen nothing yet."""
        self.first_shown.clear()
        self.shown.clear()
        self._hidden.clear()
        self.begin()

    def answered(self, call: Call, rows: t.Iterable[Item], nics: t.Mapping[str, Nic], now: float) -> None:
        wanted, instances, name = call.items("nics"), call.items("instances"), call.params.get("nic_name")
        self._asked |= {
            nic.nic_id
            for nic in nics.values()
            if (not wanted or nic.nic_id in wanted)
            and (not instances or nic.instance_id in instances)
            and (not name or nic.nic_name == name)
        }
        for row in rows:
            self.told[row["nic_id"]] = (row, call.untrue)
            self.shown[row["nic_id"]] = row
            self.first_shown.setdefault(row["nic_id"], now)

    def hidden(self, nic_id: str) -> int:
        """With the present round."""
        if nic_id in self.told:
            return 0
        return self._hidden.get(nic_id, 0) + (nic_id in self._asked)

    def misled(self, nic_id: str) -> bool:
        """What this round was told of it was untrue."""
        return nic_id in self.told and self.told[nic_id][1]
