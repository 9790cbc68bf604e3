# SPDX-License-Identifier: GPL-3.0-or-later
"""Which network namespaces have a name in /proc."""

from __future__ import annotations

import errno
import typing as t
from pathlib import Path

import pytest

from hostnic.net.spaces import Spaces


class Proc:
    """A /proc in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys").mkdir()
        (root / "uptime").touch()

    def process(self, number: int, mounts: str, *threads: str, mountinfo: t.Sequence[str] = ()) -> Path:
        process = self.root / str(number)
        (process / "ns").mkdir(parents=True)
        (process / "ns/mnt").symlink_to(f"mnt:[{mounts}]")
        (process / "mountinfo").write_text("".join(f"{line}\n" for line in mountinfo))
        for offset, space in enumerate(threads):
            task = process / f"task/{number + offset}/ns"
            task.mkdir(parents=True)
            (task / "net").symlink_to(space)
        return process

    def read(self) -> Spaces:
        return Spaces(self.root)

    def near(self) -> list[tuple[int, str]]:
        return self._short(self.read().near())

    def far(self) -> list[tuple[int, str]]:
        return self._short(self.read().far())

    def _short(self, names: t.Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
        return [(inode, path.replace(f"{self.root}/", "")) for inode, path in names]


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def mount(root: str, point: str, kind: str = "nsfs") -> str:
    return f"71 25 0:4 {root} {point} rw,relatime shared:3 master:1 - {kind} {kind} rw"


def test_the_first_processs_mounts_come_first_then_every_task_then_other_mounts(proc: Proc) -> None:
    proc.process(10, "2", "net:[3]", mountinfo=[mount("net:[7]", "/c")])
    proc.process(2, "1", "net:[2]", "net:[4]", mountinfo=[mount("net:[9]", "/not/asked")])
    proc.process(1, "1", "net:[1]", mountinfo=[mount("net:[5]", "/run/netns/a"), mount("/", "/", "ext4")])
    proc.process(11, "2", "net:[3]", mountinfo=[mount("net:[8]", "/not/asked")])
    names = proc.near()
    assert names[:2] == [(5, "1/root/run/netns/a"), (1, "1/task/1/ns/net")]
    assert set(names[2:4]) == {(2, "2/task/2/ns/net"), (4, "2/task/3/ns/net")}
    assert names[4:] == [(3, "10/task/10/ns/net"), (3, "11/task/11/ns/net")]
    assert proc.far() == [(7, "10/root/c")]


def test_mounts_of_other_kinds_and_odd_paths(proc: Proc) -> None:
    lines = [
        mount("mnt:[6]", "/run/snapd/ns/x.mnt"),
        mount("net:[6]", "/fake", "tmpfs"),
        mount("net:[7]", r"/with\040blank\134and\011tab"),
        mount("net:[8]", "/plain/"),
    ]
    proc.process(1, "1", "net:[1]", mountinfo=lines)
    assert proc.near()[:-1] == [(7, "1/root/with blank\\and\ttab"), (8, "1/root/plain/")]
    assert proc.far() == []


def test_what_has_ended_is_passed_over(proc: Proc) -> None:
    proc.process(1, "1", "net:[1]")
    for gone in ("task/2/ns/net", "ns/mnt", "mountinfo"):
        (proc.process(2, "2", "net:[2]") / gone).unlink()
        reading = proc.read()
        assert {inode for inode, __ in [*reading.near(), *reading.far()]} <= {1, 2}
        assert reading.trouble is None
        proc = Proc(_empty(proc.root))
        proc.process(1, "1", "net:[1]")
    (proc.root / "3").mkdir()
    reading = proc.read()
    assert [inode for inode, __ in [*reading.near(), *reading.far()]] == [1]
    assert reading.trouble is None


@pytest.mark.parametrize("what", ["task", "task/2/ns/net", "ns/mnt", "mountinfo"])
def test_what_cannot_be_read_is_remembered_and_the_rest_is_read(proc: Proc, what: str) -> None:
    proc.process(1, "1", "net:[1]")
    process = proc.process(2, "2", "net:[2]", mountinfo=[mount("net:[3]", "/x")])
    proc.process(4, "4", "net:[4]", mountinfo=[mount("net:[5]", "/x")])
    broken = process / what
    broken.rename(process / "away")
    if what in ("task", "ns/mnt"):
        broken.touch()  # neither a directory nor a link
    else:
        broken.mkdir()
    reading = proc.read()
    names = [inode for inode, __ in [*reading.near(), *reading.far()]]
    assert {1, 4, 5} <= set(names)
    assert reading.trouble and f"cannot look into {process / what}: " in str(reading.trouble)
    assert reading.trouble.details["errno"]


def test_a_process_that_ends_before_its_mounts_are_read(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(__: Path) -> bytes:
        raise OSError(errno.EINVAL, "it has no namespaces any more")

    proc.process(1, "1", "net:[1]")
    monkeypatch.setattr(Path, "read_bytes", ended)
    reading = proc.read()
    assert [inode for inode, __ in reading.near()] == [1]
    assert reading.trouble is None


def test_a_proc_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    reading = Spaces(tmp_path / "absent")
    assert [*reading.near(), *reading.far()] == []


def _empty(root: Path) -> Path:
    following = root / "again"
    following.mkdir()
    return following
