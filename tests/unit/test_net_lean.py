# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent imports before it serves: pods wait for it at each restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "plugins/module_utils"
PROGRAM = """
import json, sys
import hostnic.commands.cli
loaded = [name for name in ("pyroute2", "pyroute2.ndb", "asyncio", "multiprocessing") if name in sys.modules]
from hostnic.net.encoders import encode
written = encode("link", 16, 5, {"index": 7}, ()).hex()
import pyroute2
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
print(json.dumps([loaded, written, pyroute2.IPRoute.__name__, ifaddrmsg.__module__]))
"""


def test_pyroute2_is_loaded_without_what_it_would_import_besides_and_whole_for_whoever_wants_that() -> None:
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=True)
    loaded, written, whole, module = json.loads(done.stdout)
    assert loaded == []
    assert written
    assert (whole, module) == ("IPRoute", "pyroute2.netlink.rtnl.ifaddrmsg")
