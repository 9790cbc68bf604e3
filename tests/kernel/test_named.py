# SPDX-License-Identifier: GPL-3.0-or-later
"""The netns in which ready NICs wait, as `qingagent parking` makes it on a host that has IPv6."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest

from tests.support.ansible import CLONE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PLACE = "/run/netns/parking"
SHELL = f'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && {{}} && exec {sys.executable} -c "$1"'
PROGRAM = f"""
import json
from pathlib import Path
from hostnic.errors import LinkFailed
from hostnic.net import named, netns
from pyroute2 import config

def off():
    return [Path(f"/proc/sys/net/ipv6/conf/{{scope}}/disable_ipv6").read_text().strip()
            for scope in ("all", "default")]

config.default_communicate_timeout = 0  # a machine that is busy
host = netns.open_path(netns.HOST)
told = {{"before": off()}}
try:
    told["made"] = named.make({PLACE!r})
except LinkFailed as error:
    told["failed"] = error.message
else:
    told["inside"] = netns.once({PLACE!r}, off)
    told["host"] = netns.once(f"/proc/self/fd/{{host}}", off)
    told["again"] = named.make({PLACE!r})
print(json.dumps(told))
"""


def make(first: str = "true") -> dict[str, t.Any]:
    """What came of it in a network and a mount namespace of its own, once the shell has done `first` there."""
    env = {**os.environ, "PYTHONPATH": str(CLONE / "plugins/module_utils")}
    argv = ["unshare", "--net", "--mount", "sh", "-c", SHELL.format(first), "sh", PROGRAM]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, t.Any] = json.loads(done.stdout)
    return told


def test_it_has_no_ipv6_and_the_host_keeps_its_own() -> None:
    assert make() == {"before": ["0", "0"], "made": True, "inside": ["1", "1"], "host": ["0", "0"], "again": False}


def test_an_empty_file_that_a_mount_has_left_is_replaced() -> None:
    assert make(f"touch {PLACE}")["made"]


def test_what_is_mounted_there_is_not_taken_away() -> None:
    assert make(f"touch {PLACE} && mount --bind /dev/null {PLACE}")["failed"] == (
        f"cannot make the network namespace {PLACE}: Device or resource busy"
    )
