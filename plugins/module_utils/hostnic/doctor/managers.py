# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the host's own programs that would like to have pods' NICs: told to leave them alone, or not running."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ..net import guard
from . import units
from .agent import ROLL_OUT
from .finding import CannotTell, Seen, error, warning
from .patient import Patient

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

RESTART: t.Final = f"systemctl restart {units.AGENT}"
# where the agent tells them
_NETWORK_MANAGER, _NETWORKD = (
    next(f"/{path}" for path in guard.FILES if path.endswith(name))
    for name in ("05-qingcni.conf", "05-qingcni.network")
)
_NETWORKD_DIRS: t.Final = tuple(f"/{where}/systemd/network" for where in ("etc", "run", "usr/lib"))
_CLOUD: t.Final = "/etc/cloud"
_HOTPLUG: t.Final = "hotplug"
_MATCH: t.Final = re.compile(r"^\[Match\]\s*$(.*?)(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
# what says which links of netplan's are meant, other than their names
_PATTERN: t.Final = re.compile(r"^\s*(?:name|driver):\s*[\"']?(\S*[*?\[]\S*)", re.MULTILINE)


def network_manager(patient: Patient) -> t.Iterator[Seen]:
    if patient.units()[units.NETWORK_MANAGER].active:
        yield from _untold(patient, "NetworkManager", _NETWORK_MANAGER)
    if patient.units()[units.NM_CLOUD_SETUP].active:
        what = "nm-cloud-setup configures every NIC that the cloud plugs in, those of pods too"
        yield warning(what, f"systemctl disable --now {units.NM_CLOUD_SETUP}")


def networkd(patient: Patient) -> t.Iterator[Seen]:
    if not patient.units()[units.NETWORKD].active:
        return
    yield from _untold(patient, "systemd-networkd", _NETWORKD)
    ours = Path(_NETWORKD).name
    for directory in _NETWORKD_DIRS:
        for path in patient.reader.files(directory, "*.network"):
            if path.name < ours and _matches_any(path.read_text(encoding="utf-8", errors="replace")):
                shown = patient.reader.shown(path)
                what = f"{shown} sorts before {ours} and is for links of any name, so it gets pods' NICs"
                yield error(what, f"mv {shown} {path.parent}/50-{path.name} && networkctl reload")


def netplan(patient: Patient) -> t.Iterator[Seen]:
    """It writes for the two above, which are told of each NIC; without that a pattern gets them all."""
    if patient.reader.at(_NETWORKD).exists() or patient.reader.at(_NETWORK_MANAGER).exists() or not patient.settled():
        return
    for path in patient.reader.files("/etc/netplan", "*.yaml"):
        pattern = _PATTERN.search(path.read_text(encoding="utf-8", errors="replace"))
        if pattern:
            what = (
                f"{patient.reader.shown(path)} is for links like {pattern.group(1)}, and nobody has told of pods' NICs"
            )
            yield warning(what, RESTART)


def cloud_init(patient: Patient) -> t.Iterator[Seen]:
    if not patient.reader.at(f"{_CLOUD}/cloud.cfg").exists():
        return
    if patient.reader.at(f"{_CLOUD}/cloud-init.disabled").exists():
        return
    if yaml is None:
        raise CannotTell("what cloud-init is told is YAML, and the package PyYAML is missing")
    merged: dict[str, t.Any] = {}
    for path in [*patient.reader.files(_CLOUD, "cloud.cfg"), *patient.reader.files(f"{_CLOUD}/cloud.cfg.d", "*.cfg")]:
        merged.update(_told(path))
    if merged.get("network") == {"config": "disabled"}:
        return
    when = merged.get("updates")
    if when is None or _HOTPLUG in when or "boot" in when:
        how = (
            f"is told to configure the network at: {', '.join(when)}"
            if when
            else "is not told to leave hot-plugged NICs"
        )
        what = f"cloud-init {how}, so it may configure NICs of pods"
        yield warning(what, f"set qingagent_host_settings to true and {ROLL_OUT}")


def _untold(patient: Patient, manager: str, path: str) -> t.Iterator[Seen]:
    """It runs: has the agent told it of each NIC?"""
    told = patient.reader.at(path)
    text = told.read_text(encoding="utf-8", errors="replace").lower() if told.exists() else ""
    missing = sorted(mac for mac in patient.settled() if mac not in text)
    if missing:
        what = f"{manager} runs and {path} does not tell it to leave {', '.join(missing[:5])} alone"
        yield warning(f"{what}{' and others' if missing[5:] else ''}: it may configure or rename pods' NICs", RESTART)


def _matches_any(text: str) -> bool:
    """Whether a file of networkd's is for more than links that it names."""
    section = _MATCH.search(text)
    if section is None:
        return True
    keys = dict(
        line.partition("=")[::2] for line in section.group(1).splitlines() if "=" in line and line[0] not in "#;"
    )
    if any(key.strip() in ("MACAddress", "PermanentMACAddress", "Kind") for key in keys):
        return False
    names = " ".join(value for key, value in keys.items() if key.strip() in ("Name", "OriginalName")).split()
    return not names or any(re.search(r"[*?\[!]", name) for name in names)


def _told(path: Path) -> dict[str, t.Any]:
    """`network` and the times of `updates.network.when` of one of cloud-init's files."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except yaml.YAMLError:
        return {}
    if not isinstance(content, dict):
        return {}
    found = {"network": content["network"]} if "network" in content else {}
    updates = content.get("updates")
    network = updates.get("network") if isinstance(updates, dict) else None
    when = network.get("when") if isinstance(network, dict) else None
    return {**found, "updates": [str(one) for one in when]} if isinstance(when, list) else found
