# SPDX-License-Identifier: GPL-3.0-or-later
"""A container image from one static program: it sleeps as the pause container and is the workload too."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import typing as t
from pathlib import Path

IMAGE = "localhost/qclab-busybox:1"

# Pid 1 of a container gets only the signals that it handles; without this, a node's power off waits 90 s for it.
_PAUSE = b"""#!/bin/sh
trap 'exit 0' TERM INT
sleep 2147483647 &
wait
"""
PAUSE = "/pause"

APPLETS: t.Final = """
    arping cat echo grep hostname httpd id ip kill ls nc netstat nslookup ping ps
    route sh sleep touch traceroute true udhcpc wget
"""


def build(busybox: Path, target: Path) -> None:
    """Write a docker-archive with one layer."""
    layer = _layer(busybox.read_bytes())
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Cmd": [PAUSE], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(target, "w") as archive:
        for name, content in (("config.json", config), ("layer.tar", layer), ("manifest.json", manifest)):
            _file(archive, name, content, 0o644)


def _layer(busybox: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as layer:
        for name in ("bin", "etc", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(folder)
        _file(layer, "bin/busybox", busybox, 0o755)
        _file(layer, PAUSE.lstrip("/"), _PAUSE, 0o755)
        for applet in APPLETS.split():
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return stream.getvalue()


def _file(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
