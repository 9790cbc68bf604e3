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
    """`directory_mode` None: only where the directory is there. `secret`: shown nowhere. `link`: instead of content."""

    path: Path
    content: bytes
    mode: int
    directory_mode: t.Optional[int] = None
    secret: bool = False
    link: str = ""
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
            link=option["link"] or "",
            notice=option["notice"],
        )


def lay(files: t.Sequence[Wanted], check: bool) -> dict[str, t.Any]:
    """The result. Directories that are there stay as they are."""
    written, left_out, diffs = [], [], []
    for file in files:
        if file.directory_mode is None and not file.path.parent.is_dir():
            left_out.append(str(file.path))
            continue
        seen, content = _state(file.path), fsio.read(file.path)
        if seen != _wished(file) or (not file.link and content != file.content):
            written.append(str(file.path))
            diffs.append(_diff(file, content, seen))
            if not check:
                _write(file)
        if file.notice and not check:
            _touch(file.path)
    return {"changed": bool(written), "written": written, "left_out": left_out, "diff": diffs}


def _write(file: Wanted) -> None:
    if file.directory_mode is not None and not file.path.parent.is_dir():
        file.path.parent.mkdir(parents=True)
        file.path.parent.chmod(file.directory_mode)
    if file.link:
        fsio.point(file.path, file.link)
    else:
        fsio.replace(file.path, file.content, file.mode)


def _touch(path: Path) -> None:
    """A write that changes nothing, for those who overlook a file that was renamed into place."""
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size)


def _state(path: Path) -> str:
    """Where a link points, mode and owner of a plain file; "absent" where there is none, or something else."""
    target = fsio.target(path)
    if target is not None:
        return f"link to {target}"
    if not path.is_file():
        return "absent"
    found = path.stat()
    return f"mode {stat.S_IMODE(found.st_mode):04o} owner {found.st_uid}:{found.st_gid}"


def _wished(file: Wanted) -> str:
    return f"link to {file.link}" if file.link else f"mode {file.mode:04o} owner {os.geteuid()}:{os.getegid()}"


def _diff(file: Wanted, before: t.Optional[bytes], seen: str) -> dict[str, str]:
    old, new = (before or b"").decode("utf-8", "replace"), file.content.decode()
    if file.secret:
        old, new = "", f"a secret, {'not ' if before == file.content else ''}changed\n"
    headers = dict.fromkeys(("before_header", "after_header"), str(file.path))
    return {**headers, "before": f"{seen}\n{old}", "after": f"{_wished(file)}\n{new}"}


def _mode(text: str, name: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise InvalidConfig(f'{name} {text!r} in files is no file mode: write it in octal and quotes, such as "0644"')
    return mode
