# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to the lab, read from /proc: processes by identity, groups, mounts."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab import cgroups, mounts, procs
from tests.lab.procs import Process

STAT = "4711 (a (b) c) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 219382 8192 1 18446744073709551615"

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
40 22 0:40 / /run/qingcloud-lab/nodes/node1/root rw - overlay overlay rw,lowerdir=/a,upperdir=/b
41 40 0:41 / /run/qingcloud-lab/nodes/node1/root/a\\040b rw - tmpfs tmpfs rw
42 22 0:42 / /run/qingcloud-lab-other rw - tmpfs tmpfs rw
"""


def test_stat_with_any_name() -> None:
    assert procs.parse_stat(STAT) == ("S", 219382)


def test_identity_is_pid_and_start() -> None:
    own = Process.of(os.getpid())
    assert own is not None and own.alive
    assert not Process(own.pid, own.start + 1).alive


def test_an_impostor_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        real = Process.of(child.pid)
        assert real is not None
        assert Process(real.pid, real.start - 1).end((signal.SIGKILL, 5))
        assert child.poll() is None
        assert real.end((signal.SIGTERM, 5))


def test_a_stubborn_process_gets_the_next_signal() -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        real = Process.of(child.pid)
        assert real is not None
        assert not real.end((signal.SIGTERM, 0.1))
        assert real.end((signal.SIGTERM, 0.1), (signal.SIGKILL, 5))
        assert child.wait() == -signal.SIGKILL


def test_own_pid_namespace() -> None:
    assert procs.namespace_pids(os.getpid())[0] == os.getpid()
    assert procs.namespace_pids(2**22 + 1) == []


def test_every_cgroup_hierarchy() -> None:
    assert cgroups.hierarchies(MOUNTINFO) == [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified")]


def test_mounts_from_the_inside_out() -> None:
    root = Path("/run/qingcloud-lab/nodes/node1/root")
    assert mounts.below(Path("/run/qingcloud-lab"), MOUNTINFO) == [root / "a b", root]


def test_a_root_in_use() -> None:
    assert mounts.is_lower(Path("/a"), MOUNTINFO)
    assert not mounts.is_lower(Path("/"), MOUNTINFO)


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_in_no_group_is_the_command_itself(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(cgroups, "make", lambda name: [])
    argv = cgroups.within("qclab-test", ["sh", "-c", f"exit {code}"])
    assert subprocess.run(argv, check=False).returncode == code
