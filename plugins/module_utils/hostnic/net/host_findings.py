# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a host makes services fail for its pods although nothing of ours is wrong: found and told, never changed.

A pod's traffic to a service passes the host: in by a gateway NIC or the primary, DNATed, and out by one of them. Plain
traffic does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LinkFailed
from . import sysctl

_OURS: t.Final = ("ip", "qingcni")
_LEGACY_TABLES: t.Final = Path("/proc/thread-self/net/ip_tables_names")
_TIMEOUT: t.Final = 10.0
_STRICT: t.Final = 1

# Runs a command; what it printed. `FileNotFoundError` without that program, `LinkFailed` where it failed.
Runner = t.Callable[[t.Sequence[str]], str]


@dataclass(frozen=True)
class Findings:
    """Sentences. `unchecked`: what could not be looked at."""

    found: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def run(command: t.Sequence[str]) -> str:
    """In the calling thread's namespace; administrators' programs are found whoever calls."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise LinkFailed(f"{command[0]} gave no answer within {_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        raise LinkFailed(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
    return done.stdout


def look(iface: str, run: Runner = run, legacy_tables: Path = _LEGACY_TABLES) -> Findings:
    """In the calling thread's namespace; `iface` is the primary link. Never raises; runs nft once, which takes ms."""
    seen = Findings()
    checks: tuple[t.Callable[[], list[str]], ...] = (
        lambda: _nftables(iface, run),
        lambda: _legacy_iptables(iface, run, legacy_tables),
        lambda: _reverse_path(iface),
    )
    for check in checks:
        try:
            seen.found.extend(check())
        except LinkFailed as error:
            seen.unchecked.append(error.message)
    return seen


# -- a FORWARD policy of drop -----------------------------------------------------------------------------------------


def _nftables(iface: str, run: Runner) -> list[str]:
    try:
        listing = run(("nft", "-j", "list", "chains"))
    except FileNotFoundError:
        raise LinkFailed("forwarding in nftables: nft is not installed") from None
    return [_dropped(chain, f"nft insert rule {chain}", iface) for chain in dropping_chains(listing)]


def dropping_chains(listing: str) -> list[str]:
    """`family table chain` of what drops forwarded IPv4 by policy, in the words of `nft -j list chains`.

    iptables-nft's are among them. `LinkFailed` where the words are not to be understood.
    """
    try:
        chains = [item["chain"] for item in json.loads(listing)["nftables"] if "chain" in item]
        return [
            f"{chain['family']} {chain['table']} {chain['name']}"
            for chain in chains
            if (chain.get("hook"), chain.get("policy")) == ("forward", "drop")
            and chain["family"] in ("ip", "inet")
            and (chain["family"], chain["table"]) != _OURS
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise LinkFailed(f"forwarding in nftables: nft's answer is not understood: {error!r}") from error


def _legacy_iptables(iface: str, run: Runner, tables: Path) -> list[str]:
    """Asked only where they have tables; needs CAP_NET_RAW then, which the agent's unit has not."""
    try:
        names = tables.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LinkFailed(f"forwarding in legacy iptables: {tables}: {error.strerror}") from error
    if "filter" not in names:
        return []
    try:
        rules = run(("iptables-legacy", "-S", "FORWARD"))
    except FileNotFoundError:
        raise LinkFailed("forwarding in legacy iptables: iptables-legacy is not installed") from None
    if not drops_by_policy(rules):
        return []
    return [_dropped("FORWARD of legacy iptables", "iptables-legacy -I FORWARD", iface)]


def drops_by_policy(rules: str) -> bool:
    """In the words of `iptables-legacy -S FORWARD`."""
    return "-P FORWARD DROP" in rules.splitlines()


def _dropped(chain: str, insert: str, iface: str) -> str:
    if insert.startswith("nft"):
        rules = [f'{insert} {end} "qg*" accept' for end in ("iifname", "oifname")]
    else:
        rules = [f"{insert} {end} qg+ -j ACCEPT" for end in ("-i", "-o")]
    return (
        f"the policy of chain {chain} is drop: what pods send to services is forwarded by this host and ends there; "
        f"no rule of another table helps. Let gateway NICs pass in that chain (`{rules[0]}` and `{rules[1]}`, and "
        f"the same for {iface} where it is the pods' gateway), or let kube-proxy's mark pass there"
    )


# -- the primary's source check ---------------------------------------------------------------------------------------


def _reverse_path(iface: str) -> list[str]:
    both = [sysctl.read(f"ipv4/conf/{scope}/rp_filter") for scope in ("all", iface)]
    return reverse_path(iface, *both)


def reverse_path(iface: str, of_all: str, of_iface: str) -> list[str]:
    """The kernel heeds the larger of the two values; 1 is the strict check."""
    try:
        effective = max(int(of_all), int(of_iface))
    except ValueError as error:
        raise LinkFailed(f"rp_filter of {iface} is not a number: {error}") from error
    if effective != _STRICT:
        return []
    told = (
        f"the source check of {iface} is strict (rp_filter is {of_all} for all links and {of_iface} for {iface}; the "
        f"larger one counts): it drops what pods of other hosts send to this one by the router, to a NodePort or a "
        f"hostPort for instance. Set net/ipv4/conf/{iface}/rp_filter to 2, for good in a file in /etc/sysctl.d"
    )
    return [told]
