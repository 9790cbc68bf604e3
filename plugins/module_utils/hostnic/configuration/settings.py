# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's settings: one frozen dataclass; flag, file key, environment and role variable all follow from it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

POLICIES: t.Final = ("FailRotate", "RoundRotate", "Random")
DEGRADATIONS: t.Final = ("", "L0", "L1")
LOG_LEVELS: t.Final = ("debug", "info", "warn", "error")
# calls a second below which an agent shares its account with so many others that nothing is asked for before its time
SCARCE: t.Final = 1.0
PLACEHOLDER_VXNET: t.Final = "vxnet-xxxxxxx"


def _option(default: t.Any, key: str, help_: str, kind: str = "string") -> t.Any:
    """`kind`: string, list, int, rate (calls a second) or duration (seconds in memory; `10m`, `60s` in files)."""
    # pylint takes a function that makes fields for a misuse of them
    return field(default=default, metadata={"key": key, "help": help_, "kind": kind})  # pylint: disable=invalid-field-call


@dataclass(frozen=True)
class Settings:
    """Names and defaults of the original where it had them; each other default says why."""

    # -- the original's --
    access_file: str = _option("/etc/qingcloud/client.yaml", "QYAccessFilePath", "QingCloud access file")
    # the original's 0.0.0.0 gave control over NICs to the network
    bindaddr: str = _option(
        "127.0.0.1:31080", "bindaddr", "loopback address for root with the token; args.BindAddr of CNI configurations"
    )
    gatewayns: str = _option("hostnic", "gatewayns", "name of gateway NICs, before -gw_<instance-id>")
    iface: str = _option("eth0", "iface", "the host's own NIC, never touched")
    policy: str = _option("FailRotate", "policy", "which vxnet new NICs come from: FailRotate, RoundRotate or Random")
    vxnet: tuple[str, ...] = _option((PLACEHOLDER_VXNET,), "vxnet", "vxnets of pods", "list")
    zone: str = _option("pek3a", "zone", "QingCloud zone")
    loglevel: str = _option("info", "loglevel", "debug, info, warn or error")

    # -- the pool --
    # a pod a second with a lead time of 4 s needs a few in hand
    pool_low: int = _option(3, "pool-low", "NICs kept ready at least", "int")
    # a rolling restart of a node's usual pods, without paying addresses for a full node
    pool_high: int = _option(8, "pool-high", "NICs kept ready at most", "int")
    # QingCloud attaches 64 to an instance; 60 leaves room for the primary and gateway NICs
    max_nics: int = _option(60, "max-nics", "NICs of ours on this instance at most", "int")
    # longer than a deployment's pause, shorter than a night
    idle_ttl: float = _option(600.0, "idle-ttl", "a ready NIC above pool-high is given back after this", "duration")
    prewarm_ttl: float = _option(86400.0, "prewarm-ttl", "pre-warmed NICs are kept at least this long", "duration")
    # conntrack's TIME_WAIT and late packets are over by then
    quarantine: float = _option(60.0, "quarantine", "rest of a released NIC before reuse", "duration")
    quarantine_min: float = _option(5.0, "quarantine-min", "rest that not even an empty pool shortens", "duration")

    # -- the cloud --
    reconcile_interval: float = _option(30.0, "reconcile-interval", "pause between looks at the cloud", "duration")
    # hostnic's users report 5 as working; the API documents no limit
    attach_chunk: int = _option(10, "attach-chunk", "NICs in one AttachNics or DetachNics", "int")
    api_rate: float = _option(5.0, "api-rate", "calls a second at most", "rate")
    # a file does it without a restart: see the role's README
    degradation: str = _option("", "degradation", "L0: change nothing in the cloud; L1: give nothing back; else empty")

    # -- places --
    manageaddr: str = _option("127.0.0.1:31081", "manageaddr", "address of health, metrics and introspection")
    statedir: str = _option("/var/lib/qingagent", "statedir", "journal and spool")
    rundir: str = _option("/run/qingagent", "rundir", "socket and token")

    @property
    def calls_are_scarce(self) -> bool:
        """Each is at the cost of the account's other nodes."""
        return self.api_rate < SCARCE
