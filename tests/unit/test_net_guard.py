# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that keep network managers off our NICs."""

from __future__ import annotations

import configparser
import logging
import os
import stat
import typing as t
from pathlib import Path

import pytest

from hostnic.net.guard import ManagerGuard, run_command
from hostnic.ports import Guard

A, B = "52:54:9e:00:00:0a", "52:54:9e:00:00:0b"
NETWORKD, UDEV, NM = "org.freedesktop.network1", "udevadm", "org.freedesktop.NetworkManager"
PRESENT = {NETWORKD: "run/systemd/system", UDEV: "run/udev/control", NM: "run/NetworkManager"}
UNITS = {NETWORKD: "systemd-networkd.service", UDEV: "systemd-udevd.service", NM: "NetworkManager.service"}


class Host:
    """A root directory with managers, and what they were told; `running`: those that systemd calls active."""

    def __init__(self, root: Path, *managers: str) -> None:
        self.root = root
        self.told: list[str] = []
        self.other: list[t.Sequence[str]] = []
        self.running = set(managers)
        self.state = ""
        self.answer = ""
        for manager in managers:
            (root / PRESENT[manager]).mkdir(parents=True)
        self.guard: Guard = ManagerGuard(root, self.run)

    def run(self, command: t.Sequence[str]) -> str:
        if command[0] == "systemctl":
            assert command[1:3] == ("is-active", "--quiet")
            (manager,) = [name for name, unit in UNITS.items() if unit == command[3]]
            return self.state or ("" if manager in self.running else "exit status 3")
        if command[0] == "restorecon":
            self.other.append(command)
            return self.answer
        (manager,) = [name for name in PRESENT if name in command]
        self.told.append(manager)
        return self.answer

    def files(self) -> dict[str, str]:
        return {str(p.relative_to(self.root)): p.read_text() for p in sorted(self.root.rglob("*")) if p.is_file()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, *PRESENT)


def test_each_manager_gets_its_files_and_is_told_once(host: Host) -> None:
    host.guard.protect([B, A, A])
    files = host.files()
    assert sorted(files) == [
        "run/NetworkManager/conf.d/05-qingcni.conf",
        "run/systemd/network/05-qingcni-permanent.link",
        "run/systemd/network/05-qingcni-permanent.network",
        "run/systemd/network/05-qingcni.link",
        "run/systemd/network/05-qingcni.network",
    ]
    for kind, setting in (("network", "Unmanaged=yes"), ("link", "MACAddressPolicy=none")):
        for suffix, key in (("", "MACAddress"), ("-permanent", "PermanentMACAddress")):
            text = files[f"run/systemd/network/05-qingcni{suffix}.{kind}"]
            match, settings = text.split("[Match]\n")[1].split("[Link]\n")
            assert match.split() == [f"{key}={A}", f"{key}={B}"]
            assert setting in settings.splitlines()
    parser = configparser.ConfigParser()
    parser.read_string(files["run/NetworkManager/conf.d/05-qingcni.conf"])
    assert dict(parser["device-qingcni"]) == {"match-device": f"mac:{A};mac:{B}", "managed": "0"}
    assert host.told == [NETWORKD, UDEV, NM]


def test_nothing_happens_where_nothing_changed(host: Host) -> None:
    host.guard.protect([A, B])
    before = {path: path.stat().st_mtime_ns for path in host.root.rglob("*") if path.is_file()}
    host.told.clear()
    host.guard.protect(iter((B, A)))
    assert host.told == []
    assert {path: path.stat().st_mtime_ns for path in host.root.rglob("*") if path.is_file()} == before
    host.guard.protect([A])
    assert host.told == [NETWORKD, UDEV, NM]
    assert not [path for path, text in host.files().items() if B in text]


