# SPDX-License-Identifier: GPL-3.0-or-later
"""`hostnic_files`: small files compared and written; check mode foresees it, secrets are shown nowhere."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible.laying import Wanted, lay
from plugins.module_utils.hostnic.errors import InvalidConfig


def wanted(where: Path, content: t.Optional[str] = "new\n", **more: t.Any) -> Wanted:
    option = {
        "path": str(where),
        "content": content,
        "secret": None,
        "link": None,
        "mode": "0640",
        "directory_mode": None,
        "notice": False,
    }
    return Wanted.from_option({**option, **more})


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def twice(file: Wanted) -> dict[str, t.Any]:
    """What check mode foresees is what then happens, and it happens once."""
    before = list(file.path.parent.glob("*")), file.path.exists() and file.path.read_bytes()
    foreseen = lay([file], check=True)
    assert (list(file.path.parent.glob("*")), file.path.exists() and file.path.read_bytes()) == before
    assert lay([file], check=False) == foreseen
    assert lay([file], check=False) == {**foreseen, "changed": False, "written": [], "diff": []}
    return foreseen


def test_a_file_and_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "etc/deep/file"
    assert twice(wanted(path, directory_mode="0700"))["written"] == [str(path)]
    assert (path.read_text(), mode(path), mode(path.parent)) == ("new\n", 0o640, 0o700)


def test_content_and_mode_each_count_and_others_directories_stay(tmp_path: Path) -> None:
    path = tmp_path / "d/file"
    lay([wanted(path, directory_mode="0700")], check=False)
    path.parent.chmod(0o755)
    for spoil in (lambda: path.write_text("old\n"), lambda: path.chmod(0o600)):
        spoil()
        assert twice(wanted(path, directory_mode="0700"))["changed"]
        assert (path.read_text(), mode(path), mode(path.parent)) == ("new\n", 0o640, 0o755)


def test_a_link_that_points_elsewhere_and_a_file_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bin/qingcni"
    link = wanted(path, None, link="/usr/lib/x", directory_mode="0755")
    for spoil in (lambda: None, path.unlink, lambda: (path.unlink(), path.symlink_to("y")),
                  lambda: (path.unlink(), path.write_text("theirs"))):  # fmt: skip
        spoil()
        assert twice(link)["written"] == [str(path)]
        assert str(path.readlink()) == "/usr/lib/x"


def test_another_users_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    lay([wanted(path)], check=False)
    os.chown(path, 12345, 12345)
    assert "owner 12345:12345" in twice(wanted(path))["diff"][0]["before"]
    assert path.stat().st_uid == os.geteuid()


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("theirs\n")
    (tmp_path / "file").symlink_to("elsewhere")
    lay([wanted(tmp_path / "file")], check=False)
    assert not (tmp_path / "file").is_symlink() and (tmp_path / "elsewhere").read_text() == "theirs\n"


def test_without_its_directory_a_file_is_left_out(tmp_path: Path) -> None:
    said = twice(wanted(tmp_path / "cloud/file"))
    assert said["left_out"] == [str(tmp_path / "cloud/file")] and not said["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_notice_is_a_write_each_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    lay([wanted(path, notice=True)], check=False)
    os.utime(path, (1, 1))
    lay([wanted(path, notice=True)], check=True)
    assert path.stat().st_mtime == 1
    assert not lay([wanted(path, notice=True)], check=False)["changed"]
    assert path.stat().st_mtime > 1 and path.read_text() == "new\n"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"path": "etc/file"}, "path etc/file in files is not absolute"),
        ({"mode": "rw"}, "mode 'rw' in files is no file mode"),
        ({"mode": "0o7777"}, "mode '0o7777' in files is no file mode"),
        ({"directory_mode": "9"}, "directory_mode '9' in files is no file mode"),
    ],
)
def test_what_cannot_be_is_one_sentence(option: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidConfig, match=sentence):
        wanted(Path("/nowhere/file"), **option)
