# SPDX-License-Identifier: GPL-3.0-or-later
"""What a handler gets, and the filters that the Describe actions have in common."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from tests.emulator import paging
from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError, not_found
from tests.emulator.faults import FaultBook
from tests.emulator.models import AccessKey
from tests.emulator.params import Params
from tests.emulator.views import Item

_T = t.TypeVar("_T")


class Owned(t.Protocol):
    """Anything that lies in a zone and belongs to an account."""

    zone_id: str
    owner: str


_O = t.TypeVar("_O", bound=Owned)


@dataclass(frozen=True)
class Call:
    """One authenticated call; handlers run under the cloud's lock. ``zone_id`` is "" for zoneless actions."""

    cloud: Cloud
    faults: FaultBook
    params: Params
    key: AccessKey
    zone_id: str

    @property
    def owner(self) -> str:
        return self.key.owner

    def mine(self, things: t.Iterable[_O]) -> list[_O]:
        """What the account has in the zone."""
        wanted = self.params.text("owner") or self.owner
        return [thing for thing in things if thing.zone_id == self.zone_id and thing.owner == self.owner == wanted]

    def known(self, wanted: t.Iterable[str], known: t.Container[str], rule: str) -> None:
        """Raise for the first id that is not known, where the cloud minds."""
        if rule == "omit":
            return
        for resource_id in wanted:
            if resource_id not in known:
                raise not_found(resource_id)

    def legal(self, name: str, values: t.Iterable[_T], choices: t.Container[_T]) -> None:
        for value in values:
            if value not in choices:
                raise ApiError(self.cloud.settings.illegal_value_code, f"{name} [{value}] is not legal")

    def answer(
        self,
        set_name: str,
        found: t.Sequence[_T],
        identity: t.Callable[[_T], str],
        item: t.Callable[[_T], Item],
        everything: int,
    ) -> Item:
        """One page of items with total_count."""
        rows, total = paging.page(
            self.params,
            self.cloud.settings,
            found,
            identity=identity,
            rng=self.cloud.random,
            everything=everything,
        )
        return {"total_count": total, set_name: [item(row) for row in rows]}


Handler = t.Callable[[Call], Item]
