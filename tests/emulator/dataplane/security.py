# SPDX-License-Identifier: GPL-3.0-or-later
"""Port security on the fabric: nftables of the bridge family, replaced as a whole in one transaction."""

from __future__ import annotations

import typing as t

from tests.emulator.dataplane import kernel, names
from tests.emulator.dataplane.base import Port

TABLE = "port_security"

# What a guest has no address for yet is not a foreign address: ARP probes and DHCP come from 0.0.0.0.
_MAC_RULES = """
    iifname . ether saddr != @macs counter drop
"""
_IP_RULES = """
    ether type arp arp saddr ip 0.0.0.0 accept
    ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    ether type arp iifname . arp saddr ether != @macs counter drop
    ether type arp iifname . arp saddr ip != @ips counter drop
    ether type ip iifname . ip saddr != @ips counter drop
"""


def ruleset(mode: str, ports: t.Iterable[Port]) -> str:
    """For ``nft -f``: only guarded ports are looked at, by their name in the fabric."""
    head = f"table bridge {TABLE}\ndelete table bridge {TABLE}\n"
    guarded = [port for port in ports if port.guarded]
    if mode == "off" or not guarded:
        return head
    links = [f'"{names.port(port.nic_id)}"' for port in guarded]
    macs = [f"{link} . {port.nic_id}" for link, port in zip(links, guarded)]
    ips = [f"{link} . {port.private_ip}" for link, port in zip(links, guarded) if port.private_ip]
    rules = _MAC_RULES + (_IP_RULES if mode == "mac+ip" else "")
    return f"""{head}
table bridge {TABLE} {{
  {_set("guarded", "ifname", links)}
  {_set("macs", "ifname . ether_addr", macs)}
  {_set("ips", "ifname . ipv4_addr", ips)}
  chain from_guest {{
    type filter hook prerouting priority -300; policy accept;
    iifname != @guarded accept
{rules}
  }}
}}
"""


def apply(netns: str, mode: str, ports: t.Iterable[Port]) -> None:
    text = ruleset(mode, ports)
    kernel.inside(netns, lambda: kernel.run("nft", "-f", "-", stdin=text))


def _set(name: str, kind: str, elements: t.Sequence[str]) -> str:
    listed = f" elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"set {name} {{ type {kind};{listed} }}"
