# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts of the lab, as the kernel lists them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.sh import run


def below(folder: Path, mountinfo: str | None = None) -> list[Path]:
    """Mount points at or below ``folder``, the innermost first."""
    text = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text()
    points = [Path(_unescape(line.split()[4])) for line in text.splitlines()]
    return [point for point in reversed(points) if point == folder or folder in point.parents]


def _unescape(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def unmount_below(folder: Path) -> None:
    """Take all of them away; a busy one is detached, so that it goes when its last user does."""
    for point in below(folder):
        if run(["umount", str(point)], check=False).returncode:
            run(["umount", "--lazy", str(point)])


def overlay(lower: Path, upper: Path, work: Path, merged: Path) -> None:
    """Mount ``merged``; raises LabError with the usual reason."""
    for folder in (upper, work, merged):
        folder.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    try:
        run(["mount", "-t", "overlay", "-o", options, "overlay", str(merged)])
    except LabError as error:
        raise LabError(f"{error} ({upper} must lie on a real file system or a tmpfs)") from error


def is_lower(folder: Path, mountinfo: str | None = None) -> bool:
    """Whether an overlay lies on it: another lab's."""
    text = mountinfo if mountinfo is not None else Path("/proc/self/mountinfo").read_text()
    return re.search(rf"lowerdir={re.escape(str(folder))}[,:\s]", text) is not None
