# SPDX-License-Identifier: GPL-3.0-or-later
"""What is laid on a node: the package that AnsiballZ carried here, files from the control host, and its digest."""

from __future__ import annotations

import hashlib
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..hostnic import errors
from ..hostnic.errors import HostnicError
from . import launchers, lock
from .shelf import deps_name, digest

if t.TYPE_CHECKING:
    # The packing list: AnsiballZ ships what is imported, wherever the import stands. Never run here, so that a node
    # without the third-party packages, or with too old a Python, gets far enough to be told.
    from ..hostnic import nicwork, strays  # noqa: F401
    from ..hostnic.commands import cli  # noqa: F401
    from ..hostnic.store import memory  # noqa: F401

PACKAGE: t.Final = "hostnic"
ENTRY: t.Final = "commands/cli.py"
CNI_BODY: t.Final = "qingcni.py"
# Raise it when the same content is to be laid out in another way.
_LAYOUT: t.Final = 1


@dataclass(frozen=True)
class Version:
    """One version as it should lie on the node. `files`: path below its directory ► content."""

    digest: str
    directory: Path
    python: str
    deps: str
    files: t.Mapping[str, bytes]
    manifest: t.Mapping[str, t.Any]

    executables: t.ClassVar[frozenset[str]] = frozenset({"bin/qingagent", "bin/qingcni"})


def carried() -> dict[str, bytes]:
    """Every file of the package, as AnsiballZ brought it: path below the package ► content."""
    from importlib import resources

    found: dict[str, bytes] = {}

    def collect(directory: t.Any, prefix: str) -> None:
        for entry in directory.iterdir():
            path = prefix + entry.name
            if entry.is_dir():
                collect(entry, path + "/")
            elif path.endswith(".py"):
                found[path] = entry.read_bytes()

    collect(resources.files(errors.__package__), "")
    if ENTRY not in found:
        raise HostnicError(f"the package arrived without {ENTRY}: is this collection complete on the control host?")
    return found


def interpreter() -> str:
    """The interpreter that runs this, its links resolved, since all is compiled and chosen for just this one."""
    return str(Path(sys.executable).resolve())


def build(
    root: Path, package: t.Mapping[str, bytes], files: t.Mapping[str, str], lock_text: str, collection_version: str
) -> Version:
    """Put a version together. Its digest depends on the content and on the interpreter, never on the control host."""
    python = interpreter()
    tag = sys.implementation.cache_tag or "unknown"
    content = {f"{PACKAGE}/{path}": data for path, data in package.items()}
    content.update({path: text.encode() for path, text in files.items()})
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in sorted(content.items())}
    deps = deps_name(lock_text)
    source = digest([_LAYOUT, collection_version, hashes, lock.digest(lock_text)])
    name = digest([source, python, tag, deps, str(root), *launchers.TEMPLATES])
    directory = root / name
    content["bin/qingagent"] = launchers.agent(python, str(directory)).encode()
    content["bin/qingcni"] = launchers.cni(python, str(directory)).encode()
    content["qingcni-start.py"] = launchers.cni_start(str(directory)).encode()
    manifest = {
        "version": collection_version,
        "digest": name,
        "source": source,
        "python": python,
        "deps": deps,
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in sorted(content.items())},
    }
    return Version(name, directory, python, deps, content, manifest)
