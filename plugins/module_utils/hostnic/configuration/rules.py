# SPDX-License-Identifier: GPL-3.0-or-later
"""What settings must be, each for itself and beside one another. Only meaning; types are `values`' matter."""

from __future__ import annotations

import re
import typing as t

from ..errors import InvalidConfig
from .settings import DEGRADATIONS, LOG_LEVELS, PLACEHOLDER_VXNET, POLICIES, Settings
from .values import is_loopback

_VXNET = re.compile(r"vxnet-[a-z0-9]+")
_ZONE = re.compile(r"[a-z0-9][a-z0-9-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}")
_IFACE = re.compile(r"[^\s/]{1,15}")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})")
# An instance takes 64 NICs, its primary among them.
MOST_NICS: t.Final = 63

Problems = t.Iterator[tuple[str, str]]


def check(settings: Settings) -> None:
    """Raises `InvalidConfig` for the first setting that cannot work, with its key as `setting` in the details."""
    rules = (
        _vxnets(settings),
        _words(settings),
        _places(settings),
        _numbers(settings),
    )
    for rule in rules:
        for key, sentence in rule:
            raise InvalidConfig(sentence, setting=key)


def _vxnets(settings: Settings) -> Problems:
    if PLACEHOLDER_VXNET in settings.vxnet:
        yield "vxnet", f"vxnet {PLACEHOLDER_VXNET} is a placeholder: set vxnet to the id of a vxnet in your VPC"
    if not settings.vxnet:
        yield "vxnet", "vxnet is empty: name at least one vxnet for pods"
    for vxnet_id in settings.vxnet:
        if not _VXNET.fullmatch(vxnet_id):
            yield "vxnet", f"vxnet {vxnet_id!r} does not look like the id of a vxnet, such as vxnet-0a1b2c3"
    if len(set(settings.vxnet)) != len(settings.vxnet):
        yield "vxnet", "vxnet names a vxnet twice: name each once"


def _words(settings: Settings) -> Problems:
    if settings.policy not in POLICIES:
        yield "policy", f"policy {settings.policy!r} is none of {', '.join(POLICIES)}"
    if settings.loglevel not in LOG_LEVELS:
        yield "loglevel", f"loglevel {settings.loglevel!r} is none of {', '.join(LOG_LEVELS)}"
    if settings.degradation not in DEGRADATIONS:
        yield "degradation", f"degradation {settings.degradation!r} is neither L0 nor L1 nor empty"
    if not _ZONE.fullmatch(settings.zone):
        yield "zone", f"zone {settings.zone!r} does not look like a zone, such as pek3a"
    if not _NAME.fullmatch(settings.gatewayns):
        yield "gatewayns", f"gatewayns {settings.gatewayns!r} must be letters, digits, dots, dashes, at most 41"
    if not _IFACE.fullmatch(settings.iface):
        yield "iface", f"iface {settings.iface!r} is no name of a network interface, such as eth0"


def _places(settings: Settings) -> Problems:
    for key, address in (("bindaddr", settings.bindaddr), ("manageaddr", settings.manageaddr)):
        found = _ADDRESS.fullmatch(address)
        if not found or int(found.group(1)) > 65535:
            yield key, f"{key} {address!r} must be an address and a port, such as 127.0.0.1:31080"
    if not is_loopback(settings.bindaddr.rpartition(":")[0].strip("[]")):
        said = f"bindaddr {settings.bindaddr!r} would let others order this node's NICs"
        yield "bindaddr", f"{said}: use 127.0.0.1 and the port, as in 127.0.0.1:31080"
    if not is_loopback(settings.manageaddr.rpartition(":")[0].strip("[]")):
        said = f"manageaddr {settings.manageaddr!r} would tell others of this node's pods"
        yield "manageaddr", f"{said}: use 127.0.0.1, and have Prometheus scrape from this host (docs/metrics.md)"
    if settings.bindaddr == settings.manageaddr and not settings.bindaddr.endswith(":0"):
        yield "manageaddr", f"manageaddr and bindaddr are both {settings.bindaddr}: give each its own port"
    for key, path in (
        ("QYAccessFilePath", settings.access_file),
        ("statedir", settings.statedir),
        ("rundir", settings.rundir),
    ):
        if not path.startswith("/"):
            yield key, f"{key} {path!r} must be a path from the root"


def _numbers(settings: Settings) -> Problems:
    low, high, most = settings.pool_low, settings.pool_high, settings.max_nics
    if not 1 <= most <= MOST_NICS:
        yield "max-nics", f"max-nics is {most}: an instance takes 1 to {MOST_NICS} besides its own"
    if low < 0:
        yield "pool-low", f"pool-low is {low}: it is 0 or more"
    if low > high:
        yield "pool-low", f"pool-low is {low}, more than pool-high, which is {high}: lower it or raise pool-high"
    if high > most:
        yield "pool-high", f"pool-high is {high}, more than max-nics, which is {most}: lower it or raise max-nics"
    if settings.quarantine_min > settings.quarantine:
        yield (
            "quarantine-min",
            f"quarantine-min is {settings.quarantine_min:g}s, more than quarantine, which is {settings.quarantine:g}s",
        )
    if settings.reconcile_interval < 1:
        yield "reconcile-interval", "reconcile-interval is less than 1s: the API would refuse so many calls"
    if not 1 <= settings.attach_chunk <= MOST_NICS:
        yield "attach-chunk", f"attach-chunk is {settings.attach_chunk}: it is 1 to {MOST_NICS}"
    if settings.api_rate <= 0:
        yield "api-rate", "api-rate is more than 0 calls a second"
