# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case behind `hostnic_files`: several small files, compared with what is there, then written."""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..hostnic.errors import InvalidConfig
from . import fsio


@dataclass(frozen=True)
class Wanted:
    """`directory_mode` None: only where the directory is there. `secret`: shown nowhere."""

    path: Path
    content: bytes
    mode: int
    directory_mode: t.Optional[int] = None
    secret: bool = False
    notice: bool = False

    @classmethod
    def from_option(cls, option: t.Mapping[str, t.Any]) -> Wanted:
        """Raises `InvalidConfig` naming the option."""
        path = Path(option["path"])
        if not path.is_absolute():
            raise InvalidConfig(f"path {path} in files is not absolute: write the whole path")
        secret, directory = option["secret"] is not None, option["directory_mode"]
        return cls(
            path=path,
            content=str(option["secret"] if secret else option["content"] or "").encode(),
            mode=_mode(option["mode"], "mode"),
            directory_mode=None if directory is None else _mode(directory, "directory_mode"),
            secret=secret,
            notice=option["notice"],
        )


def lay(files: t.Sequence[Wanted], check: bool) -> dict[str, t.Any]:
    """The result. What other programs keep in these files and directories is theirs: only these paths are written."""
    written, left_out, diffs = [], [], []
    for file in files:
        makes = file.directory_mode is not None and _directory_mode(file.path.parent) != file.directory_mode
        if file.directory_mode is None and not file.path.parent.is_dir():
            left_out.append(str(file.path))
            continue
        before, seen = fsio.read(file.path), _state(file.path)
        if makes or before != file.content or seen != _wished(file):
            written.append(str(file.path))
            diffs.append(_diff(file, before, seen))
            if not check:
                _write(file, before, makes)
        if file.notice and not check:
            _touch(file.path)
    return {"changed": bool(written), "written": written, "left_out": left_out, "diff": diffs}


def _write(file: Wanted, before: t.Optional[bytes], makes: bool) -> None:
    if makes and file.directory_mode is not None:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.parent.chmod(file.directory_mode)
        os.chown(file.path.parent, os.geteuid(), os.getegid())
    if before != file.content or _state(file.path) != _wished(file):
        fsio.replace(file.path, file.content, file.mode)


def _touch(path: Path) -> None:
    """A write that changes nothing, for those who overlook a file that was renamed into place."""
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size)


def _directory_mode(path: Path) -> t.Optional[int]:
    """None where there is no directory of this user's."""
    if not path.is_dir() or path.stat().st_uid != os.geteuid():
        return None
    return stat.S_IMODE(path.stat().st_mode)


def _state(path: Path) -> str:
    """Mode and owner of a plain file; "absent" where there is none, or something else."""
    if not path.is_file() or path.is_symlink():
        return "absent"
    found = path.stat()
    return f"mode {stat.S_IMODE(found.st_mode):04o} owner {found.st_uid}:{found.st_gid}"


def _wished(file: Wanted) -> str:
    return f"mode {file.mode:04o} owner {os.geteuid()}:{os.getegid()}"


def _diff(file: Wanted, before: t.Optional[bytes], seen: str) -> dict[str, str]:
    if file.secret:
        shown = [f"a secret, {'not ' if before == file.content else ''}changed\n"]
        lines = [f"{seen}\n"], [f"{_wished(file)}\n", *shown]
    else:
        old, new = (before or b"").decode("utf-8", "replace"), file.content.decode()
        lines = [f"{seen}\n", old], [f"{_wished(file)}\n", new]
    headers = dict.fromkeys(("before_header", "after_header"), str(file.path))
    return {**headers, "before": "".join(lines[0]), "after": "".join(lines[1])}


def _mode(text: str, name: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise InvalidConfig(f'{name} {text!r} in files is no file mode: write it in octal and quotes, such as "0644"')
    return mode
