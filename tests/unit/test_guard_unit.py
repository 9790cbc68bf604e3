# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the agent's unit is shut in. Each test is a row of docs/security.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "files" / "units"
MOST = 3.5  # of systemd-analyze's exposure level, where 10 is worst
HELD = {"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}


def directives(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, __, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="it is systemd's to say")
def test_an_agent_that_is_taken_over_is_shut_in() -> None:
    argv = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(UNITS / "qingagent.service")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"exposure level for qingagent\.service: (\d+\.\d+)", said)
    assert found, said
    assert float(found.group(1)) <= MOST


def test_the_agent_has_the_capabilities_that_it_needs_and_no_other() -> None:
    (held,) = directives("qingagent.service")["CapabilityBoundingSet"]
    assert set(held.split()) == HELD


def test_the_sockets_directory_is_roots_alone() -> None:
    socket = directives("qingagent.socket")
    assert [socket[key] for key in ("SocketMode", "DirectoryMode", "RuntimeDirectoryMode")] == [
        ["0600"], ["0700"], ["0700"],
    ]  # fmt: skip
    service = directives("qingagent.service")
    assert [service[key] for key in ("StateDirectoryMode", "ConfigurationDirectoryMode", "UMask")] == [
        ["0700"], ["0700"], ["0077"],
    ]  # fmt: skip
