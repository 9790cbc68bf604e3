# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person has ordered of the pool: drain, so many free NICs, give these back, look. The plan carries it out."""

from __future__ import annotations

import logging
import typing as t

from .errors import Busy, HostnicError
from .model import Fact
from .ports import Clock
from .states import State
from .table import Table

log = logging.getLogger("hostnic.orders")

DRAINED: t.Final = "drained"  # the name of the fact
PATIENCE: t.Final = 600.0  # s after which NICs that cannot be had are not waited for any more: as long as a block lasts


def refusal(table: Table) -> t.Optional[HostnicError]:
    """Why no pod may start on this node, whatever NICs it has; None where one may."""
    if not table.fact(DRAINED):
        return None
    return Busy("this node is drained", remedy="start the pod on another, or end that with `qingagent resume`")


def check_open(table: Table) -> None:
    """Raises `Busy` where the node is drained."""
    closed = refusal(table)
    if closed:
        raise closed


class Orders:
    """Any thread may order. A drain is in the journal; other orders end with the process: they are given again."""

    def __init__(self, table: Table, clock: Clock, wake: t.Callable[[], None]) -> None:
        self._table = table
        self._clock = clock
        self._wake = wake
        self._warm: dict[str, tuple[int, float]] = {}  # vxnet, "" for any ► how many free NICs, ordered when
        self._unwanted: frozenset[str] = frozenset()
        self.look_wanted = False  # at the cloud, and not carried out yet

    def drain(self) -> None:
        """All that no pod uses goes, and no pod starts, until `resume`."""
        log.warning("this node is drained from now on")
        with self._table.lock:
            self._warm.clear()
            self._table.apply(put=[Fact(DRAINED, "yes")], durable=True)
        self._wake()

    def resume(self) -> None:
        log.warning("this node is not drained any more")
        self._table.apply(drop=[Fact(DRAINED, "yes")], durable=True)
        self._wake()

    def warm(self, vxnet_id: str, size: int) -> None:
        """So many free NICs in this vxnet, "" for any, kept as pre-warmed ones."""
        with self._table.lock:
            self._warm[vxnet_id] = (size, self._clock())
        self._wake()

    def give_back(self, nic_ids: t.Iterable[str]) -> None:
        """These, unless a pod is faster."""
        with self._table.lock:
            self._unwanted |= frozenset(nic_ids)
        self._wake()

    def look(self) -> None:
        """At the cloud, as soon as it may be asked."""
        self.look_wanted = True
        self._wake()

    # -- for the reconciler ------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        return bool(self._table.fact(DRAINED))

    def ordered(self) -> dict[str, int]:
        """Vxnet, "" for any ► how many free NICs."""
        with self._table.lock:
            return {vxnet_id: size for vxnet_id, (size, __) in self._warm.items()}

    def unwanted(self) -> frozenset[str]:
        with self._table.lock:
            return self._unwanted

    def review(self, is_met: t.Callable[[str, int], bool]) -> None:
        """Forget what is carried out, and what cannot be."""
        now = self._clock()
        with self._table.lock:
            for vxnet_id, (size, since) in list(self._warm.items()):
                if is_met(vxnet_id, size) or now - since >= PATIENCE:
                    del self._warm[vxnet_id]
            free = self._table.nics(State.READY, State.DETACHED)
            self._unwanted &= {nic.nic_id for nic in free if not nic.doomed}
