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
from ..model import GATEWAY_LINKS
from . import sysctl

_OURS: t.Final = ("ip", "qingcni")
_LEGACY_TABLES: t.Final = Path("/proc/thread-self/net/ip_tables_names")
_TIMEOUT: t.Final = 10.0
_STRICT: t.Final = 1

# Runs a command; what it printed. `FileNotFoundError` without that program, `LinkFailed` where it failed.
Runner = t.Callable[[t.Sequence[str]], str]


class Trouble(t.NamedTuple):
    """`remedies`: commands, which together end it as long as the host runs; `rest`: what else is to be said."""

    what: str
    remedies: tuple[str, ...]
    rest: str

    def __str__(self) -> str:
        return f"{self.what}. {self.rest.format(*self.remedies)}"


@dataclass(frozen=True)
class Findings:
    """Sentences. `unchecked`: what could not be looked at."""

    found: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def run(command: t.Sequence[str], timeout: float = _TIMEOUT) -> str:
    """In the calling thread's namespace; administrators' programs are found whoever calls."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    except subprocess.TimeoutExpired as error:
        raise LinkFailed(f"{command[0]} gave no answer within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise LinkFailed(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
    return done.stdout


def look(iface: str, run: Runner = run, legacy_tables: Path = _LEGACY_TABLES) -> Findings:
    """In the calling thread's namespace; `iface` is the primary link. Never raises; runs nft once, which takes ms."""
    seen = Findings()
    checks: tuple[t.Callable[[], list[Trouble]], ...] = (
        lambda: nftables(iface, run),
        lambda: legacy_iptables(iface, run, legacy_tables),
        lambda: _reverse_path(iface),
    )
    for check in checks:
        try:
            seen.found.extend(map(str, check()))
        except LinkFailed as error:
            seen.unchecked.append(error.message)
    return seen


# -- a FORWARD policy of drop -----------------------------------------------------------------------------------------


def nftables(iface: str, run: Runner, listing: t.Optional[str] = None) -> list[Trouble]:
    """`listing`: what `nft -j list chains` has said already. Raises `LinkFailed`."""
    if listing is None:
        listing = nft(("list", "chains"), run)
    dropping = dropping_chains(listing)
    return [_dropped(chain, f"nft insert rule {chain}", iface) for chain in dropping if not _lets_pass(chain, run)]


def nft(words: t.Sequence[str], run: Runner) -> str:
    """What it says in JSON. Raises `LinkFailed`."""
    try:
        return run(("nft", "-j", *words))
    except FileNotFoundError:
        raise LinkFailed("forwarding in nftables: nft is not installed") from None


def chains(listing: str) -> list[dict[str, t.Any]]:
    """Those in the words of `nft -j list chains`. `LinkFailed` where the words are not to be understood."""
    try:
        found = [item["chain"] for item in json.loads(listing)["nftables"] if "chain" in item]
        return [chain for chain in found if chain["family"] and chain["table"] and chain["name"]]
    except (ValueError, KeyError, TypeError) as error:
        raise LinkFailed(f"forwarding in nftables: nft's answer is not understood: {error!r}") from error


def dropping_chains(listing: str) -> list[str]:
    """`family table chain` of what drops forwarded IPv4 by policy, in the words of `nft -j list chains`.

    iptables-nft's are among them. `LinkFailed` where the words are not to be understood.
    """
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains(listing)
        if (chain.get("hook"), chain.get("policy")) == ("forward", "drop")
        and chain["family"] in ("ip", "inet")
        and (chain["family"], chain["table"]) != _OURS
    ]


def _lets_pass(chain: str, run: Runner) -> bool:
    """Whether somebody has put the remedy into this chain."""
    return accepts_gateways(nft(("list", "chain", *chain.split()), run))


def accepts_gateways(listing: str) -> bool:
    """Of a chain, in the words of `nft -j list chain`: both directions, whatever is counted on the way."""
    try:
        rules = [item["rule"]["expr"] for item in json.loads(listing)["nftables"] if "rule" in item]
        accepted = [
            statement["match"]["left"]["meta"]["key"]
            for rule in rules
            if {"accept": None} in rule
            for statement in rule
            if statement.get("match", {}).get("right") == f"{GATEWAY_LINKS}*" and "meta" in statement["match"]["left"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LinkFailed(f"forwarding in nftables: nft's answer is not understood: {error!r}") from error
    return {"iifname", "oifname"} <= set(accepted)


def legacy_iptables(iface: str, run: Runner, tables: Path = _LEGACY_TABLES) -> list[Trouble]:
    """Asked only where they have tables; needs CAP_NET_RAW then, which the agent's unit has not. `LinkFailed`."""
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
    """In the words of `iptables-legacy -S FORWARD`; not where gateway NICs are let pass."""
    lines = rules.splitlines()
    lets_pass = {f"-A FORWARD {end} {GATEWAY_LINKS}+ -j ACCEPT" for end in ("-i", "-o")} <= set(lines)
    return "-P FORWARD DROP" in lines and not lets_pass


def _dropped(chain: str, insert: str, iface: str) -> Trouble:
    if insert.startswith("nft"):
        rules = [f'{insert} {end} "{GATEWAY_LINKS}*" accept' for end in ("iifname", "oifname")]
    else:
        rules = [f"{insert} {end} {GATEWAY_LINKS}+ -j ACCEPT" for end in ("-i", "-o")]
    return Trouble(
        f"the policy of chain {chain} is drop: what pods send to services is forwarded by this host and ends there; "
        "no rule of another table helps",
        tuple(rules),
        f"Let gateway NICs pass in that chain (`{{}}` and `{{}}`, and the same for {iface} where it is the pods' "
        "gateway), or let kube-proxy's mark pass there",
    )


# -- the primary's source check ---------------------------------------------------------------------------------------


def _reverse_path(iface: str) -> list[Trouble]:
    both = [sysctl.read(f"ipv4/conf/{scope}/rp_filter") for scope in ("all", iface)]
    return reverse_path(iface, *both)


def reverse_path(iface: str, of_all: str, of_iface: str) -> list[Trouble]:
    """The kernel heeds the larger of the two values; 1 is the strict check."""
    try:
        effective = max(int(of_all), int(of_iface))
    except ValueError as error:
        raise LinkFailed(f"rp_filter of {iface} is not a number: {error}") from error
    if effective != _STRICT:
        return []
    told = Trouble(
        f"the source check of {iface} is strict (rp_filter is {of_all} for all links and {of_iface} for {iface}; the "
        "larger one counts): it drops what pods of other hosts send to this one by the router, to a NodePort or a "
        "hostPort for instance",
        (f"sysctl -w net/ipv4/conf/{iface}/rp_filter=2",),
        f"Set net/ipv4/conf/{iface}/rp_filter to 2 (`{{}}`), for good in a file in /etc/sysctl.d",
    )
    return [told]
