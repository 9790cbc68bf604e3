# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of both sides: ours to log in with, the nodes' to know them by."""

from __future__ import annotations

import typing as t
from pathlib import Path

from tests.lab.paths import CONTROL, KNOWN_HOSTS, SSH_KEY
from tests.lab.sh import run

USER = "root"


def options() -> list[str]:
    """Host keys are checked against the lab's own list; connections are shared and close when idle."""
    return [
        "-o",
        f"UserKnownHostsFile={KNOWN_HOSTS}",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        f"ControlPath={CONTROL}/%C",
    ]


def make_key() -> str:
    """The public half."""
    CONTROL.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not SSH_KEY.exists():
        _keygen(SSH_KEY, "qclab")
    return SSH_KEY.with_suffix(".pub").read_text()


def make_host_key(root: Path, name: str) -> str:
    """The public half of a node's only host key."""
    path = root / "etc/ssh/ssh_host_ed25519_key"
    _keygen(path, name)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def _keygen(path: Path, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def know(hosts: t.Mapping[str, str]) -> None:
    """Write the known hosts: address to public key."""
    KNOWN_HOSTS.write_text("".join(f"{address} {key}\n" for address, key in hosts.items()))


def known() -> dict[str, str]:
    if not KNOWN_HOSTS.exists():
        return {}
    pairs = (line.partition(" ") for line in KNOWN_HOSTS.read_text().splitlines())
    return {address: key for address, _, key in pairs}


def command(address: str, argv: t.Sequence[str]) -> list[str]:
    return ["ssh", "-i", str(SSH_KEY), *options(), "-o", "BatchMode=yes", f"{USER}@{address}", *argv]


def close_all() -> None:
    """End the shared connections that somebody's ansible left open."""
    for control in CONTROL.glob("*") if CONTROL.exists() else ():
        run(["ssh", "-O", "exit", "-o", f"ControlPath={control}", "node"], check=False, timeout=10)
