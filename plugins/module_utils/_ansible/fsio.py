# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the file system that a crash or a reader in between sees either not at all or whole."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """A file where nobody looks yet, directories above it included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put a file in place of what is there, a link included."""
    beside = _beside(path)
    remove(beside)
    write(beside, data, mode)
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def point(link: Path, target: str) -> None:
    """Make a symbolic link point there, by one rename."""
    link.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(link)
    remove(beside)
    beside.symlink_to(target)
    beside.replace(link)
    sync(link.parent)


def remove(path: Path) -> None:
    """A file or link, if it is there."""
    if os.path.lexists(path):
        path.unlink()
        sync(path.parent)


def read(path: Path) -> t.Optional[bytes]:
    """Content of a plain file; None where there is none, or something else."""
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None


def target(link: Path) -> t.Optional[str]:
    """Where a link points; None where there is none."""
    return str(link.readlink()) if link.is_symlink() else None


def sync(path: Path) -> None:
    """Have a file, or the entries of a directory, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(top: Path) -> None:
    """The same for all below a directory, with modes that do not depend on anyone's umask."""
    for path in sorted(top.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            sync(path)
    top.chmod(0o755)
    sync(top)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
