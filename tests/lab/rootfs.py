# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes' root file system: built once by debootstrap, shared read-only below every node's overlay."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

from tests.lab import apt, cgroups, image, lock, mounts
from tests.lab.errors import LabError
from tests.lab.paths import CACHE, LOGS, NAME, PREFIX

_HERE = Path(__file__).parent
_UNITS = _HERE / "units"
_BUILD = f".build{NAME}-"

# Would start, or wait for, what the lab does not want of a node. A test may unmask the network managers.
_MASKED: t.Final = """
    NetworkManager.service NetworkManager-dispatcher.service NetworkManager-wait-online.service
    podman.service podman.socket podman-restart.service podman-auto-update.service podman-auto-update.timer
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer man-db.timer console-getty.service systemd-pstore.service
"""

_DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt/archives")


def packages(text: str) -> list[str]:
    """Names of a package list, in its order, comments left out."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def key(suite: str, names: t.Iterable[str], recipe: t.Iterable[bytes]) -> str:
    """Name of the cached root: another list or another recipe is another root."""
    digest = hashlib.sha256("\n".join(sorted(names)).encode())
    for part in recipe:
        digest.update(hashlib.sha256(part).digest())
    return f"{suite}-{digest.hexdigest()[:12]}"


def current(suite: str) -> Path:
    """Where the root of this suite is, or will be."""
    names = packages((_HERE / "packages.txt").read_text())
    recipe = [
        platform.machine().encode(),
        *(path.read_bytes() for path in (Path(__file__), _HERE / "image.py", *sorted(_UNITS.iterdir()))),
    ]
    return CACHE / key(suite, names, recipe) / "root"


def ensure(suite: str, report: t.Callable[[str], None]) -> Path:
    """The cached root, built when it is not there. Half-built ones never get the name."""
    if not re.fullmatch(r"[a-z][a-z0-9.-]*", suite):
        raise LabError(f"{suite!r} is no name of a Debian suite")
    root = current(suite)
    with lock.alone("building", report):
        if not root.exists():
            _build(suite, root, report)
    return root


def _build(suite: str, root: Path, report: t.Callable[[str], None]) -> None:
    sweep()
    building = CACHE / f"{_BUILD}{root.parent.name}"
    building.mkdir(parents=True)
    _debootstrap(suite, building / "root", report)
    report("finishing")
    _finish(building / "root")
    os.sync()
    building.rename(root.parent)
    for other in CACHE.glob(f"{suite}-*"):
        if other != root.parent and not mounts.is_lower(other / "root"):
            shutil.rmtree(other)


def sweep() -> None:
    """Remove what killed builds left."""
    for left in CACHE.glob(f"{_BUILD}*"):
        mounts.unmount_below(left)
        shutil.rmtree(left)


def _debootstrap(suite: str, target: Path, report: t.Callable[[str], None]) -> None:
    source = apt.machine_mirror(suite)
    names = packages((_HERE / "packages.txt").read_text())
    argv = ["debootstrap", "--variant=minbase", f"--include={','.join(names)}"]
    if source.keyring:
        argv.append(f"--keyring={source.keyring}")
    log = LOGS / "debootstrap.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    group = f"{PREFIX}-build"
    with log.open("w") as out:
        child = subprocess.Popen(
            cgroups.within(group, [*argv, suite, str(target), source.uri]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **apt.proxy(), "LC_ALL": "C.UTF-8"},
        )
        for line in child.stdout or ():
            out.write(line)
            if line.startswith("I: "):
                report(line[3:].strip().rstrip("."))
    code = child.wait()
    cgroups.clear(group)
    if code:
        tail = log.read_text().splitlines()[-3:]
        raise LabError(f"debootstrap of {suite} failed, see {log}: {' / '.join(tail)}")


def _finish(root: Path) -> None:
    for name in _DROPPED:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    for lists in (root / "var/lib/apt/lists").iterdir():
        shutil.rmtree(lists) if lists.is_dir() else lists.unlink()
    # Nodes have no way out, and what was this machine's is not theirs.
    for name in ("etc/apt/sources.list", "etc/resolv.conf", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/resolv.conf").touch()
    (root / "etc/machine-id").write_text("")
    for path in (root / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    system = root / "etc/systemd/system"
    for unit in _MASKED.split():
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    for source in _UNITS.iterdir():
        _enable(system, source)
    # A login's user manager does not end by itself under version 1 of cgroups: power off would wait for it.
    session = root / "etc/pam.d/common-session"
    session.write_text(re.sub(r".*pam_systemd\.so.*\n", "", session.read_text()))
    config = root / "etc/containerd/config.toml"
    config.write_text(containerd_config(config.read_text()))
    (root / "usr/share/qclab").mkdir(parents=True)
    image.build(root / "bin/busybox", root / "usr/share/qclab/image.tar")


def _enable(system: Path, source: Path) -> None:
    text = source.read_text()
    (system / source.name).write_text(text)
    for target in re.findall(r"^WantedBy=(\S+)$", text, re.MULTILINE):
        wants = system / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (wants / source.name).symlink_to(f"../{source.name}")


def containerd_config(text: str) -> str:
    """The distribution's file with what a node without CAP_SYS_RESOURCE and without a registry needs."""
    table = '[plugins."io.containerd.grpc.v1.cri"]'
    if table not in text:
        raise LabError("the distribution's containerd configuration has no CRI table")
    ours = f'\n    restrict_oom_score_adj = true\n    sandbox_image = "{image.IMAGE}"'
    return text.replace(table, table + ours, 1)