def test_what_another_process_wrote_is_told_once_by_the_next(host: Host) -> None:
    """It may have run while a manager was just starting."""
    host.guard.protect([A])
    before = {path: path.stat().st_mtime_ns for path in host.root.rglob("*") if path.is_file()}
    host.told.clear()
    following = ManagerGuard(host.root, host.run)
    following.protect([A])
    following.protect([A])
    assert host.told == [NETWORKD, UDEV, NM]
    assert {path: path.stat().st_mtime_ns for path in host.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("nothing", [[], ["not a MAC"], ["52:54:9E:00:00:0A"], ["", "x\n[Match]\nName=*"]])
def test_an_empty_match_is_never_written(host: Host, nothing: list[str]) -> None:
    """It would match every link of the host."""
    host.guard.protect(nothing)
    assert host.files() == {} and host.told == []
    host.guard.protect([A])
    assert len(host.files()) == 5
    host.told.clear()
    host.guard.protect(nothing)
    assert host.files() == {} and host.told == [NETWORKD, UDEV, NM]


@pytest.mark.parametrize("manager", list(PRESENT))
def test_only_what_is_present_gets_files(tmp_path: Path, manager: str) -> None:
    host = Host(tmp_path, manager)
    host.guard.protect([A])
    assert host.told == [manager]
    assert all((".conf" in path) == (manager == NM) for path in host.files())


def test_a_manager_that_appears_later_is_told_then(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.guard.protect([A])
    assert (host.files(), host.told) == ({}, [])
    (tmp_path / PRESENT[NM]).mkdir(parents=True)
    host.running = {NM}
    host.guard.protect([A])
    assert host.told == [NM]


@pytest.mark.parametrize(
    ("program", "files"),
    [
        ("usr/sbin/NetworkManager", 1),
        ("usr/bin/NetworkManager", 1),
        ("usr/bin/udevadm", 2),
        ("bin/udevadm", 2),
        ("usr/sbin/other", 0),
    ],
)
def test_early_during_boot_an_installed_manager_gets_its_files_and_is_not_waited_for(
    tmp_path: Path, program: str, files: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its directory below /run is not there yet, and its start waits for ours."""
    caplog.set_level(logging.INFO)
    (tmp_path / program).parent.mkdir(parents=True)
    (tmp_path / program).touch()
    host = Host(tmp_path)
    host.guard.protect([A])
    assert sum(A in text for text in host.files().values()) == files
    assert (host.told, caplog.text) == ([], "")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("run/**") if path.is_dir()} <= {0o755}


def test_a_manager_that_has_stopped_gets_its_files_and_is_not_told(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.running = {UDEV}
    host.guard.protect([A])
    host.guard.protect([A, B])
    assert host.told == [UDEV, UDEV]
    assert (len(host.files()), caplog.text) == (5, "")


def test_where_systemd_does_not_answer_a_manager_is_told_next_time(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.state = "timed out after 10 seconds"
    host.guard.protect([A])
    assert host.told == []
    assert "NetworkManager was not told which NICs belong to pods and may touch them: timed out" in caplog.text
    host.state = ""
    host.guard.protect([A])
    assert host.told == [NETWORKD, UDEV, NM]


@pytest.mark.parametrize("enforcing", [True, False])
def test_a_directory_that_had_to_be_made_gets_its_selinux_label(tmp_path: Path, enforcing: bool) -> None:
    """A NetworkManager that may not write into its own directory leaves the host without a resolver."""
    for path in ("usr/sbin/NetworkManager", "sys/fs/selinux/enforce" if enforcing else "sys/fs/other"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    (tmp_path / "run").mkdir()
    host = Host(tmp_path)
    host.guard.protect([A])
    host.guard.protect([B])
    assert host.other == ([("restorecon", "-R", str(tmp_path / "run/NetworkManager"))] if enforcing else [])


def test_a_label_that_cannot_be_set_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sys/fs/selinux/enforce").mkdir(parents=True)
    host = Host(tmp_path, NM)
    host.answer = "No such file or directory: 'restorecon'"
    host.guard.protect([A])
    assert "run/NetworkManager/conf.d has no SELinux label of its own" in caplog.text


def test_a_manager_that_was_not_told_is_told_next_time(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.answer = "Call failed: Connection timed out"
    host.guard.protect([A])
    assert "NetworkManager was not told which NICs belong to pods" in caplog.text
    host.answer, host.told = "", []
    host.guard.protect([A])
    host.guard.protect([A])
    assert host.told == [NETWORKD, UDEV, NM]


def test_a_manager_that_is_not_running_is_no_trouble(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    host.answer = 'Call failed: Name "org.freedesktop.network1" does not exist'
    host.guard.protect([A])
    host.guard.protect([A])
    assert host.told == [NETWORKD, UDEV, NM]
    assert caplog.text == ""


def test_what_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = Host(tmp_path, *PRESENT)
    (tmp_path / "run/systemd/network").write_text("in the way")
    host.guard.protect([A])
    assert "so a network manager may touch pods' NICs" in caplog.text
    assert host.told == [NM]


def test_a_file_that_someone_broke_is_mended(host: Host) -> None:
    host.guard.protect([A])
    wanted = host.files()
    path = host.root / "run/systemd/network/05-qingcni.network"
    path.write_bytes(b"\xff")
    host.told.clear()
    host.guard.protect([A])
    assert (host.files(), host.told) == (wanted, [NETWORKD])


def test_commands_tell_what_went_wrong_and_never_raise() -> None:
    assert run_command(["true"]) == ""
    assert run_command(["sh", "-c", "echo no >&2; exit 3"]) == "no"
    assert run_command(["false"]) == "exit status 1"
    assert "No such file" in run_command(["/absent"])


def test_a_manager_that_is_not_root_can_read_its_files_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        host = Host(tmp_path, *PRESENT)
        host.guard.protect([A])
    finally:
        os.umask(before)
    directory = tmp_path / "run/systemd/network"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o644}
