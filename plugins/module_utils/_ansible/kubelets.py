# SPDX-License-Identifier: GPL-3.0-or-later
"""How the kubelet of a node takes a setting beside those that it has: a directory of its own, or its unit's.

Kubernetes: "Kubelet configuration drop-in directory" and kubeadm's 10-kubeadm.conf; k3s and RKE2: "Configuration file".
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

NAME: t.Final = "90-qingcloud-cni"
# Programs with a kubelet inside, and the units that they may run as.
INSIDE: t.Final[t.Mapping[str, tuple[str, ...]]] = {
    "k3s": ("k3s-agent.service", "k3s.service"),
    "rke2": ("rke2-agent.service", "rke2-server.service"),
}
UNIT_DIRS: t.Final = (
    "etc/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
# What a kubelet's command line is put together from, besides its unit.
ARGUMENT_FILES: t.Final = ("var/lib/kubelet/kubeadm-flags.env", "etc/default/kubelet", "etc/sysconfig/kubelet")

_CONFIG_DIR = re.compile(r"--config-dir[= ][\"']?([^\s\"']+)")
_EXTRA = re.compile(r"^\s*KUBELET_EXTRA_ARGS=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Kubelet:
    """`kind`: config-dir, unit, k3s or rke2; `taken`: the file whose KUBELET_EXTRA_ARGS would win over a unit's."""

    kind: str
    path: str
    unit: str
    taken: str = ""


def find(root: Path = Path("/")) -> t.Optional[Kubelet]:
    """None where there is none."""
    for kind, units in INSIDE.items():
        unit = next((name for name in units if _unit(root, name)), None)
        if unit:
            return Kubelet(kind, f"/etc/rancher/{kind}/config.yaml.d/{NAME}.yaml", unit)
    unit_files = _unit(root, "kubelet.service")
    if not unit_files:
        return None
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in unit_files + _arguments(root)}
    for text in texts.values():
        directory = _CONFIG_DIR.search(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
        if directory:
            return Kubelet("config-dir", f"{directory.group(1).rstrip('/')}/{NAME}.conf", "kubelet.service")
    ours = f"etc/systemd/system/kubelet.service.d/{NAME}.conf"
    taken = [path for path in _arguments(root) if any(value.strip(" \"'") for value in _EXTRA.findall(texts[path]))]
    where = f"/{taken[0].relative_to(root)}" if taken else ""
    return Kubelet("unit", f"/{ours}", "kubelet.service", where)


def _unit(root: Path, name: str) -> list[Path]:
    """The unit's file and its drop-ins; nothing where there is no such unit."""
    files = [root / directory / name for directory in UNIT_DIRS]
    drop_ins = [path for directory in UNIT_DIRS for path in sorted((root / directory / f"{name}.d").glob("*.conf"))]
    found = [path for path in files if path.is_file()]
    return found + drop_ins if found else []


def _arguments(root: Path) -> list[Path]:
    return [path for path in (root / name for name in ARGUMENT_FILES) if path.is_file()]
