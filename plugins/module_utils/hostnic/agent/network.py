# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the data path: the nftables table follows what the pool knows of vxnets and gateways."""

from __future__ import annotations

from ..config import Settings
from ..model import GATEWAY
from ..net import nft, sysctl
from ..states import State
from ..table import Table


class HostNetwork:
    """Applied at start, before the first ADD, and after each change; the table is never absent in between."""

    def __init__(self, settings: Settings, table: Table) -> None:
        self._settings = settings
        self._table = table
