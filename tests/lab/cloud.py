# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated cloud as a process of the lab."""

from __future__ import annotations

import json
import os
import sys
import typing as t
import urllib.error
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab import cgroups
from tests.lab.errors import LabError
from tests.lab.paths import CLONE, LOGS, PREFIX, RUN, WORLD
from tests.lab.procs import Process
from tests.lab.wait import until

GROUP = f"{PREFIX}-cloud"
_PORT = 7080
_READY = RUN / "cloud.json"


@dataclass(frozen=True)
class Cloud:
    url: str
    control_url: str


def start(world: t.Mapping[str, t.Any], uplink: IPv4Network) -> Cloud:
    """Serve ``world`` to this machine and, over the uplink, to the nodes; returns when everything listens."""
    write_private(WORLD, json.dumps(world, indent=1))
    _READY.unlink(missing_ok=True)
    address = f"{uplink[1]}:{_PORT}"
    argv = [sys.executable, "-m", "tests.emulator", "--world", str(WORLD)]
    argv += ["--listen", address, "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    argv += ["--data-plane", "netns", "--prefix", PREFIX, "--uplink", str(uplink)]
    argv += ["--ready-file", str(_READY)]
    log = LOGS / "cloud.log"
    process = cgroups.spawn(GROUP, argv, log, {**os.environ, "PYTHONPATH": str(CLONE)})
    ready = until(lambda: _ready(process, log), 30, f"start of the emulated cloud (see {log})")
    return Cloud(ready["api"][0], ready["control"])


def _ready(process: Process, log: Path) -> dict[str, t.Any] | None:
    if _READY.exists():
        return t.cast("dict[str, t.Any]", json.loads(_READY.read_text()))
    if not process.alive:
        said = log.read_text().strip().splitlines()
        raise LabError(f"the emulated cloud did not start: {said[-1] if said else 'no reason given'}")
    return None


def control(url: str, method: str, path: str, body: t.Any = None, timeout: float = 60) -> t.Any:
    """One call of the control API; raises LabError with the emulator's own sentence."""
    request = urllib.request.Request(
        f"{url}/control/{path.lstrip('/')}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
    )
    # The machine's proxy, if it has one, is not for loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise LabError(f"{method} {path}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise LabError(f"{method} {path}: the emulated cloud does not answer: {error}") from error


def write_private(path: Path, text: str) -> None:
    """Replace a file that holds secrets, in one step and never readable by others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
