# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the data path: the nftables table follows what the pool knows of vxnets and gateways."""

from __future__ import annotations

from ..config import Settings
from ..model import gateway_link
from ..net import sysctl
from ..net.nft import NftTable, Ruleset
from ..states import State
from ..table import Table


class HostNetwork:
    """Applied at start, before the first ADD, and after each round; the table is never absent in between."""

    def __init__(self, settings: Settings, table: Table) -> None:
        self._settings = settings
        self._table = table
        self._nft = NftTable()

    def apply(self) -> None:
        """Nothing happens where nothing changed."""
        gateways = self._table.nics(State.GATEWAY)
        if gateways:
            sysctl.forward()
        self._nft.apply(
            Ruleset(
                vxnets=tuple(sorted(vxnet.network for vxnet in self._table.vxnets().values())),
                gateways=tuple(sorted(gateway_link(nic.nic_id) for nic in gateways)),
                primary=self._settings.iface,
            )
        )
