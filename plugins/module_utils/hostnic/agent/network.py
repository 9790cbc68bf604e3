# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the data path follows what the pool knows: the nftables table, forwarding, symmetric replies."""

from __future__ import annotations

import threading

from ..config import Settings
from ..net import replies, sysctl
from ..net.nft import Ruleset
from ..net.nft_table import NftTable
from ..pool import Pool
from ..states import State
from ..table import Table


class HostNetwork:
    """Applied at start, before the first ADD, after each round and every few seconds. Any thread may call."""

    def __init__(self, settings: Settings, table: Table, pool: Pool) -> None:
        self._settings = settings
        self._table = table
        self._pool = pool
        self._nft = NftTable()
        self._one_at_a_time = threading.Lock()  # what is older must not be applied last

    def apply(self) -> None:
        """Raises `LinkFailed`. Doing it again changes nothing."""
        with self._one_at_a_time:
            self._apply()

    def _apply(self) -> None:
        known = self._table.vxnets()
        pods = known.keys() & {*self._settings.vxnet, *(nic.vxnet_id for nic in self._table.nics())}
        own = self._pool.own_vxnets()
        gateways = self._table.nics(State.GATEWAY)
        by_primary = bool(own & pods)
        self._nft.apply(
            Ruleset(
                vxnets=tuple(sorted(known[vxnet_id].network for vxnet_id in pods)),
                primary=self._settings.iface,
                primary_is_gateway=by_primary,
                masqueraded=tuple(sorted(known[vxnet_id].network for vxnet_id in self._pool.masqueraded() & pods)),
            )
        )
        if gateways or by_primary:
            sysctl.forward()
        if gateways:
            for vxnet in map(known.__getitem__, own):
                replies.ensure(replies.ReplyRouting(self._settings.iface, vxnet.network, vxnet.gateway))
