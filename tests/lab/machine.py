# SPDX-License-Identifier: GPL-3.0-or-later
"""A node as a machine: root file system, power on, power off."""

from __future__ import annotations

import contextlib
import shutil
import signal
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroups, mounts, ssh
from tests.lab.errors import LabError
from tests.lab.paths import LOGS, NODES, PREFIX, WORK
from tests.lab.procs import Process, namespace_pids
from tests.lab.sh import run
from tests.lab.wait import until

_POWER_OFF = signal.SIGRTMIN + 4
_NSPAWN = Path("/run/systemd/nspawn")


@dataclass(frozen=True)
class Machine:
    """``name`` for people; every name in the kernel carries the prefix."""

    name: str

    @property
    def kernel_name(self) -> str:
        """Of the netns, the cgroup and the nspawn machine."""
        return f"{PREFIX}-{self.name}"

    @property
    def root(self) -> Path:
        """Where its root is mounted here; its own tmpfs mounts are seen below /proc/PID/root only."""
        return NODES / self.name / "root"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def install(self, lower: Path, instance_id: str, hosts: t.Mapping[str, str], login_key: str) -> str:
        """Lay down the root with what makes this node itself; returns its SSH host key."""
        upper = WORK / self.name
        mounts.overlay(lower, upper / "upper", upper / "work", self.root)
        self._write("etc/hostname", f"{self.name}\n")
        table = "".join(f"{address} {name}\n" for name, address in hosts.items())
        self._write("etc/hosts", f"127.0.0.1 localhost\n{table}")
        self._write("etc/qingcloud/instance-id", f"{instance_id}\n")
        self._write("root/.ssh/authorized_keys", login_key, 0o600)
        (self.root / "root/.ssh").chmod(0o700)
        return ssh.make_host_key(self.root, self.name)

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def power_on(self) -> Process:
        """Boot and wait until systemd says that it is up; returns the node's init."""
        argv = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--capability=all",
            "--tmpfs=/var/lib/containerd",
            "--tmpfs=/var/lib/containers",
            f"--machine={self.kernel_name}",
            f"--network-namespace-path=/run/netns/{self.kernel_name}",
            f"--directory={self.root}",
        ]
        env = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "SYSTEMD_SECCOMP": "0",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1" if cgroups.unified() else "0",
        }
        supervisor = cgroups.spawn(self.kernel_name, argv, self.log, env)
        return self._booted(supervisor)

    def _booted(self, supervisor: Process) -> Process:
        def init() -> Process | None:
            if not supervisor.alive:
                raise LabError(f"{self.name}: systemd-nspawn ended, see {self.log}")
            return self.init()

        def up() -> bool:
            state = self.run(until(init, 10, f"{self.name}: init"), ["systemctl", "is-system-running"])
            return state.stdout.strip() in ("running", "degraded")

        until(up, 60, f"{self.name}: boot (see {self.log})")
        return until(init, 10, f"{self.name}: init")

    def init(self) -> Process | None:
        """The node's pid 1: the one process of its group that is first in a namespace just below ours."""
        for pid in sorted(cgroups.pids(self.kernel_name)):
            if namespace_pids(pid)[1:] == [1]:
                return Process.of(pid)
        return None

    @staticmethod
    def run(init: Process, argv: t.Sequence[str]) -> t.Any:
        """In all of the node's namespaces, without SSH."""
        return run(["nsenter", "--target", str(init.pid), "--all", "--", *argv], check=False, timeout=30)

    def halt(self, seconds: float = 15) -> None:
        """As a user would, then as nspawn would, then by force."""
        init = self.init()
        if init:
            init.end((_POWER_OFF, seconds))
        for process in filter(None, map(Process.of, cgroups.pids(self.kernel_name))):
            if len(namespace_pids(process.pid)) == 1:
                # 0 is no signal: nspawn has its moment to follow its payload.
                process.end((0, 3), (signal.SIGTERM, 5))
        cgroups.clear(self.kernel_name)

    def restart(self) -> Process:
        """Off and on with the disk as it is."""
        self.halt()
        return self.power_on()

    def power_off(self) -> None:
        """Halted and forgotten: nothing of it is left in the kernel or on the disk."""
        self.halt()
        self._forget_nspawn()
        mounts.unmount_below(NODES / self.name)
        for left in (NODES / self.name, WORK / self.name):
            shutil.rmtree(left, ignore_errors=True)

    def _forget_nspawn(self) -> None:
        """What nspawn leaves when it is killed; its lock is named by the root's inode."""
        with contextlib.suppress(OSError):
            (_NSPAWN / "propagate" / self.kernel_name).rmdir()
        if self.root.is_mount():
            root = self.root.stat()
            (_NSPAWN / "locks" / f"inode-{root.st_dev}:{root.st_ino}").unlink(missing_ok=True)


def all_names() -> list[str]:
    """Every node of which anything is there: a folder or processes."""
    found = {path.name for top in (NODES, WORK) if top.exists() for path in top.iterdir()}
    found.update(name[len(PREFIX) + 1 :] for name in cgroups.names() if name.startswith(f"{PREFIX}-node"))
    return sorted(found)
