# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables table `ip qingcni`: what makes services work for pods whose NICs do not pass the host.

Every rule was tried with packets. The table is replaced in one transaction and
never absent in between: NAT is decided on a connection's first packet.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
import typing as t
from dataclasses import dataclass

from ..errors import InvalidConfig, LinkFailed
from ..model import GATEWAY_LINKS

NAME: t.Final = "qingcni"
_TABLE: t.Final = f"ip {NAME}"
# every gateway NIC of ours, from the moment on that it has its name
_GATEWAYS: t.Final = f'"{GATEWAY_LINKS}*"'
# within quotes; a name may hold nearly anything else
_NAME: t.Final = re.compile(r"[A-Za-z0-9_.@+-]{1,15}")
_TIMEOUT: t.Final = 30.0
# VPCs, and what they are peered with or reach by VPN: never masqueraded (RFC 1918, 6598, 3927)
PRIVATE: t.Final = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")

# Takes a script, raises LinkFailed.
Runner = t.Callable[[str], None]


@dataclass(frozen=True)
class Ruleset:
    """What the table says. Networks are CIDRs.

    `vxnets`: every pod vxnet of the cluster, not only those with pods here. `masqueraded`: those whose pods' traffic is
    masqueraded where it leaves for public addresses by this host (ipMasq).
    `primary_is_gateway`: the primary lies in a pod vxnet and serves it. `mark`: the connmark bit of symmetric
    replies, free of kube-proxy's 0x4000, 0x8000 and portmap's 0x2000.
    """

    vxnets: tuple[str, ...]
    masqueraded: tuple[str, ...] = ()
    primary: str = "eth0"
    primary_is_gateway: bool = False
    mark: int = 0x100000
    symmetric_replies: bool = True

    def text(self) -> str:
        """The script for `nft -f -`; the same rules give the same text. `InvalidConfig` for a wrong name or network."""
        chains = [*self._postrouting(), *self._output(), *(self._replies() if self.symmetric_replies else ())]
        lines = [
            *_set("vxnets", "ipv4_addr; flags interval", _networks(self.vxnets)),
            *_set("masqueraded", "ipv4_addr; flags interval", _networks(self.masqueraded)),
            *_set("private", "ipv4_addr; flags interval", PRIVATE),
            *chains,
        ]
        body = "\n".join(f"\t{line}" for line in lines)
        return f"table {_TABLE}\ndelete table {_TABLE}\ntable {_TABLE} {{\n{body}\n}}\n"

    def _postrouting(self) -> t.Iterator[str]:
        primary = _quoted(self.primary)
        # 110: after kube-proxy's 100, whose chain would be skipped, and its mark kept, if ours came first
        yield "chain postrouting {"
        yield "\ttype nat hook postrouting priority 110; policy accept;"
        yield "\tct status dnat ip saddr @vxnets counter masquerade"
        yield f"\tct status dnat oifname {_GATEWAYS} counter masquerade"
        if self.primary_is_gateway:
            yield f"\tct status dnat oifname {primary} ip daddr @vxnets counter masquerade"
        gateways = (_GATEWAYS, *([primary] if self.primary_is_gateway else []))
        for arrives in gateways if self.masqueraded else ():
            yield (
                f"\tiifname {arrives} ip saddr @masqueraded ip daddr != @private oifname {primary} counter masquerade"
            )
        yield "}"

    def _output(self) -> t.Iterator[str]:
        # a link's send_redirects=0 does nothing while conf.all says 1: the kernel ORs the two
        yield "chain output {"
        yield "\ttype filter hook output priority 0; policy accept;"
        yield f"\toifname {_GATEWAYS} icmp type redirect counter drop"
        if self.primary_is_gateway:
            yield f"\toifname {_quoted(self.primary)} ip daddr @vxnets icmp type redirect counter drop"
        yield "}"

    def _replies(self) -> t.Iterator[str]:
        bit, primary = f"{self.mark:#x}", _quoted(self.primary)
        yield "chain reply_mark {"
        yield "\ttype filter hook prerouting priority -150; policy accept;"
        yield f"\tiifname {primary} ip saddr @vxnets ct direction original ct mark set ct mark or {bit}"
        # pods that have the primary as their gateway answer by it, though a gateway NIC may be nearer to the client
        for pods in (_GATEWAYS, *([primary] if self.primary_is_gateway else [])):
            yield f"\tiifname {pods} ct direction reply ct mark & {bit} != 0 meta mark set meta mark or {bit}"
        yield "}"
        yield "chain reply_route {"
        yield "\ttype route hook output priority -150; policy accept;"
        yield f"\tct direction reply ct mark & {bit} != 0 meta mark set meta mark or {bit}"
        yield "}"


def run_nft(script: str) -> None:
    """`nft -f -` in this process's namespace, as one transaction."""
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=script, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        raise LinkFailed("nft is not installed: install the nftables package, services need it") from error
    except subprocess.TimeoutExpired as error:
        raise LinkFailed(f"nft gave no answer within {_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise LinkFailed(f"nft refused the table {_TABLE}: {done.stderr.strip()[:500]}")


def _set(name: str, of: str, elements: t.Sequence[str]) -> t.Iterator[str]:
    yield f"set {name} {{"
    yield f"\ttype {of};"
    if elements:  # an empty list is a syntax error
        yield f"\telements = {{ {', '.join(elements)} }}"
    yield "}"


def _networks(networks: t.Iterable[str]) -> list[str]:
    """Merged: nft refuses intervals that overlap."""
    try:
        parsed = [ipaddress.IPv4Network(network) for network in networks]
    except ValueError as error:
        raise InvalidConfig(f"not an IPv4 network: {error}") from error
    return [str(network) for network in ipaddress.collapse_addresses(parsed)]


def _quoted(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidConfig(f"{name!r} cannot be used as a link's name in nftables: use letters, digits, '.', '_', '-'")
    return f'"{name}"'
