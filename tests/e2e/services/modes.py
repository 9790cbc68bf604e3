# SPDX-License-Identifier: GPL-3.0-or-later
"""The modes of kube-proxy whose rules are laid here; IPVS is not among them."""

from __future__ import annotations

import typing as t

from tests.e2e.services.iptables import iptables
from tests.e2e.services.kubeproxy import Load, Proxy, Service
from tests.e2e.services.nftables import nftables

MODES: t.Final[t.Mapping[str, t.Callable[[Proxy, t.Sequence[Service]], Load]]] = {
    "iptables": iptables,
    "nftables": nftables,
}
