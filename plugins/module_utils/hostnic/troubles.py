# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the pool from growing, as the reconciler has last said it, for whoever waits or asks."""

from __future__ import annotations

import typing as t

from .errors import Busy, HostnicError, PoolEmpty

EVERYWHERE: t.Final = ""  # instead of a vxnet: what concerns every one


class Troubles:
    """Written by the reconciler's thread as a whole; read from any."""

    def __init__(self) -> None:
        started = Busy("the agent has just started", remedy="wait, it is looking at the cloud")
        self._found: t.Mapping[str, HostnicError] = {EVERYWHERE: started}
        self._refused = ""

    def report(self, found: t.Mapping[str, HostnicError], refused: str = "") -> None:
        """By vxnet or `EVERYWHERE`. `refused`: what the cloud has last refused, though nothing may come of it."""
        self._found, self._refused = found, refused

    def standing(self) -> t.Mapping[str, HostnicError]:
        """As last reported."""
        return self._found

    def of(self, vxnets: t.Sequence[str]) -> t.Optional[HostnicError]:
        """What stands in the way of new NICs in all of these."""
        return self.in_all(vxnets) or self._found.get(EVERYWHERE)

    def in_all(self, vxnets: t.Sequence[str]) -> t.Optional[HostnicError]:
        """Where each of these has a trouble of its own, that of the first."""
        told = [self._found.get(vxnet_id) for vxnet_id in vxnets]
        return told[0] if all(told) else None

    def why_empty(self, vxnets: t.Sequence[str]) -> HostnicError:
        """Why nobody who waits for one of these is served."""
        trouble = self.of(vxnets)
        if trouble and (isinstance(trouble, PoolEmpty) or not trouble.transient):
            return trouble
        why = trouble.message if trouble else self._refused or "NICs are on their way"
        return PoolEmpty(f"no NIC became ready in time: {why}")
