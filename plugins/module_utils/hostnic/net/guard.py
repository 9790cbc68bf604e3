# SPDX-License-Identifier: GPL-3.0-or-later
"""The port Guard: keeps network managers and udev off our NICs, told before these appear.

Nobody may configure, rename or re-MAC a NIC between its hot-plug and its parking. Its MAC is known from CreateNics, so
runtime files name it before AttachNics. They are volatile on purpose: after a reboot they are written anew, before the
managers start, since NICs that are attached already are there from the beginning.
"""

from __future__ import annotations

import logging
import re
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("hostnic.net")

_MAC: t.Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TIMEOUT: t.Final = 10.0
_INACTIVE: t.Final = "exit status"  # systemctl, which says nothing else then
_NOT_ON_THE_BUS: t.Final = "does not exist"  # busctl
_HEAD: t.Final = "# Written by qingagent: these NICs belong to pods. Gone after a reboot; do not edit.\n"

# Runs a command; returns "" or what went wrong.
Runner = t.Callable[[t.Sequence[str]], str]
_Text = t.Callable[[t.Sequence[str]], str]


@dataclass(frozen=True)
class _Manager:
    """`present`: paths below the root of which one shows that it runs or is installed; `unit`: what runs where it does;
    `reload`: how it is told of new files then.
    """

    name: str
    present: tuple[str, ...]
    unit: str
    files: dict[str, _Text]
    reload: tuple[str, ...]


def _matching(key: str, rest: str) -> _Text:
    return lambda macs: f"{_HEAD}[Match]\n{''.join(f'{key}={mac}' + chr(10) for mac in macs)}\n[Link]\n{rest}"


def _network_manager(macs: t.Sequence[str]) -> str:
    # A section of its own adds to the administrator's files; `unmanaged-devices` would be replaced by theirs.
    devices = ";".join(f"mac:{mac}" for mac in macs)
    return f"{_HEAD}[device-qingcni]\nmatch-device={devices}\nmanaged=0\n"


# The bus must not start a manager that its administrator has stopped.
def _call(name: str, *what: str) -> tuple[str, ...]:
    path = "/" + name.replace(".", "/")
    return ("busctl", "call", "--auto-start=no", "--timeout=5", name, path, *what)


_UNMANAGED: t.Final = "Unmanaged=yes\n"
_LEFT_ALONE: t.Final = "NamePolicy=keep\nAlternativeNamesPolicy=\nMACAddressPolicy=none\n"

# Two files each: keys within one [Match] are joined by "and". MACAddress= finds a NIC without a permanent address,
# PermanentMACAddress= one that comes back from a container with another MAC.
_MANAGERS: t.Final = (
    _Manager(
        "systemd-networkd",
        ("run/systemd/system",),
        "systemd-networkd.service",
        {
            "run/systemd/network/05-qingcni.network": _matching("MACAddress", _UNMANAGED),
            "run/systemd/network/05-qingcni-permanent.network": _matching("PermanentMACAddress", _UNMANAGED),
        },
        _call("org.freedesktop.network1", "org.freedesktop.network1.Manager", "Reload"),
    ),
    _Manager(
        "udev",
        ("run/udev/control", "usr/bin/udevadm", "bin/udevadm"),
        "systemd-udevd.service",
        {
            "run/systemd/network/05-qingcni.link": _matching("MACAddress", _LEFT_ALONE),
            "run/systemd/network/05-qingcni-permanent.link": _matching("PermanentMACAddress", _LEFT_ALONE),
        },
        ("udevadm", "control", "--reload"),
    ),
    _Manager(
        "NetworkManager",
        ("run/NetworkManager", "usr/sbin/NetworkManager", "usr/bin/NetworkManager"),
        "NetworkManager.service",
        {"run/NetworkManager/conf.d/05-qingcni.conf": _network_manager},
        _call("org.freedesktop.NetworkManager", "org.freedesktop.NetworkManager", "Reload", "u", "1"),
    ),
)

# All of them, as paths below the root.
FILES: t.Final = tuple(path for manager in _MANAGERS for path in manager.files)


def run_command(command: t.Sequence[str]) -> str:
    """In this process's namespaces, with a deadline; never raises."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"


class ManagerGuard:
    """Implements `ports.Guard`. Whatever fails is logged: an unguarded NIC is a nuisance, an idle pool an outage."""

    def __init__(self, root: Path = Path("/"), run: Runner = run_command) -> None:
        self._root = root
        self._run = run
        # Managers whose files are newer than what they have been told. All at first: the files may be from a process
        # that ran when a manager was just starting.
        self._untold = {manager.name for manager in _MANAGERS}

    def protect(self, macs: t.Iterable[str]) -> None:
        """Files that are right stay as they are; without MACs there are no files, as an empty match matches all."""
        chosen = sorted(mac for mac in set(macs) if _is_mac(mac))
        for manager in _MANAGERS:
            if not any((self._root / path).exists() for path in manager.present):
                continue
            written = [self._ensure(self._root / path, text, chosen) for path, text in manager.files.items()]
            if True in written:
                self._untold.add(manager.name)
            standing = any((self._root / path).exists() for path in manager.files)
            if manager.name in self._untold and (standing or True in written):
                self._tell(manager)

    def _ensure(self, path: Path, text: _Text, macs: t.Sequence[str]) -> bool:
        """Whether the file was written or removed."""
        try:
            before = path.read_bytes() if path.exists() else b""
            wanted = text(macs).encode() if macs else b""
            if before == wanted:
                return False
            if wanted:
                made = _make_readable(path.parent)
                _replace(path, wanted)
                self._label(made)
            else:
                path.unlink()
        except OSError as error:
            log.warning("cannot write %s, so a network manager may touch pods' NICs: %s", path, error)
            return False
        return True

    def _label(self, made: t.Optional[Path]) -> None:
        """Under SELinux, a manager that finds its own directory with another label could not write there."""
        if made is not None and (self._root / "sys/fs/selinux/enforce").exists():
            trouble = self._run(("restorecon", "-R", str(made)))
            if trouble:
                log.warning("%s has no SELinux label of its own, which may hinder its owner: %s", made, trouble)

    def _tell(self, manager: _Manager) -> None:
        """Asks first: early during boot, to tell would be to wait for one that waits for us."""
        state = self._run(("systemctl", "is-active", "--quiet", manager.unit))
        trouble = state or self._run(manager.reload)
        # one that is not running reads the files when it starts
        self._untold.discard(manager.name)
        if state.startswith(_INACTIVE) or _NOT_ON_THE_BUS in trouble:
            log.debug("%s is not running", manager.name)
        elif trouble:
            self._untold.add(manager.name)
            log.warning("%s was not told which NICs belong to pods and may touch them: %s", manager.name, trouble)


def _is_mac(mac: str) -> bool:
    if _MAC.fullmatch(mac):
        return True
    log.warning("%r is no MAC address in lower case and cannot be guarded", mac)
    return False


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.chmod(0o644)
    draft.replace(path)


def _make_readable(directory: Path) -> t.Optional[Path]:
    """Whatever the umask: systemd-networkd reads as a user of its own. Returns the topmost that had to be made."""
    if directory.exists():
        return None
    above = _make_readable(directory.parent)
    directory.mkdir()
    directory.chmod(0o755)
    return above or directory
